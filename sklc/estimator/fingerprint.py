"""What says that two configurations, or two data sets, are the same."""

import inspect
import re
from collections.abc import Callable, Mapping
from pickle import PicklingError
from typing import Any

import joblib
import numpy as np
from scipy import sparse
from torch import Tensor, nn


def describe(value: Any) -> Any:
    """Return a JSON-compatible description, equal for equal values in any process.

    Estimators (and whatever else has ``get_params``) are described by their class and
    parameters, classes by their names, functions by theirs, their defaults and what
    they enclose, modules by their `repr`, other objects by a hash of their content.
    Addresses are left out.
    """
    return _describe(value, ())


def _describe(value: Any, outer: tuple[Any, ...]) -> Any:
    """Describe a value inside of some functions."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if inspect.isfunction(value) and value not in outer:
        outer = (*outer, value)
        return _function(value, lambda part: _describe(part, outer))
    if hasattr(value, "__qualname__"):
        return _name(value)
    if hasattr(value, "get_params"):
        parameters = value.get_params(deep=False)
        return {
            "class": _name(type(value)),
            **{key: _describe(parameters[key], outer) for key in sorted(parameters)},
        }
    if isinstance(value, Mapping):
        return {
            str(key): _describe(value[key], outer) for key in sorted(value, key=str)
        }
    if isinstance(value, list | tuple):
        return [_describe(part, outer) for part in value]
    if isinstance(value, set | frozenset):
        return sorted((_describe(part, outer) for part in value), key=str)
    if isinstance(value, nn.Module):
        return _without_addresses(repr(value))
    content = _array(value) if isinstance(value, Tensor) else value
    try:
        return f"{_name(type(value))} {joblib.hash(content)}"
    except (AttributeError, PicklingError, TypeError):  # it cannot be pickled
        return _without_addresses(repr(value))


def _function(function: Any, describe: Callable[[Any], Any]) -> Any:
    cells = [cell for cell in function.__closure__ or () if _is_filled(cell)]
    held = {
        "defaults": describe(function.__defaults__),
        "keywords": describe(function.__kwdefaults__),
        "encloses": [describe(cell.cell_contents) for cell in cells],
    }
    held = {name: what for name, what in held.items() if what}
    return {"function": _name(function), **held} if held else _name(function)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # a variable that is not set yet
        return False


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
