"""Projections onto the l0 and l1 balls, of each row of a matrix.

On a CPU, long rows are taken one by one, in pieces that stay in a cache, and short ones
many at a time. On other devices all rows are taken at once, and nothing waits for the
device but :func:`top`, whose result has a size that depends on the values.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklc.ops.backend import at_least_float32, sum_dtype
from sklc.ops.sorting import pick

Floating = NDArray[np.floating[Any]]

_PIECE = 1 << 14  # numbers that stay in a cache, and that torch leaves to one thread


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
    n = rows.shape[1]
    if k == 0:
        return torch.zeros_like(rows, dtype=torch.bool)
    if k == n:
        return rows != 0
    magnitude = at_least_float32(rows.detach()).abs()
    if rows.is_cpu:
        ordered = np.partition(magnitude.numpy(), n - k)
        least = torch.from_numpy(ordered[:, n - k, None])
    else:  # unlike kthvalue, topk shares a long row among the processors of a GPU
        least = magnitude.topk(k, sorted=False).values.amin(1, keepdim=True)
    mask = (magnitude >= least) & (magnitude > 0)
    if not rows.is_cpu or bool((mask.sum(1) > k).any()):
        ties = mask & (magnitude == least)
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
    Those of :func:`largest`. Of a single long row on a CPU, a sample tells which
    entries need not be looked at.
    """
    dtype = torch.int32 if rows.numel() < 1 << 31 else torch.int64
    simple = rows.is_cpu and at_least_float32(rows) is rows
    if simple and len(rows) == 1 and rows.shape[1] > _PIECE:
        index = torch.empty(0, dtype=dtype).numpy()
        if (found := _top(rows.detach().numpy()[0], k, index.dtype)) is not None:
            return torch.from_numpy(found[0]), torch.from_numpy(found[1])
    return pick(rows.reshape(-1), largest(rows, k).reshape(-1), dtype)


def _top(
    row: Floating, k: int, dtype: np.dtype[Any]
) -> tuple[Floating, NDArray[np.integer]] | None:
    """Return values and positions of the largest, unless that is not easy."""
    sample = np.abs(row[:: len(row) // _PIECE])
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


def l1_threshold(rows: Tensor, radius: float) -> Tensor:
    r"""Return the shift of the magnitudes that projects each row onto the l1 ball.

    Solves :math:`\sum_i \max(|x_i| - t, 0) = r` for the threshold :math:`t`; it is 0
    for rows within the ball.

    Parameters
    ----------
    rows : Tensor of shape (g, n)
    radius : float
        At least 0.

    Returns
    -------
    Tensor of shape (g, 1), in double precision where the device has it

    Notes
    -----
    Exact. With :math:`s_j` the sum of the `j` largest magnitudes, the threshold is the
    largest :math:`(s_j - r) / j`: a sort, ``O(n log n)``. Of a long row on a CPU,
    Newton's method on a convex piecewise linear function (Michelot, J. Optim. Theory
    Appl. 50, 1986), begun at the threshold of a sample: a step from anywhere ends at
    the left of the solution, and further steps move right until they stay. ``O(n)`` on
    random data, ``O(n^2)`` at worst.
    """
    magnitude = at_least_float32(rows.detach()).abs()
    if magnitude.is_cpu and magnitude.shape[1] > _PIECE:
        found = [[_newton(row, radius)] for row in magnitude.numpy()]
        return torch.tensor(found, dtype=torch.float64)

    def threshold(part: Tensor) -> Tensor:
        sums, count = _sums_of_largest(part)
        total = part.sum(1, keepdim=True, dtype=sums.dtype)
        inside = total * (1 - 1e-15) <= radius  # or but for the rounding of the sum
        best = sums.sub_(radius).div_(count).amax(1, keepdim=True)
        above = part > best  # whose sum, in one go, is more precise than running sums
        size = above.sum(1, keepdim=True)
        total = (part * above).sum(1, keepdim=True, dtype=sums.dtype)
        best = torch.where(size > 0, (total - radius) / size, best)
        return torch.where(inside, 0.0, best.clamp(min=0.0))

    return _by_rows(threshold, magnitude)


def _newton(values: Floating, radius: float) -> float:
    """Return the threshold of a single row of magnitudes."""
    total = _total(values)
    if total * (1 - 1e-15) <= radius:  # or but for the rounding of the sum
        return 0.0
    if radius == 0.0:
        return float(values.max())

    def step(threshold: float) -> tuple[float, int]:
        count, total = 0, 0.0
        for first in range(0, len(values), _PIECE):
            part = values[first : first + _PIECE]
            kept = part > threshold
            count += int(np.count_nonzero(kept))
            total += _total(part * kept)
        return (total - radius) / max(count, 1), count

    threshold, before = (total - radius) / len(values), len(values) + 1
    if len(values) > _PIECE:
        sample = values[:: len(values) // 4096]
        guess = _newton(sample, radius * len(sample) / len(values))
        threshold = max(threshold, step(guess)[0])
    while True:
        further, count = step(threshold)
        if count >= before or not count:
            return threshold
        threshold, before = further, count


def shrink(rows: Tensor, threshold: Tensor | float, radius: float = math.inf) -> Tensor:
    """Lower the magnitudes of each row by a threshold, down to zero.

    In double precision, where the device has it. Where rounding of the threshold would
    leave the norm of a row above `radius`, the row is scaled.

    Parameters
    ----------
    rows : Tensor of shape (g, n)
    threshold : Tensor of shape (g, 1) or float
        At least 0.
    radius : float, default=inf

    Returns
    -------
    Tensor of shape (g, n)
    """
    out = torch.empty_like(rows)
    dtype = sum_dtype(rows)
    limits = torch.as_tensor(threshold, dtype=dtype, device=rows.device)
    limits = limits.expand(len(rows), 1)

    def scaled(factor: Tensor | None = None) -> Tensor:
        norm = torch.zeros_like(limits)
        for part in _parts(rows):
            x = rows[part]
            magnitude = x.abs().to(dtype).sub_(limits[part[0]]).clamp_(min=0.0)
            norm[part[0]] += magnitude.sum(1, keepdim=True)
            if factor is not None:
                magnitude *= factor[part[0]]
            out[part] = magnitude
            out[part].copysign_(x)
        return norm

    norm = scaled()
    if radius < math.inf:
        beyond = (limits > 0) & (norm > radius)
        if not rows.is_cpu or bool(beyond.any()):
            scaled(torch.where(beyond, radius / norm, 1.0))
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
    magnitude = at_least_float32(rows.detach()).abs()
    if magnitude.is_cpu and magnitude.shape[1] > _PIECE:
        found = [[_ternary_scale(row)] for row in magnitude.numpy()]
        return torch.tensor(found, dtype=torch.float64)

    def scale(part: Tensor) -> Tensor:
        sums, count = _sums_of_largest(part)
        best = (sums / count.sqrt()).argmax(1, keepdim=True)
        return sums.gather(1, best) / (best + 1)

    return _by_rows(scale, magnitude)


def _ternary_scale(magnitude: Floating) -> float:
    """Return the scale of a single row of magnitudes, which are sorted in place."""
    magnitude.sort()
    scale = gain = total = 0.0
    for last in range(len(magnitude), 0, -_PIECE):  # in pieces, from the largest
        part = magnitude[max(last - _PIECE, 0) : last][::-1]
        sums = part.astype(np.float64).cumsum() + total
        first = len(magnitude) - last + 1.0
        count = np.arange(first, first + len(part))
        gains = sums / np.sqrt(count)
        best = gains.argmax()
        if gains[best] > gain:
            gain, scale = gains[best], sums[best] / count[best]
        total = sums[-1]
    return scale


def _sums_of_largest(magnitude: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums of the 1, 2, ... largest of each row, and these numbers."""
    dtype = sum_dtype(magnitude)
    if magnitude.is_cpu:
        increasing = np.sort(magnitude.numpy())
        sums = torch.from_numpy(increasing[:, ::-1].cumsum(1, dtype=np.float64))
    else:
        sums = magnitude.sort(dim=1, descending=True).values.cumsum(1, dtype=dtype)
    count = torch.arange(1, sums.shape[1] + 1, device=magnitude.device)
    return sums, count.to(dtype)


def _by_rows(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Apply a function of rows to as many at a time as stay in a cache, or to all."""
    return torch.cat([function(rows[part]) for part in _parts(rows)])


def _parts(rows: Tensor) -> Iterator[tuple[slice, slice]]:
    """Cut rows on a CPU into short pieces, or many short rows into fewer, in order."""
    g, n = rows.shape
    height, width = g, max(n, 1)
    if rows.is_cpu:
        height, width = max(_PIECE // width, 1), min(width, _PIECE)
    for top in range(0, g, height):
        for left in range(0, n, width):
            yield slice(top, top + height), slice(left, left + width)


def _total(x: Floating) -> float:
    return float(x.sum(dtype=np.float64))
