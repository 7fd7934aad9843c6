"""Checks of the weights that schemes get, and what counts and fractions mean."""

import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklc.checks import as_float, is_positive, shown
from sklc.ops.backend import at_least_float32, numbers, numpy_view

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_weights(weights: Any) -> None:
    """Raise unless `weights` is a non-empty dict of finite floating-point tensors."""
    if not isinstance(weights, Mapping):
        msg = f"weights must be a dict of name to tensor, got {type(weights).__name__}."
        raise TypeError(msg)
    if not weights:
        msg = "weights is empty: there is nothing to compress."
        raise ValueError(msg)
    for name, weight in weights.items():
        if not isinstance(weight, Tensor):
            msg = (
                f"weights[{name!r}] must be a torch.Tensor, got "
                f"{type(weight).__name__}; torch.as_tensor(...) makes one."
            )
            raise TypeError(msg)
        if weight.dtype not in _FLOATS:
            msg = (
                f"weights[{name!r}] must be floating point of 16 to 64 bits, got "
                f"{weight.dtype}; convert it, or select other layers."
            )
            raise TypeError(msg)
        if weight.layout != torch.strided or weight.is_meta:
            kind = "on the meta device" if weight.is_meta else f"{weight.layout}"
            msg = (
                f"weights[{name!r}] must be a dense tensor with data, but is {kind}; "
                "to_dense() or to_empty(...) makes one."
            )
            raise TypeError(msg)
        if not weight.numel():
            msg = f"weights[{name!r}] is empty (shape {tuple(weight.shape)})."
            raise ValueError(msg)
    with np.errstate(over="ignore", invalid="ignore"):
        totals = numbers(
            numpy_view(at_least_float32(weight.detach())).sum()
            for weight in weights.values()
        )
    for (name, weight), total in zip(weights.items(), totals, strict=True):
        # a sum is the fastest test, but may itself overflow
        if not math.isfinite(total) and not weight.isfinite().all():
            bad = int((~weight.isfinite()).sum())
            msg = (
                f"weights[{name!r}] has {bad} NaN or infinite entries: the training "
                "has diverged or the model was damaged; try a lower learning rate."
            )
            raise ValueError(msg)


def check_mu(mu: Any) -> float:
    """Return `mu` as a float; raise unless it is a positive finite number."""
    if not is_positive(mu):
        msg = f"mu must be a positive finite number, got {shown(mu)}."
        raise ValueError(msg)
    return as_float(mu)


def count(value: int | float, total: int) -> int:
    """Return a count, given as an int or as a fraction of `total`, at most `total`.

    Fractions are rounded to nearest, but one above 0 is at least 1: who asks for little
    does not ask for nothing.
    """
    if isinstance(value, Integral):
        return min(int(value), total)
    fraction = float(value)
    return max(round(fraction * total), 1 if fraction > 0 else 0)
