"""Optimal k-means of numbers, in many rows at once."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklc.ops.backend import at_least_float32
from sklc.ops.monge import Floats, Ints
from sklc.ops.points import BLOCK, Reals, bisect
from sklc.ops.problem import Effort, Found, Problem, few_values, refine, search

#: Points times centres, of all rows together, up to which the result is optimal.
EXACT_LIMIT = 6_000_000
_POSITIONS = 1 << 18  # for the cuts, in all, that are searched beyond the limit
_FEW = 2048  # of these that a row has in any case
_GOAL = 1e-4  # share of the squared error that is not worth a search beyond the limit
_LONG = 64  # numbers of a row from which on centres are given cells
_AT_ONCE = 1 << 18  # numbers, or pairs of cells, of the rows that are searched together
_HUGE = 300  # binary exponent from which on, or below minus which, squares may overflow


@dataclass(frozen=True, eq=False)
class Clustering:
    """Clusterings of rows of numbers.

    Attributes
    ----------
    centers : Tensor of shape (g, m), float64, on the CPU
        The centres of each row in increasing order, without a pinned zero; where a row
        has fewer than others, the last is repeated (0 if there is none).
    distortion : ndarray of shape (g,)
        Sums of squared distances to the centres.
    excess : ndarray of shape (g,)
        Certified bounds: no clustering of a row has a distortion below its
        ``distortion - excess``.
    zeros : Zeros or None
        Which numbers are zeros, where the number of non-zeros is bounded.
    """

    centers: Tensor
    distortion: Floats
    excess: Floats
    zeros: "Zeros | None" = None


@dataclass(frozen=True, eq=False)
class Zeros:
    """The numbers of each row from `low` to `high`, but for some ties at both ends.

    Attributes
    ----------
    low, high : ndarray of shape (g,), float64
    skip_low, skip_high : ndarray of shape (g,), intp
        How many of the numbers that equal `low`, or `high`, are none.
    """

    low: Floats
    high: Floats
    skip_low: Ints
    skip_high: Ints


def kmeans(
    rows: Tensor,
    k: int,
    *,
    zero: bool = False,
    max_nonzero: int | None = None,
    starts: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Clustering:
    r"""Cluster each row of numbers into at most `k` clusters of least squared error.

    Solves :math:`\min_{c, z} \sum_i (x_i - c_{z_i})^2` for each row; with ``zero=True``
    one of the `k` centres is 0, and at most `max_nonzero` points belong to the others.

    Parameters
    ----------
    rows : Tensor of shape (g, n)
        Finite numbers in no order, on any device.
    k : int
        Number of centres, a pinned zero included.
    zero : bool, default=False
    max_nonzero : int, default=None
        Needs ``zero=True``.
    starts : Tensor of shape (g, m), default=None
        Free centres to start from, at most `k` (less a pinned zero): the result is
        never worse.
    sizes : integer Tensor of shape (g,), default=None
        How many numbers of each row, from the first on, there are; at least one.

    Returns
    -------
    Clustering

    Notes
    -----
    Globally optimal while the numbers of all rows times `k` are at most
    :data:`EXACT_LIMIT`. Beyond it the search ends when its bounds are within 1e-4 of
    each other, or when more than some 250,000 positions for cuts would have to be
    tried: ``excess`` tells how far from optimal the result can be.

    Time is that of a sort where the search closes fast, as on weights of nets, and
    ``O(n k log n)`` a row at worst. Memory: the sorted copy, as much again for sums,
    and 100 bytes for every position for a cut that is tried.
    """
    x, size = _sorted(rows, sizes)
    g, width = x.shape
    n_zeros = np.zeros(g, dtype=np.intp)
    if max_nonzero is not None:
        n_zeros = np.maximum(size - max_nonzero, 0)
        k = min(k, max_nonzero + 1)
    k = min(k, x.shape[1] + zero)  # more are of no use
    given = None
    if starts is not None and 0 < starts.shape[1] <= k - zero:
        given = starts.detach().double().cpu().numpy()
    if size.sum() * k <= EXACT_LIMIT:
        effort = Effort(x.size * (k + 1) ** 2, 0.0)
    else:
        effort = Effort(max(_POSITIONS // g, _FEW), _GOAL)
    each = max(1, _AT_ONCE // max(width, (8 if width > _LONG else 1) * k * k))
    parts = []
    for first in range(0, g, each):
        some = slice(first, first + each)
        own = None if given is None else given[some]
        problem = Problem(x[some], size[some], n_zeros[some], k, zero, effort)
        parts.append(_solve(problem, own))
    centers, count, distortion, excess, *ends = (
        np.concatenate(field) for field in zip(*parts, strict=True)
    )
    zeros = Zeros(*ends) if n_zeros.any() else None
    used = torch.from_numpy(centers[:, : count.max()])
    return Clustering(used, distortion, excess, zeros)


def _sorted(rows: Tensor, sizes: Tensor | None) -> tuple[Reals, Ints]:
    """Return sorted rows with ``inf`` behind them, and the sizes of the rows."""
    rows = at_least_float32(rows.detach())
    g, n = rows.shape
    size = np.full(g, n)
    if sizes is not None:
        size = sizes.cpu().numpy().astype(np.intp)
        behind = torch.arange(n, device=rows.device) >= sizes.to(rows.device)[:, None]
        rows = rows.masked_fill(behind, math.inf)
    on_cpu = rows.is_cpu
    if not on_cpu:
        rows = rows.sort(dim=1).values.cpu()
    values = rows.numpy()
    x = np.full((g, (n // BLOCK + 1) * BLOCK), np.inf, dtype=values.dtype)
    x[:, :n] = values
    if on_cpu:
        x[:, :n].sort(axis=1)
    return x, size


def _solve(problem: Problem, starts: Floats | None) -> tuple[Any, ...]:
    """Return centres, their number, distortion, excess, and where zeros are."""
    x, unit = problem.x, _units(problem)
    if (unit != 1).any():
        problem = replace(problem, x=x * unit[:, None])
        starts = None if starts is None else starts * unit[:, None]
    found, few = few_values(problem)
    if len(rest := np.flatnonzero(~few)):
        part, own = problem.part(rest), None if starts is None else starts[rest]
        other = search(part, own)
        refine(part, own, other)
        found.put(rest, other, np.arange(len(rest)))
    centers, count = _centers(problem, found, unit, x)
    excess = np.clip(found.error - found.lower, 0.0, None) + found.noise
    with np.errstate(over="ignore", under="ignore"):
        error, excess = (
            e / unit / unit for e in (found.error, np.minimum(excess, found.error))
        )
    return centers, count, error, excess, *_ends(x, problem.size, found)


def _units(problem: Problem) -> Floats:
    """Return powers of two that bring rows whose squares may leave the range near 1."""
    if problem.x.dtype != np.float64:
        return np.ones(len(problem.x))
    inside = np.arange(problem.x.shape[1]) < problem.size[:, None]
    exponent = np.frexp(np.abs(problem.x).max(axis=1, where=inside, initial=0.0))[1]
    exponent = np.where(np.abs(exponent) < _HUGE, 0, exponent.clip(-1000, 1000))
    return np.ldexp(1.0, -exponent)


def _centers(
    problem: Problem, found: Found, unit: Floats, x: Reals
) -> tuple[Floats, Ints]:
    """Return the free centres of clusters with points, the last repeated; their number.

    Clusters of one value keep it bit for bit.
    """
    k, every = problem.k, np.arange(len(x))[:, None]
    begin, stop = found.cuts[:, :-1], found.cuts[:, 1:]
    first, last = x[every, begin], x[every, np.maximum(stop - 1, begin)]
    values = np.where(first == last, first, found.centers / unit[:, None])
    use = stop > begin
    if problem.zero:
        use &= np.arange(k) != found.place[:, None]
    count = use.sum(axis=1)
    order = np.argsort(~use, axis=1, kind="stable")[:, : k - problem.zero]
    number = np.minimum(np.arange(k - problem.zero), np.maximum(count - 1, 0)[:, None])
    values = values[every, order[every, number]]
    return np.where((count > 0)[:, None], values, 0.0), count


def _ends(x: Reals, size: Ints, found: Found) -> tuple[Any, ...]:
    """Describe the clusters of zeros by the values at their ends."""
    every, base = np.arange(len(x)), np.arange(len(x)) * x.shape[1]
    begin, stop = found.cuts[every, found.place], found.cuts[every, found.place + 1]
    low, high = x[every, begin], x[every, np.maximum(stop - 1, begin)]
    flat = x.reshape(-1)
    first = bisect(flat, low, base, base + begin) - base
    after = np.nextafter(high, np.asarray(np.inf, dtype=x.dtype))
    last = bisect(flat, after, base + stop, base + size) - base
    some = stop > begin
    low, high = (np.where(some, value, 0.0) for value in (low, high))
    return low, high, np.where(some, begin - first, 0), np.where(some, last - stop, 0)
