"""What says that two configurations, or two data sets, are the same."""

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pickle import PicklingError
from typing import Any

import joblib
import numpy as np
from scipy import sparse
from skorch.dataset import Dataset as ArrayDataset
from skorch.helper import SliceDataset
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from sklc.estimator.code import enclosed, named

_Describe = Callable[[Any], Any]
#: Datasets that hold their data in memory, as arrays that can be looked into.
_IN_MEMORY = ArrayDataset, ConcatDataset, SliceDataset, Subset, TensorDataset


def describe(value: Any) -> Any:
    """Return a JSON-compatible description, equal for equal values in any process.

    Estimators (and whatever else has ``get_params``) are described by their class and
    parameters, classes and functions by their names and code, functions by their
    defaults and what they enclose besides, modules by their `repr`, the code of their
    parts and their weights, other objects by a hash of their content. Addresses are
    left out.
    """
    return _describe(value, ())


def _describe(value: Any, outer: tuple[Any, ...]) -> Any:
    """Describe a value inside of others, which it may refer to."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if any(value is each for each in outer):
        return "itself"

    def inner(part: Any) -> Any:
        return _describe(part, (*outer, value))

    if inspect.isfunction(value):
        return _function(value, inner)
    if inspect.ismethod(value):
        return {"function": inner(value.__func__), "of": inner(value.__self__)}
    if hasattr(value, "__qualname__"):
        return named(value)
    if isinstance(value, functools.partial):
        parts = {"function": value.func, "args": value.args, "keywords": value.keywords}
        return {name: inner(part) for name, part in parts.items()}
    if isinstance(value, Mapping):
        return {str(key): inner(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [inner(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted((inner(part) for part in value), key=str)
    return {"class": named(type(value)), **_content(value, inner)}


def _function(function: Any, describe: _Describe) -> Any:
    held = {
        "defaults": describe(function.__defaults__),
        "keywords": describe(function.__kwdefaults__),
        "encloses": [describe(content) for content in enclosed(function)],
    }
    held = {name: what for name, what in held.items() if what}
    return {"function": named(function), **held} if held else named(function)


def _content(value: Any, describe: _Describe) -> dict[str, Any]:
    """Return what an object holds: parameters, weights, or a hash of it all."""
    if hasattr(value, "get_params"):
        parameters = value.get_params(deep=False)
        return {name: describe(parameters[name]) for name in sorted(parameters)}
    if isinstance(value, nn.Module):
        tensors = chain(value.named_parameters(), value.named_buffers())
        return {
            "repr": _without_addresses(repr(value)),
            "code": codes_of(value.modules()),
            "weights": digest({name: t for name, t in tensors if not is_lazy(t)}),
        }
    if isinstance(value, Tensor):
        value = _array(value)
    try:
        return {"content": joblib.hash(value)}
    except (AttributeError, PicklingError, TypeError):  # it cannot be pickled
        if hasattr(value, "__dict__"):
            return {"content": describe(vars(value))}
        return {"content": _without_addresses(repr(value))}


def codes_of(parts: Iterable[Any]) -> dict[str, str]:
    """Return the code of functions, classes and the classes of objects, by name."""
    kinds = {part if hasattr(part, "__qualname__") else type(part) for part in parts}
    codes = (named(kind).partition(" ") for kind in kinds)
    return {name: code for name, _, code in sorted(codes) if code}


def digest(data: Any) -> str:
    """Return a hash of arrays, tensors, frames, and dicts or lists of them.

    Of Datasets that hold such data in memory too; of any other, only its class and
    length count (see :func:`unseen`).
    """
    return str(joblib.hash(_plain(data)))


def unseen(data: Any) -> list[str]:
    """Return the classes of the parts whose content :func:`digest` does not see."""
    if isinstance(data, Mapping):
        return [name for part in data.values() for name in unseen(part)]
    if isinstance(data, list | tuple):
        return [name for part in data for name in unseen(part)]
    if type(data) in _IN_MEMORY:
        return unseen(_held_by(data))
    tensor = isinstance(data, Tensor) or sparse.issparse(data)
    seen = tensor or _is_simple(data) or _is_array(data)
    return [] if seen else [type(data).__name__]


def _held_by(dataset: Any) -> dict[str, Any]:
    """Return the data of a Dataset in memory, without the functions that index them."""
    return {n: v for n, v in vars(dataset).items() if not inspect.isroutine(v)}


def _plain(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(part) for part in data]
    if type(data) in _IN_MEMORY:
        return [named(type(data)), _plain(_held_by(data))]
    if sparse.issparse(data):
        csr = data.tocsr()
        return [data.shape, csr.data, csr.indices, csr.indptr]
    if isinstance(data, Tensor):
        data = _array(data)
    if _is_simple(data):
        return data
    if _is_array(data):
        return np.asarray(data)
    return [named(type(data)), len(data) if hasattr(data, "__len__") else None]


def _is_simple(data: Any) -> bool:
    """Whether it is a number, a text, a range or nothing at all."""
    return data is None or isinstance(
        data, str | bool | int | float | range | slice | np.generic
    )


def _is_array(data: Any) -> bool:
    return hasattr(data, "__array__") and hasattr(data, "shape")


def _array(tensor: Tensor) -> np.ndarray:
    """Return what a tensor holds."""
    dense = tensor.detach().cpu().to_dense()
    exotic = dense.is_floating_point() and dense.itemsize < 4  # such as bfloat16
    return (dense.float() if exotic else dense).numpy()


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)
