"""Projections onto the l0 and l1 balls, a row at a time."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklc.ops.backend import at_least_float32, numpy_view, sum_dtype
from sklc.ops.sorting import kth_largest, pick, sort

Floating = NDArray[np.floating[Any]]

_PIECE = 1 << 14  # numbers that stay in a cache, and that torch leaves to one thread
_SAMPLED = 1 << 14  # of more numbers, a sample tells where to begin


def largest(rows: Tensor, k: int) -> Tensor:
    """Return the mask of the `k` entries of each row that are largest in magnitude.

    Zeros are never among them. Ties are broken by position: the first entries win.

    Parameters
    ----------
    rows : Tensor of shape (g, n)
    k : int
        From 0 to n.

    Returns
    -------
    bool Tensor of shape (g, n)

    Notes
    -----
    Exact, in ``O(n)``.
    """
    if k == 0:
        return torch.zeros_like(rows, dtype=torch.bool)
    if k == rows.shape[1]:
        return rows != 0
    magnitude = abs(numpy_view(at_least_float32(rows)))
    least = numpy_view(kth_largest(torch.as_tensor(magnitude), k))
    found = magnitude >= least
    if not bool(least.all()):
        found &= magnitude > 0
    mask = torch.as_tensor(found)
    if bool((found.sum(1) > k).any()):
        ties = mask & torch.as_tensor(magnitude == least)
        spare = k - (mask.sum(1, keepdim=True) - ties.sum(1, keepdim=True))
        mask &= ~(ties & (ties.cumsum(1, dtype=torch.int32) > spare))
    return mask


def top(rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the `k` entries of each row that are largest in magnitude, as values.

    Parameters
    ----------
    rows : Tensor of shape (g, n)
    k : int
        From 0 to n.

    Returns
    -------
    values : Tensor of shape (at most g * k,)
    positions : integer Tensor of the same shape
        In the rows laid end to end; increasing.

    Notes
    -----
    Those of :func:`largest`. Of a single long row, a sample tells which entries need
    not be looked at.
    """
    dtype = torch.int32 if rows.numel() < 1 << 31 else torch.int64
    n = rows.shape[1]
    if (
        rows.is_cpu
        and len(rows) == 1
        and n > _SAMPLED
        and at_least_float32(rows) is rows
    ):
        index = torch.empty(0, dtype=dtype).numpy()
        if (found := _top(rows.detach().numpy()[0], k, index.dtype)) is not None:
            return torch.from_numpy(found[0]), torch.from_numpy(found[1])
    return pick(rows.reshape(-1), largest(rows, k).reshape(-1), dtype)


def _top(
    row: Floating, k: int, dtype: np.dtype[Any]
) -> tuple[Floating, NDArray[np.integer]] | None:
    """Return values and positions of the largest, unless that is not easy."""
    sample = np.abs(row[:: len(row) // _SAMPLED])
    rank = k / len(row) * len(sample)
    rank = int(rank + 3 * rank**0.5) + 8  # nearly always some more than k are above
    if rank > len(sample) // 2:
        return None
    guess = np.partition(sample, len(sample) - rank)[len(sample) - rank]
    if not guess:
        return None
    values, index = [], []
    for first in range(0, len(row), 8 * _PIECE):
        part = row[first : first + 8 * _PIECE]
        found = np.flatnonzero(np.abs(part) >= guess)
        values.append(part[found])
        index.append((found + first).astype(dtype))
    candidates, positions = np.concatenate(values), np.concatenate(index)
    if not 0 < k <= len(candidates):
        return None
    magnitude = np.abs(candidates)
    least = np.partition(magnitude, len(magnitude) - k)[len(magnitude) - k]
    keep = np.flatnonzero(magnitude >= least)
    return (candidates[keep], positions[keep]) if len(keep) == k else None


def l1_threshold(magnitude: Tensor, radius: float) -> float:
    r"""Return the shift that projects magnitudes onto the l1 ball.

    Solves :math:`\sum_i \max(v_i - t, 0) = r` for the threshold :math:`t`; it is 0 for
    magnitudes within the ball.

    Parameters
    ----------
    magnitude : Tensor of shape (n,)
        Non-negative.
    radius : float
        At least 0.

    Notes
    -----
    Exact. Newton's method on a convex piecewise linear function (Michelot, J. Optim.
    Theory Appl. 50, 1986), begun at the threshold of a sample: a step from anywhere
    ends at the left of the solution, and further steps move right until they stay.
    ``O(n)`` on random data, ``O(n^2)`` at worst.
    """
    values = numpy_view(magnitude)
    total = _total(values)
    if total * (1 - 1e-15) <= radius:  # or but for the rounding of the sum
        return 0.0
    if radius == 0.0:
        return float(magnitude.max())

    piece = _PIECE if magnitude.is_cpu else len(values)
    parts = [values[first : first + piece] for first in range(0, len(values), piece)]

    def step(threshold: float) -> tuple[float, int]:
        count, total = 0, 0.0
        for part in parts:
            kept = part > threshold
            count += int(kept.sum())
            total += _total(part * kept)
        return (total - radius) / max(count, 1), count

    threshold, before = (total - radius) / len(values), len(values) + 1
    if len(values) > _SAMPLED:
        sample = magnitude[:: len(values) // 4096]
        guess = l1_threshold(sample, radius * len(sample) / len(values))
        threshold = max(threshold, step(guess)[0])
    while True:
        further, count = step(threshold)
        if count >= before or not count:
            return threshold
        threshold, before = further, count


def shrink(x: Tensor, shift: float, radius: float = math.inf) -> Tensor:
    """Lower the magnitudes of `x` (n,) by `shift`, down to zero, in double precision.

    Where rounding of the shift would leave their sum above `radius`, they are scaled.
    """
    out = torch.empty_like(x)
    piece = _PIECE if x.is_cpu else max(len(x), 1)

    def scaled(factor: float) -> float:
        total = 0.0
        for part, into in zip(x.split(piece), out.split(piece), strict=True):
            double = part.double()
            lower = double - double.clamp(-shift, shift)
            into.copy_(lower.mul_(factor))
            total += float(lower.abs_().sum())
        return total

    norm = scaled(1.0)
    if shift > 0 and norm > radius:
        scaled(radius / norm)
    return out


def ternary_scale(rows: Tensor) -> Tensor:
    r"""Return the mean of the largest magnitudes of each row, so many as pay best.

    Maximises :math:`s_j^2 / j` over the number `j` of them, :math:`s_j` their sum.

    Parameters
    ----------
    rows : Tensor of shape (g, n)

    Returns
    -------
    Tensor of shape (g, 1), in double precision where the device has it

    Notes
    -----
    Exact, in ``O(n log n)``.
    """
    rows = at_least_float32(rows).detach()
    if rows.is_cpu:
        found = [_ternary_scale(row) for row in rows.numpy()]
        return torch.tensor(found, dtype=torch.float64).unsqueeze(1)
    dtype = sum_dtype(rows)
    total = sort(rows.abs()).flip(1).cumsum(1, dtype=dtype)
    count = torch.arange(1, rows.shape[1] + 1, device=rows.device).to(dtype)
    best = (total / count.sqrt()).argmax(1, keepdim=True)
    return total.gather(1, best) / count[best]


def _ternary_scale(row: Floating) -> float:
    ordered = np.abs(row)
    ordered.sort()
    scale = gain = total = 0.0
    for last in range(len(row), 0, -_PIECE):  # in pieces, from the largest
        part = ordered[max(last - _PIECE, 0) : last][::-1]
        sums = part.astype(np.float64).cumsum() + total
        first = len(row) - last + 1.0
        count = np.arange(first, first + len(part))
        gains = sums / np.sqrt(count)
        best = gains.argmax()
        if gains[best] > gain:
            gain, scale = gains[best], sums[best] / count[best]
        total = sums[-1]
    return scale


def _total(x: np.ndarray | Tensor) -> float:
    if isinstance(x, Tensor):
        return float(x.sum(dtype=torch.float64))
    return float(x.sum(dtype=np.float64))
