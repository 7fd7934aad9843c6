"""A linear model in training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import validate_data
from torch import Tensor

from sklc.budget import Budget
from sklc.codes import Code, Dense, Quantized, Scaled, Sparse, decompress
from sklc.layers import LayerInfo
from sklc.lstep.base import Learner, Projection
from sklc.lstep.linear import fitted
from sklc.lstep.linear.arrays import Array
from sklc.lstep.linear.models import LinearModel
from sklc.lstep.linear.polish import exchanged_code, shrunk_code
from sklc.lstep.linear.reassign import reassigned
from sklc.lstep.linear.refit import refitted
from sklc.lstep.linear.threads import Threads, limited
from sklc.signature import Input, Signature

_TIGHT = 1e-10  # of the gradient of the mean loss
_TRIES, _SMALL = 8, 10_000_000  # refits, and the work of a product with X
_SETTLED = 1e-6  # of it, for the intercept that goes with compressed weights


class LinearLearner(Learner):
    """A linear model in training (see :class:`~sklc.lstep.LinearLStep`).

    Parameters
    ----------
    model : estimator
        A copy of its own.
    facts : LinearModel
        What is known of models of this type.
    X, y : data
    weight : array-like, number or None
        Weights of the samples.
    trained : bool
        Whether the model is fitted.
    """

    exact = True

    def __init__(
        self,
        model: Any,
        facts: LinearModel,
        X: Any,
        y: Any,
        weight: Any,
        *,
        trained: bool,
    ) -> None:
        self._model, self._trained = model, trained
        self._given = X, y, weight
        X, y = validate_data(
            model,
            X,
            y,
            reset=not trained,
            accept_sparse="csr",
            dtype=np.float64,
            multi_output=not facts.classifies,
            y_numeric=not facts.classifies,
            copy=not getattr(model, "copy_X", True),  # its fit may then spoil X
        )
        targets, weight = facts.targets(model, y, _checked_weight(weight, len(y)))
        self.loss_function = facts.loss(model, X, targets, weight)
        self._tol = facts.tol(model)
        n_outputs = self.loss_function.n_outputs
        work = X.shape[0] * X.shape[1] * n_outputs
        self.threads = Threads(work)
        self.tries = _TRIES if work <= _SMALL else 0
        self._coef = np.zeros((n_outputs, X.shape[1]))
        self._intercept = np.zeros(n_outputs)
        if trained:
            self._read()

    # ---- the model of scikit-learn ----

    @property
    def estimator(self) -> Any:
        """The fitted model, with the current coefficients."""
        model = self._model
        if not hasattr(model, "coef_"):  # whose shapes are then those of a fit
            self._fit()
        for name, weight in self.weights().items():
            fitted.put(model, name, weight.numpy())
        return model

    @limited
    def _fit(self) -> None:
        X, y, weight = self._given
        with fitted.quiet(self._model) as model:
            model.fit(X, y, sample_weight=weight)

    def _read(self) -> None:
        """Take the coefficients of the model, which is fitted."""
        shape = self._coef.shape
        coef = np.atleast_2d(np.asarray(self._model.coef_, dtype=np.float64))
        if coef.shape != shape:
            msg = (
                f"The frozen model has coefficients of shape {coef.shape}, but the "
                f"data ask for {shape}: pass data like those that it was fitted to."
            )
            raise ValueError(msg)
        self._coef[:] = coef
        self._intercept[:] = self._model.intercept_

    def state_dict(self) -> dict[str, Any]:
        """Return all that training changes: weights, and what a fit sets besides."""
        own = {name: weight.clone() for name, weight in self.weights().items()}
        return {**fitted.attributes(self._model), **own}

    def load_state_dict(
        self, state: Mapping[str, Any], *, generators: bool = True
    ) -> None:
        """Go on from a :meth:`state_dict`, without a fit; the model is trained then."""
        fitted.restore(self._model, state)
        self.set_weights({name: state[name] for name in self.weights()})
        self._trained = True

    # ---- training ----

    def train_reference(self) -> None:
        if not self._trained:
            self._fit()
            self._read()
            self._trained = True

    def weights(self) -> dict[str, Tensor]:
        found = {"coef_": torch.from_numpy(self._coef)}
        if self._model.fit_intercept:
            found["intercept_"] = torch.from_numpy(self._intercept)
        return found

    def layers(self) -> dict[str, LayerInfo]:
        return dict.fromkeys(self.weights(), LayerInfo())

    def signature(self) -> Signature:
        inputs = (Input("X", self._coef.shape[1:], "float64"),)
        return Signature(inputs, classes=getattr(self._model, "classes_", None))

    def set_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Put weights in, and leave all others as they are."""
        own = self.weights()
        for name, weight in weights.items():
            own[name].copy_(weight)

    @limited
    def substitute(self, weights: Mapping[str, Tensor]) -> None:
        """Put compressed weights in, with the best intercept for them."""
        self.set_weights(weights)
        if self._model.fit_intercept and "intercept_" not in weights:
            self._intercept[:] = self.loss_function.best_intercept(
                self._coef, self._intercept, min(self._tol, _SETTLED)
            )

    @limited
    def learn(self, target: Mapping[str, Tensor], mu: float, step: int) -> None:
        now = self._coef, self._intercept
        names = "coef_", "intercept_"
        goal: Any = tuple(
            target[name].numpy() if name in target else own
            for name, own in zip(names, now, strict=True)
        )
        away = max(
            float(np.abs(own - wanted).max(initial=0.0))
            for own, wanted in zip(now, goal, strict=True)
        )
        tol = max(_TIGHT, min(self._tol, 1e-2 * mu * away))
        pulls: Any = tuple(mu if name in target else 0.0 for name in names)
        self._coef[:], self._intercept[:] = self.loss_function.solve(
            now, goal, pulls, tol
        )

    @limited
    def loss(self) -> float:
        return self.loss_function.value(self._coef, self._intercept)

    def constant_loss(self) -> float:
        return self.loss_function.constant()

    @limited
    def finetune(
        self,
        theta: Mapping[str, Code],
        epochs: int,
        project: Projection | None = None,
    ) -> dict[str, Code]:
        """Refit Θ and all that it does not cover (see :meth:`Learner.finetune`)."""
        whole = dict(theta)
        whole.setdefault("coef_", Dense(self.weights()["coef_"]))
        found, self._intercept[:] = refitted(
            self.loss_function,
            whole,
            self._intercept,
            free=self._model.fit_intercept and "intercept_" not in theta,
            tol=_TIGHT,
        )
        self.set_weights(decompress(found))
        found = {name: found[name] for name in theta}
        if project is not None:
            found = project(found)
            self.substitute(decompress(found))
        return found

    @limited
    def refit(
        self,
        theta: Mapping[str, Code],
        budgets: Mapping[str, Budget],
        project: Projection | None = None,
    ) -> dict[str, Code]:
        """Refit Θ, and improve supports (see :meth:`Learner.refit`).

        Of an l1 norm that is bounded or has a price, it is the minimum. Of few
        non-zeros no single exchange is an improvement.
        """
        known = set(theta) == set(budgets) == {"coef_"}
        code, budget = theta.get("coef_"), budgets.get("coef_")
        loss = self.loss_function
        if known and budget and isinstance(code, Quantized | Scaled):
            tuned = self.finetune(theta, 1)
            pair = self._coef, self._intercept
            code = reassigned(loss, tuned["coef_"], pair, budget)
            theta, known = {"coef_": code}, False
        if not known or budget is None or not isinstance(code, Sparse):
            tuned = self.finetune(theta, 1, project)
            return dict(tuned)
        if budget.order == 1:
            code, pair = shrunk_code(loss, code, self._intercept, budget, _TIGHT)
        else:
            self.finetune(theta, 1)
            pair = self._coef.copy(), self._intercept.copy()
            code, pair = exchanged_code(loss, code, pair, budget, _TIGHT)
        self._coef[:], self._intercept[:] = pair
        found: dict[str, Code] = {"coef_": code}
        return found


def _checked_weight(weight: Any, n: int) -> Array:
    if weight is None:
        return np.ones(n)
    if np.ndim(weight) == 0:
        weight = np.full(n, weight)
    weight = np.asarray(weight, dtype=np.float64)
    good = weight.shape == (n,) and np.isfinite(weight).all() and (weight >= 0).all()
    if not good or not weight.any():
        msg = (
            f"sample_weight must be {n} finite numbers of at least 0, not all of them "
            f"zero, got {weight!r}."
        )
        raise ValueError(msg)
    return np.asarray(weight)
