"""The linear models of scikit-learn in a file: what they are besides their weights."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklc.deploy import labels

_KINDS = "LinearRegression", "Ridge", "LogisticRegression"
_OPTIONS = "fit_intercept", "solver"  # that predictions may depend on
_NAMES = "classes_", "feature_names_in_"
_WEIGHTS = "coef_", "intercept_"


def describe(model: Any) -> dict[str, Any]:
    """Return what a fitted model is, but for its weights.

    Raises
    ------
    TypeError
        If it is none of the linear models that a file may hold.
    """
    kind = type(model).__name__
    if kind not in _KINDS or type(model) is not _class(kind):
        msg = f"A file holds a net, or one of {', '.join(_KINDS)}, but no {kind}."
        raise TypeError(msg)
    sparse = hasattr(model.coef_, "toarray")
    coef = model.coef_.toarray() if sparse else model.coef_
    weights = {"coef_": coef, "intercept_": np.asarray(model.intercept_)}
    return {
        "kind": kind,
        "options": {n: v for n, v in model.get_params().items() if n in _OPTIONS},
        "names": {
            name: labels.describe(np.asarray(getattr(model, name)))
            for name in _NAMES
            if hasattr(model, name)
        },
        "n_features_in_": int(weights["coef_"].shape[-1]),
        "sparse": sparse,
        "shapes": {name: list(array.shape) for name, array in weights.items()},
        "dtypes": {name: array.dtype.name for name, array in weights.items()},
    }


def rebuild(facts: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Any:
    """Return the fitted model that was described.

    Parameters
    ----------
    facts : dict
    weights : dict of str to Tensor
        Where there is no intercept, it is zero.

    Raises
    ------
    ValueError
        If they make no such model.
    """
    kind, n_features = facts["kind"], facts["n_features_in_"]
    if kind not in _KINDS:
        msg = f"A file holds one of {', '.join(_KINDS)}, but no {kind!r:.50}."
        raise ValueError(msg)
    if facts["options"].keys() - set(_OPTIONS) or facts["names"].keys() - set(_NAMES):
        msg = f"A {kind} has no such options or names."
        raise ValueError(msg)
    options = {name: _option(value) for name, value in facts["options"].items()}
    model = _class(kind)(**options)
    found = {n: labels.rebuild(entry) for n, entry in facts["names"].items()}
    n_outputs = weights["coef_"].shape[0]
    given = {"intercept_": torch.zeros(n_outputs, dtype=torch.float64), **weights}
    for name, weight in given.items():
        dtype = np.dtype({"float32": "f4", "float64": "f8"}[facts["dtypes"][name]])
        shape = facts["shapes"][name]
        if not shape:  # as the intercept is, where there is none
            weight = weight.reshape(-1)[:1]
        array = weight.numpy().astype(dtype).reshape(shape)
        found[name] = array if array.ndim else dtype.type(array)
    _check(kind, found, n_features)
    vars(model).update(found, n_features_in_=n_features)
    return model.sparsify() if facts["sparse"] is True else model


def _class(kind: str) -> Any:
    try:
        return getattr(import_module("sklearn.linear_model"), kind)
    except ModuleNotFoundError as error:
        msg = (
            f"The file holds a {kind} of scikit-learn, which is not installed: install "
            "it, or export the model with to_onnx."
        )
        raise ImportError(msg) from error


def _option(value: Any) -> Any:
    if type(value) not in (bool, str):
        msg = f"An option is a text or a truth value, and not {value!r:.50}."
        raise ValueError(msg)
    return value


def _check(kind: str, found: Mapping[str, Any], n_features: int) -> None:
    """Raise a ValueError unless the parts of a model fit together."""
    coef, intercept = found["coef_"], found["intercept_"]
    n_outputs = 1 if coef.ndim == 1 else len(coef)
    good = 0 < coef.ndim < 3 and coef.shape[-1] == n_features > 0
    good = good and np.shape(intercept) in ((), (n_outputs,))
    classes = found.get("classes_")
    if kind == "LogisticRegression":
        n_classes = 0 if classes is None else len(classes)
        good = good and coef.ndim == 2 and n_outputs == _outputs(n_classes)
    else:
        good = good and classes is None
    names = found.get("feature_names_in_")
    good = good and (names is None or len(names) == n_features)
    if not good:
        msg = f"The parts of a {kind} do not fit together."
        raise ValueError(msg)


def _outputs(n_classes: int) -> int:
    """Return the rows of coefficients that tell classes apart."""
    return 1 if n_classes == 2 else n_classes
