"""Samples as the module of a net gets them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sklc.codes.dtypes import dtype_of
from sklc.signature import Input, Signature

Parts = list[tuple[Any, Tensor]]


def parts_of(X: Any, signature: Signature) -> tuple[bool, Parts]:
    """Return whether samples have names, and their tensors: by name, number or None.

    What the compressor refuses is refused: other columns than those of the fit, and of
    a table what is not finite.

    Raises
    ------
    ValueError, TypeError
        If they are no samples of a net with these inputs.
    """
    inputs, columns = signature.inputs, signature.columns
    names = [own.name for own in inputs]
    if hasattr(X, "columns"):
        _check_columns(list(X.columns), columns or ())
        if len(names) > 1:
            known = [name for name in names if name in list(X.columns)]
            X = {name: np.asarray(X[name])[:, None] for name in known}
    arrays = isinstance(X, list | tuple) and any(hasattr(part, "shape") for part in X)
    several = arrays and names != ["X"]  # and not rows of one array
    if several and len(X) == len(names) and names != [f"X{n}" for n in range(len(X))]:
        X = dict(zip(names, X, strict=True))
    named = isinstance(X, Mapping)
    given = [*X.items()] if named else [*enumerate(X)] if several else [(None, X)]
    if inputs and (len(given) != len(inputs) or (named and set(X) != set(names))):
        shown = ", ".join(map(str, X)) if named else f"{len(given)} parts"
        msg = f"X has {shown}, but the net takes {', '.join(names)}."
        raise ValueError(msg)
    keys = names if named else [key for key, _ in given]
    own = dict(zip(keys, inputs, strict=False))
    table = columns is not None and len(inputs) == 1
    parts = [
        (key, _tensor(part, "X" if key is None else f"X[{key!r}]", own.get(key), table))
        for key, part in given
    ]
    lengths = [len(tensor) for _, tensor in parts]
    if not lengths or not lengths[0] or len(set(lengths)) > 1:
        msg = f"X must have samples, as many in each part, but it has {lengths}."
        raise ValueError(msg)
    return named, parts


def unlike(parts: Parts, inputs: Sequence[Input]) -> str:
    """Say which samples have other shapes than those of the fit; empty if none."""
    order = [own.name for own in inputs]
    if len(parts) == len(order) and set(order) == {key for key, _ in parts}:
        parts = sorted(parts, key=lambda part: order.index(part[0]))
    return ", ".join(
        f"{own.name} of shape {tuple(tensor.shape)} instead of {_wanted(own)}"
        for (_, tensor), own in zip(parts, inputs, strict=False)
        if tuple(tensor.shape[1:]) != own.shape
    )


def _check_columns(found: list[Any], columns: tuple[str, ...]) -> None:
    """Raise unless a frame has the columns of the fit, where both have names."""
    if not columns or tuple(found) == columns:
        return
    if not all(isinstance(name, str) for name in found):
        return
    unseen = [name for name in found if name not in columns]
    missing = [name for name in columns if name not in found]
    which = "they have another order"
    if unseen or missing:
        which = f"X has {unseen} besides them, and lacks {missing}"
    msg = (
        "The feature names should match those that were passed during fit.\n"
        f"Here {which}: pass X[{list(columns)}]."
    )
    raise ValueError(msg)


def _tensor(part: Any, name: str, own: Input | None, table: bool) -> Tensor:
    """Return samples as a tensor, in the dtype and with the dimensions of the fit."""
    dtype = "" if own is None else own.dtype
    if isinstance(part, Tensor) and part.layout == torch.strided:
        table = False  # as the compressor, which takes tensors as they are
        tensor = part.to(dtype_of(dtype)) if dtype else part
    else:
        array = _array(part, name, real=bool(dtype))
        if table:
            _check_finite(array)
        if dtype and dtype != "bfloat16":
            array = array.astype(dtype, copy=False)
        native = array.dtype.newbyteorder("=")
        tensor = torch.from_numpy(np.require(array, native, ["C", "W"]))
        tensor = tensor.to(dtype_of(dtype)) if dtype else tensor
    bad = not tensor.ndim
    if own is not None:
        bad = tensor.ndim != 1 + len(own.shape)
        bad = bad or (table and tuple(tensor.shape[1:]) != own.shape)
    if bad:
        wanted = "(n_samples, ...)" if own is None else _wanted(own)
        msg = (
            f"{name} must have the shape {wanted}, but it has {tuple(tensor.shape)}. "
            f"Of a single sample x pass {name}=[x]."
        )
        raise ValueError(msg)
    return tensor.contiguous()


def _array(part: Any, name: str, *, real: bool) -> np.ndarray:
    """Return samples as an array of numbers."""
    if isinstance(part, Tensor) or hasattr(part, "toarray"):
        do = "to_dense" if isinstance(part, Tensor) else "toarray"
        msg = f"{name} is sparse, but a net takes dense samples: pass {name}.{do}()."
        raise TypeError(msg)
    if isinstance(part, Dataset):
        msg = f"{name} is a {type(part).__name__}: pass its samples as an array."
        raise TypeError(msg)
    try:
        array = np.asarray(part)
        if array.dtype.kind == "O":
            array = array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = (
            f"{name} is no array of numbers ({error}): encode what is none, and give "
            "all samples the same shape."
        )
        raise ValueError(msg) from error
    if array.dtype.kind not in ("biuf" if real else "biufc"):
        msg = f"{name} has no real numbers, but {array.dtype}: encode them first."
        raise ValueError(msg)
    return array


def _check_finite(array: np.ndarray) -> None:
    """Raise unless the numbers of a table are finite."""
    if array.dtype.kind != "f" or not array.ndim or np.isfinite(array).all():
        return
    found = "NaN"
    if not np.isnan(array).any():
        found = f"infinity or a value too large for {array.dtype!r}"
    msg = f"Input X contains {found}.\nLeave such samples out, or replace the values."
    raise ValueError(msg)


def _wanted(own: Input) -> str:
    return f"({', '.join(map(str, ['n_samples', *own.shape]))}{',' * (not own.shape)})"
