"""Checks of what users pass to schemes; every message says what to do instead."""

import math
from collections.abc import Collection, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from torch import Tensor

from sklc.ops.sorting import array, computable


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
        if not weight.is_floating_point():
            msg = (
                f"weights[{name!r}] must be floating point, got {weight.dtype}; "
                "convert it, or select other layers."
            )
            raise TypeError(msg)
        if not weight.numel():
            msg = f"weights[{name!r}] is empty (shape {tuple(weight.shape)})."
            raise ValueError(msg)
        if not _is_finite(weight):
            bad = int((~weight.isfinite()).sum())
            msg = (
                f"weights[{name!r}] has {bad} NaN or infinite entries: the training "
                "has diverged or the model was damaged; try a lower learning rate."
            )
            raise ValueError(msg)


def _is_finite(weight: Tensor) -> bool:
    # a sum is the fastest test, but may itself overflow
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(array(computable(weight)).sum())
    return math.isfinite(total) or bool(weight.isfinite().all())


def check_mu(mu: Any) -> None:
    """Raise unless `mu` is a positive finite number."""
    if not _is_real(mu) or not 0 < mu < math.inf:
        msg = f"mu must be a positive finite number, got {mu!r}."
        raise ValueError(msg)


def check_int(owner: object, name: str, minimum: int) -> None:
    """Raise unless the parameter `name` of `owner` is an int of at least `minimum`."""
    value = getattr(owner, name)
    if not _is_int(value) or value < minimum:
        raise _error(owner, name, value, f"an int of at least {minimum}")


def check_real(owner: object, name: str, minimum: float) -> None:
    """Raise unless the parameter is a finite real number of at least `minimum`."""
    value = getattr(owner, name)
    if not _is_real(value) or not minimum <= value < math.inf:
        raise _error(owner, name, value, f"a finite number of at least {minimum}")


def check_count(owner: object, name: str) -> None:
    """Raise unless the parameter is an int (a count) or a float (a fraction)."""
    value = getattr(owner, name)
    good = value >= 0 if _is_int(value) else _is_real(value) and 0.0 <= value <= 1.0
    if not good:
        wanted = (
            "an int of at least 0 (a count) or a float from 0.0 to 1.0 (a fraction)"
        )
        raise _error(owner, name, value, wanted)


def check_option(owner: object, name: str, options: Collection[Any]) -> None:
    """Raise unless the parameter is one of `options`."""
    value = getattr(owner, name)
    if value not in options:
        raise _error(owner, name, value, "one of " + ", ".join(map(repr, options)))


def check_bool(owner: object, name: str) -> None:
    """Raise unless the parameter is True or False."""
    value = getattr(owner, name)
    if not isinstance(value, bool):
        raise _error(owner, name, value, "True or False")


def _is_int(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _error(owner: object, name: str, value: Any, wanted: str) -> ValueError:
    return ValueError(
        f"{type(owner).__name__}({name}={value!r}): {name} must be {wanted}."
    )


def count(value: int | float, total: int) -> int:
    """Return a count, given as an int or as a fraction of `total`, at most `total`."""
    if isinstance(value, Integral):
        return min(int(value), total)
    return round(float(value) * total)
