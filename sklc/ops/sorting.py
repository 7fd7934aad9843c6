"""Sorting and selection where they are fastest: NumPy on a CPU, torch elsewhere.

NumPy's vectorised ``sort`` and ``partition`` are some fifteen times faster than torch's
on a CPU, and work on the memory of the tensor itself.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklc.ops.backend import at_least_float32, numpy_view

_PIECE = 1 << 15  # numbers that stay in a cache
_FEW = 32  # thresholds that are compared with, one after the other


def sort(x: Tensor) -> Tensor:
    """Return a copy of `x`, each row (last axis) sorted in increasing order."""
    x = at_least_float32(x)
    if x.is_cpu:
        return torch.from_numpy(np.sort(x.detach().numpy()))
    return x.sort(dim=-1).values


def above(x: Tensor, threshold: float) -> Any:
    """Return the mask, of NumPy or torch, of the magnitudes above a threshold."""
    return abs(numpy_view(x)) > min(threshold, torch.finfo(x.dtype).max)


def pick(x: Tensor, mask: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the entries of `x` (n,) where a mask is true, and their positions."""
    if not x.is_cpu:
        index = mask.nonzero().squeeze(1).to(dtype)
        return x.index_select(0, index), index
    flags = mask.numpy()
    size = int(np.count_nonzero(flags))
    values, index = x.new_empty(size), torch.empty(size, dtype=dtype)
    bits = torch.int16 if x.dtype == torch.bfloat16 else x.dtype  # NumPy has no other
    source, target, into = (
        x.view(bits).numpy(),
        values.view(bits).numpy(),
        index.numpy(),
    )
    stop = 0
    for first in range(0, len(flags), _PIECE):
        here = slice(first, first + _PIECE)
        found = np.flatnonzero(flags[here])
        start, stop = stop, stop + len(found)
        target[start:stop] = source[here][found]
        np.add(found, first, out=into[start:stop], casting="unsafe")
    return values, index


def count_below(x: Tensor, thresholds: Tensor) -> Tensor:
    """Return for each number how many of its row's increasing thresholds are below.

    Parameters
    ----------
    x : Tensor of shape (g, n)
    thresholds : Tensor of shape (g, m)

    Returns
    -------
    uint8 or int32 Tensor of shape (g, n)
    """
    if not x.is_cpu or thresholds.shape[1] > _FEW:
        return torch.searchsorted(
            thresholds.contiguous(), x.contiguous(), out_int32=True
        )
    values, limits = x.numpy(), thresholds.numpy()
    out = np.zeros(x.shape, dtype=np.uint8)
    height = max(1, _PIECE // max(1, x.shape[1]))
    for top in range(0, len(values), height):
        for left in range(0, x.shape[1], _PIECE):
            here = slice(top, top + height), slice(left, left + _PIECE)
            for limit in limits[here[0]].T:
                out[here] += values[here] > limit[:, None]
    return torch.from_numpy(out)
