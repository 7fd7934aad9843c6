"""The linear models of scikit-learn that are known: a row of a table for each."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.utils import compute_class_weight

from sklc.lstep.labels import label_encoder
from sklc.lstep.linear.arrays import Array
from sklc.lstep.linear.logistic import LogLoss
from sklc.lstep.linear.objective import Objective
from sklc.lstep.linear.quadratic import SquaredError


@dataclass(frozen=True)
class LinearModel:
    """What the L step must know of a model.

    Attributes
    ----------
    classifies : bool
        Whether its targets are labels, and not numbers.
    targets : callable
        From the model, the targets and the weights of the samples to the targets as
        its loss knows them, and the weights that they have in it.
    loss : callable
        From the model, X, these targets and these weights to the loss.
    refused : dict of str to (callable, str)
        For an option, which values make it another problem, and what to do instead.
    tol : callable
        From the model to the largest gradient that its own training leaves.
    """

    classifies: bool
    targets: Callable[[Any, Any, Array], tuple[Array, Array]]
    loss: Callable[[Any, Any, Array, Array], Objective]
    refused: Mapping[str, tuple[Callable[[Any], bool], str]]
    tol: Callable[[Any], float]

    def refuse_options(self, model: Any) -> None:
        """Raise a ValueError if an option makes it another problem."""
        for name, (wrong, instead) in self.refused.items():
            value = getattr(model, name, None)
            if wrong(value):
                msg = (
                    f"{type(model).__name__}({name}={value!r}) is not supported by the "
                    f"L step, which needs {instead}."
                )
                raise ValueError(msg)


def _numbers(model: Any, y: Any, weight: Array) -> tuple[Array, Array]:
    return y.reshape(len(y), -1).astype(np.float64), weight


def _labels(model: Any, y: Any, weight: Array) -> tuple[Array, Array]:
    encoder = label_encoder(y)
    classes = encoder.classes_
    fitted = getattr(model, "classes_", classes)
    if not np.array_equal(classes, fitted):
        msg = (
            f"The frozen model was fitted to the classes {fitted}, but y has "
            f"{classes}: pass data of the same classes."
        )
        raise ValueError(msg)
    numbers = encoder.transform(y)
    if model.class_weight is not None:
        known = inspect.signature(compute_class_weight).parameters
        # since scikit-learn 1.9 the weights of samples count in what is balanced
        given = {"sample_weight": weight} if "sample_weight" in known else {}
        shares = compute_class_weight(model.class_weight, classes=classes, y=y, **given)
        weight = weight * shares[numbers]
    return numbers, weight


def _squared_error(model: Any, X: Any, y: Array, weight: Array) -> SquaredError:
    alpha = np.asarray(getattr(model, "alpha", 0.0), dtype=np.float64)
    if alpha.ndim and alpha.size not in (1, y.shape[1]):
        msg = (
            f"alpha has {alpha.size} entries, but y has {y.shape[1]} outputs: give "
            "one alpha, or one for each."
        )
        raise ValueError(msg)
    alpha = np.broadcast_to(alpha.reshape(-1), (y.shape[1],))
    return SquaredError(X, y, weight, alpha, model.fit_intercept)


def _log_loss(model: Any, X: Any, y: Any, weight: Array) -> LogLoss:
    # scikit-learn before 1.8 says penalty=None, since then C=inf
    C = np.inf if getattr(model, "penalty", "l2") is None else model.C
    return LogLoss(X, y, int(y.max()) + 1, weight, C, model.fit_intercept)


def _one_of(*values: str) -> Callable[[Any], bool]:
    return lambda value: value in values


_SIGNS = {"positive": (bool, "coefficients of any sign")}
_LOGISTIC = {
    "solver": (_one_of("liblinear"), "lbfgs: liblinear penalises the intercept, too"),
    "penalty": (_one_of("l1", "elasticnet"), "l2: prune with a scheme"),
    "l1_ratio": (bool, "0: prune with a scheme"),
    "multi_class": (_one_of("ovr"), "the multinomial loss"),
}


def _tol(model: Any) -> float:
    return float(model.tol)


def _any_tol(model: Any) -> float:
    return 1.0  # it is solved directly


#: By exact type.
MODELS: dict[type, LinearModel] = {
    LinearRegression: LinearModel(False, _numbers, _squared_error, _SIGNS, _any_tol),
    Ridge: LinearModel(False, _numbers, _squared_error, _SIGNS, _any_tol),
    LogisticRegression: LinearModel(True, _labels, _log_loss, _LOGISTIC, _tol),
}
