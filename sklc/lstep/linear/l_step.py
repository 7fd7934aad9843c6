"""The L step of scikit-learn's linear models: solved exactly, in double precision."""

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.utils import compute_class_weight
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from sklc.codes import Code, decompress, degrees_of_freedom
from sklc.codes.theta import mapped, trainable
from sklc.layers import LayerInfo
from sklc.lstep.base import Learner, LStep, Projection, register
from sklc.lstep.labels import label_encoder
from sklc.lstep.linear.logistic import LogLoss, minimized
from sklc.lstep.linear.objective import Array, Objective
from sklc.lstep.linear.quadratic import SquaredError
from sklc.lstep.linear.threads import Threads, limited
from sklc.wrappers import unfrozen

_TIGHT = 1e-10  # of the gradient of the mean loss
_SETTLED = 1e-6  # of it, for the intercept that goes with compressed weights


class LinearLStep(LStep):
    r"""Solve a pulled linear or logistic regression exactly, in double precision.

    For :class:`~sklearn.linear_model.LinearRegression`,
    :class:`~sklearn.linear_model.Ridge` and
    :class:`~sklearn.linear_model.LogisticRegression`. The loss is the objective of the
    estimator, divided so that its data term is a (weighted) mean over samples:

    .. math:: \frac1S \sum_i s_i\, \ell(y_i, W x_i + b) + R(W), \qquad S = \sum_i s_i,

    with :math:`R = 0`, :math:`\frac\alpha S \|W\|^2` and
    :math:`\frac1{2CS} \|W\|^2`. Squared errors are minimised by one factorisation,
    which serves for all pulls; log losses by L-BFGS, each step from the last, to the
    `tol` of the estimator or to a hundredth of the pull's gradient, whichever is less.

    Schemes see a parameter ``coef_`` of shape (n_outputs, n_features), and
    ``intercept_``, which they leave alone unless it is selected by name. Fine-tuning is
    the refit of the degrees of freedom of Θ and the intercept: a convex problem for
    codebooks, scales and non-zeros.

    Sparse data are never densified. ``fit`` accepts ``sample_weight``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklc import LCCompressor
    >>> from sklc.schemes import ConstraintL0Pruning
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=1000)
    >>> lc = LCCompressor(model, ConstraintL0Pruning(kappa=4)).fit(X, y)
    >>> int((lc.estimator_.coef_ != 0).sum()), lc.score(X, y) > 0.95
    (4, True)
    """

    draws = False

    def start(
        self, estimator: Any, X: Any, y: Any, *, n_steps: int, **fit_params: Any
    ) -> "LinearLearner":
        """Return a learner of a copy of the model (see :meth:`LStep.start`)."""
        frozen = isinstance(estimator, FrozenEstimator)
        inner = unfrozen(estimator)
        if type(inner) not in _MODELS:
            known = ", ".join(kind.__name__ for kind in _MODELS)
            msg = f"LinearLStep trains {known}, and no {type(inner).__name__}."
            raise TypeError(msg)
        inner._validate_params()
        _refuse_options(inner)
        if frozen:
            try:
                check_is_fitted(inner)
            except NotFittedError as error:
                msg = (
                    "FrozenEstimator holds a model that is not fitted: fit it first, "
                    "or pass it without FrozenEstimator to have it trained."
                )
                raise NotFittedError(msg) from error
            inner = copy.deepcopy(inner)
        else:
            inner = clone(inner)
        weight = fit_params.pop("sample_weight", None)
        if fit_params:
            msg = f"{type(inner).__name__} is not fitted with {sorted(fit_params)}."
            raise TypeError(msg)
        return LinearLearner(inner, X, y, weight, trained=frozen)


class LinearLearner(Learner):
    """A linear model in training (see :class:`LinearLStep`)."""

    exact = True

    def __init__(
        self, model: Any, X: Any, y: Any, weight: Any, *, trained: bool
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
            multi_output=not isinstance(model, LogisticRegression),
            y_numeric=not isinstance(model, LogisticRegression),
            copy=not getattr(model, "copy_X", True),  # its fit may then spoil X
        )
        weight = _checked_weight(weight, len(y))
        self.loss_function: Objective = (
            self._log_loss(X, y, weight)
            if isinstance(model, LogisticRegression)
            else self._squared_error(X, y, weight)
        )
        n_outputs = self.loss_function.n_outputs
        self.threads = Threads(X.shape[0] * X.shape[1] * n_outputs)
        self._coef = np.zeros((n_outputs, X.shape[1]))
        self._intercept = np.zeros(n_outputs)
        if trained:
            self._read()

    def _log_loss(self, X: Any, y: Array, weight: Array) -> LogLoss:
        encoder = label_encoder(y)
        classes = encoder.classes_
        if self._trained and not np.array_equal(classes, self._model.classes_):
            msg = (
                f"The frozen model was fitted to the classes {self._model.classes_}, "
                f"but y has {classes}: pass data of the same classes."
            )
            raise ValueError(msg)
        numbers = encoder.transform(y)
        if self._model.class_weight is not None:
            known = inspect.signature(compute_class_weight).parameters
            # since scikit-learn 1.9 the weights of samples count in what is balanced
            given = {"sample_weight": weight} if "sample_weight" in known else {}
            shares = compute_class_weight(
                self._model.class_weight, classes=classes, y=y, **given
            )
            weight = weight * shares[numbers]
        # scikit-learn before 1.8 says penalty=None, since then C=inf
        C = np.inf if getattr(self._model, "penalty", "l2") is None else self._model.C
        return LogLoss(X, numbers, len(classes), weight, C, self._model.fit_intercept)

    def _squared_error(self, X: Any, y: Array, weight: Array) -> SquaredError:
        y = y.reshape(len(y), -1).astype(np.float64)
        alpha = np.asarray(getattr(self._model, "alpha", 0.0), dtype=np.float64)
        if alpha.ndim and alpha.size not in (1, y.shape[1]):
            msg = (
                f"alpha has {alpha.size} entries, but y has {y.shape[1]} outputs: give "
                "one alpha, or one for each."
            )
            raise ValueError(msg)
        alpha = np.broadcast_to(alpha.reshape(-1), (y.shape[1],))
        return SquaredError(X, y, weight, alpha, self._model.fit_intercept)

    # ---- the model of scikit-learn ----

    @property
    def estimator(self) -> Any:
        """The fitted model, with the current coefficients."""
        model = self._model
        if not hasattr(model, "coef_"):  # whose shapes are then those of a fit
            self._fit()
        model.coef_ = self._coef.reshape(np.shape(model.coef_)).copy()
        if model.fit_intercept:
            own = self._intercept.reshape(np.shape(model.intercept_))
            model.intercept_ = own.copy() if own.ndim else float(own)
        return model

    def _fit(self) -> None:
        X, y, weight = self._given
        self._model.fit(X, y, sample_weight=weight)

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

    def set_weights(self, weights: Mapping[str, Tensor]) -> None:
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

    @property
    def _tol(self) -> float:
        logistic = isinstance(self._model, LogisticRegression)
        return float(self._model.tol) if logistic else 1.0

    @limited
    def loss(self) -> float:
        return self.loss_function.value_and_gradient(self._coef, self._intercept)[0]

    @limited
    def finetune(
        self,
        theta: Mapping[str, Code],
        epochs: int,
        project: Projection | None = None,
    ) -> dict[str, Code]:
        found = trainable(theta)
        free = degrees_of_freedom(found)

        def objective(*parts: Array) -> tuple[Any, ...]:
            for tensor, part in zip(free, parts[:-1], strict=True):
                tensor.data.copy_(torch.from_numpy(part))
                tensor.grad = None
            with torch.enable_grad():
                dense = decompress(found)
            own = {"coef_": self._coef, "intercept_": parts[-1]}
            given = own | {name: w.detach().numpy() for name, w in dense.items()}
            value, *slopes = self.loss_function.value_and_gradient(*given.values())
            slope = dict(zip(own, slopes, strict=True))
            trained = [name for name, w in dense.items() if w.requires_grad]
            torch.autograd.backward(
                [dense[name] for name in trained],
                [torch.from_numpy(np.ascontiguousarray(slope[n])) for n in trained],
            )
            zero = [torch.zeros_like(t) if t.grad is None else t.grad for t in free]
            return value, *(t.numpy() for t in zero), slope["intercept_"]

        start = [tensor.detach().numpy().copy() for tensor in free]
        intercept = self._model.fit_intercept and "intercept_" not in theta
        uses = [True] * len(free) + [intercept]
        *best, self._intercept[:] = minimized(
            objective, [*start, self._intercept.copy()], uses, _TIGHT
        )
        for tensor, part in zip(free, best, strict=True):
            tensor.data.copy_(torch.from_numpy(part))
        found = mapped(found, Tensor.detach)
        if project is not None:
            found = project(found)
        self.set_weights(decompress(found))
        return found

    def state_dict(self) -> dict[str, Any]:
        fitted = {
            name: value.tolist() if hasattr(value, "tolist") else value
            for name, value in vars(self.estimator).items()
            if name.endswith("_") and not name.endswith("__")
        }
        kinds = {
            name: str(np.asarray(getattr(self._model, name)).dtype) for name in fitted
        }
        weights = {name: weight.clone() for name, weight in self.weights().items()}
        return {"fitted": fitted, "kinds": kinds, **weights}

    def load_state_dict(
        self, state: Mapping[str, Any], *, generators: bool = True
    ) -> None:
        for name, value in state["fitted"].items():
            kept = np.asarray(value, state["kinds"][name])
            setattr(self._model, name, kept if isinstance(value, list) else value)
        self._trained = True
        self.set_weights({n: state[n] for n in self.weights()})

    def constant_loss(self) -> float:
        now = {name: weight.clone() for name, weight in self.weights().items()}
        self.substitute({"coef_": torch.zeros_like(now["coef_"])})
        loss = self.loss()
        self.set_weights(now)
        return loss

    def layers(self) -> dict[str, LayerInfo]:
        return dict.fromkeys(self.weights(), LayerInfo())


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
    return weight


def _refuse_options(model: Any) -> None:
    """Refuse objectives that are not those of the L step."""
    refused = {
        "positive": ((True,), "coefficients of any sign"),
        "solver": (("liblinear",), "lbfgs: liblinear penalises the intercept, too"),
        "penalty": (("l1", "elasticnet"), "l2: prune with a scheme"),
        "multi_class": (("ovr",), "the multinomial loss"),
    }
    if getattr(model, "penalty", None) != "elasticnet":  # since scikit-learn 1.8
        ratio = getattr(model, "l1_ratio", None)
        refused["l1_ratio"] = (ratio,) if ratio else (), "0: prune with a scheme"
    for name, (values, instead) in refused.items():
        value = getattr(model, name, None)
        if value in values:
            msg = (
                f"{type(model).__name__}({name}={value!r}) is not supported by the L "
                f"step, which needs {instead}."
            )
            raise ValueError(msg)


_MODELS = LinearRegression, Ridge, LogisticRegression
for _kind in _MODELS:
    register(_kind, LinearLStep)
