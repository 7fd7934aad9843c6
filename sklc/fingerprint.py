"""What says that two configurations, or two data sets, are the same."""

from collections.abc import Mapping
from typing import Any

import joblib
import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator


def describe(value: Any) -> Any:
    """Return a JSON-compatible description, equal for equal values in any process.

    Estimators are described by their class and parameters, classes and functions by
    their names; whatever else by its `repr`.
    """
    if isinstance(value, BaseEstimator):
        parameters = value.get_params(deep=False)
        return {
            "class": _name(type(value)),
            **{key: describe(parameters[key]) for key in sorted(parameters)},
        }
    if isinstance(value, Mapping):
        return {str(key): describe(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [describe(part) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return _name(value) if hasattr(value, "__qualname__") else repr(value)


def digest(data: Any) -> str:
    """Return a hash of arrays, tensors, frames, and dicts or lists of them.

    Of anything else (a Dataset) only its class and length count.
    """
    return joblib.hash(_plain(data))


def _plain(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(part) for part in data]
    if sparse.issparse(data):
        csr = data.tocsr()
        return [data.shape, csr.data, csr.indices, csr.indptr]
    if hasattr(data, "detach"):  # a tensor
        data = data.detach().cpu()
        data = data.float() if data.is_floating_point() else data
    if data is None or isinstance(data, str | bool | int | float | np.generic):
        return data
    if hasattr(data, "__array__") and hasattr(data, "shape"):
        return np.asarray(data)
    return [_name(type(data)), len(data) if hasattr(data, "__len__") else None]


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
