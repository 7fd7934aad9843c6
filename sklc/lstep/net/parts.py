"""Samples as a net gets them: arrays or tensors, one or several, by name."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray | Tensor
_PIECE = 2**24  # numbers
#: Dtypes that arrays and tensors have in common, by name.
_DTYPES = {
    name: getattr(torch, name)
    for name in (
        *("bool", "uint8", "int8", "int16", "int32", "int64"),
        *("float16", "bfloat16", "float32", "float64"),
    )
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def parts_of(X: Any) -> dict[str, Array]:
    """Return the arrays that samples consist of, by name: empty if they are no arrays.

    A single array has an empty name, those of a list are numbered.
    """
    if isinstance(X, np.ndarray | Tensor):
        return {"": X}
    if isinstance(X, Mapping):
        found = dict(X)
    elif isinstance(X, list | tuple):
        found = {str(number): part for number, part in enumerate(X)}
    else:
        return {}
    arrays = all(isinstance(part, np.ndarray | Tensor) for part in found.values())
    return found if arrays else {}


def cast(X: Any, dtypes: Mapping[str, str]) -> Any:
    """Return samples with their arrays in other dtypes; as they are if they are so."""
    parts = parts_of(X)
    new = {
        name: to_dtype(part, dtypes[name]) if name in dtypes else part
        for name, part in parts.items()
    }
    if all(new[name] is parts[name] for name in parts):
        return X
    if "" in new:
        return new[""]
    return new if isinstance(X, Mapping) else list(new.values())


def to_dtype(array: Array, name: str) -> Array:
    """Return an array in a dtype, and itself where it has that already.

    One of NumPy in a dtype that only torch has becomes a tensor.
    """
    if isinstance(array, np.ndarray) and name != "bfloat16":
        return array.astype(name, copy=False)
    return torch.as_tensor(array).to(_DTYPES[name])


def dtype_name(array: Array) -> str:
    """Return the name of a dtype: empty, if it is none of numbers that nets have."""
    if isinstance(array, Tensor):
        return _NAMES.get(array.dtype, "")
    return array.dtype.name if array.dtype.name in _DTYPES else ""


def is_floating(array: Array) -> bool:
    """Whether the numbers are floating-point ones."""
    if isinstance(array, Tensor):
        return array.is_floating_point()
    return array.dtype.kind == "f"


def few(X: Any, index: Any) -> Any:
    """Return some samples, as tensors."""
    parts = {
        name: torch.as_tensor(np.ascontiguousarray(part[index]))
        if isinstance(part, np.ndarray)
        else part[torch.as_tensor(index, device=part.device)]
        for name, part in parts_of(X).items()
    }
    if "" in parts:
        return parts[""]
    return parts if isinstance(X, Mapping) else list(parts.values())


def check_parts(named: Mapping[str, Array]) -> int:
    """Raise unless arrays have equally many finite samples; return how many.

    Parameters
    ----------
    named : dict of str to array
        By what messages call them: the samples, or parts of them, and the targets.
    """
    lengths = {name: len(part) if part.ndim else 0 for name, part in named.items()}
    for name, length in lengths.items():
        if not length:
            msg = (
                f"Found array with 0 sample(s): {name} is empty, and a minimum of 1 "
                "is required."
            )
            raise ValueError(msg)
    if len(set(lengths.values())) > 1:
        msg = (
            "Found input variables with inconsistent numbers of samples: "
            f"{_listed(f'{name} has {n}' for name, n in lengths.items())}."
        )
        raise ValueError(msg)
    for name, part in named.items():
        if is_floating(part) and not _all_finite(part):
            msg = f"Input {name} contains NaN or infinity: leave such samples out."
            raise ValueError(msg)
    return next(iter(lengths.values()))


def _all_finite(array: Array) -> bool:
    """Whether all numbers are finite, looked at piece by piece."""
    rows = max(1, len(array) * _PIECE // max(1, _size(array)))
    parts = [slice(start, start + rows) for start in range(0, len(array), rows)]
    if isinstance(array, Tensor):
        return bool(torch.stack([array[p].isfinite().all() for p in parts]).all())
    return all(bool(np.isfinite(array[p]).all()) for p in parts)


def _size(array: Array) -> int:
    return array.numel() if isinstance(array, Tensor) else array.size


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(texts)
