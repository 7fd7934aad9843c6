"""What says that two configurations, or two data sets, are the same."""

import re
from collections.abc import Mapping
from pickle import PicklingError
from typing import Any

import joblib
import numpy as np
from scipy import sparse
from torch import Tensor, nn


def describe(value: Any) -> Any:
    """Return a JSON-compatible description, equal for equal values in any process.

    Estimators (and whatever else has ``get_params``) are described by their class and
    parameters, classes and functions by their names, modules by their `repr`, other
    objects by a hash of their content. Addresses are left out.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "__qualname__"):
        return _name(value)
    if hasattr(value, "get_params"):
        parameters = value.get_params(deep=False)
        return {
            "class": _name(type(value)),
            **{key: describe(parameters[key]) for key in sorted(parameters)},
        }
    if isinstance(value, Mapping):
        return {str(key): describe(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [describe(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted((describe(part) for part in value), key=str)
    if isinstance(value, nn.Module):
        return _without_addresses(repr(value))
    content = _array(value) if isinstance(value, Tensor) else value
    try:
        return f"{_name(type(value))} {joblib.hash(content)}"
    except (AttributeError, PicklingError, TypeError):  # it cannot be pickled
        return _without_addresses(repr(value))


def digest(data: Any) -> str:
    """Return a hash of arrays, tensors, frames, and dicts or lists of them.

    Of anything else (a Dataset) only its class and length count.
    """
    return joblib.hash(_plain(data))


def is_content(data: Any) -> bool:
    """Whether all of the data counts for :func:`digest`."""
    if isinstance(data, Mapping):
        return all(map(is_content, data.values()))
    if isinstance(data, list | tuple):
        return all(map(is_content, data))
    tensor = isinstance(data, Tensor) or sparse.issparse(data)
    return tensor or _is_number(data) or _is_array(data)


def _plain(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(part) for part in data]
    if sparse.issparse(data):
        csr = data.tocsr()
        return [data.shape, csr.data, csr.indices, csr.indptr]
    if isinstance(data, Tensor):
        data = _array(data)
    if _is_number(data):
        return data
    if _is_array(data):
        return np.asarray(data)
    return [_name(type(data)), len(data) if hasattr(data, "__len__") else None]


def _is_number(data: Any) -> bool:
    """Whether it is a number, a text or nothing at all."""
    return data is None or isinstance(data, str | bool | int | float | np.generic)


def _is_array(data: Any) -> bool:
    return hasattr(data, "__array__") and hasattr(data, "shape")


def _array(tensor: Tensor) -> np.ndarray:
    """Return what a tensor holds."""
    dense = tensor.detach().cpu().to_dense()
    exotic = dense.is_floating_point() and dense.itemsize < 4  # such as bfloat16
    return (dense.float() if exotic else dense).numpy()


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', None)}.{value.__qualname__}"


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)
