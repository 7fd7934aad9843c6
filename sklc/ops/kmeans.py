"""Optimal k-means of numbers, in many rows at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklc.ops.backend import at_least_float32, host_copies
from sklc.ops.gaps import exactly, ranked, shortened
from sklc.ops.lloyd import Clusters, Shape, assigned, lloyd
from sklc.ops.monge import Floats, Ints
from sklc.ops.points import Points, Reals
from sklc.ops.search import best_cuts, coarse_grid, savings

#: Points times centres, of all rows together, up to which the result is optimal.
EXACT_LIMIT = 6_000_000
_AT_ONCE = 1 << 17  # positions of rows that are searched together
_EACH = 24  # positions for cuts to try, for each centre, where not all of them are
_LEAST = 1 << 11  # and in any case of a single row
_FINE = 1 << 9  # for each centre, to certify
_FINEST = 1 << 15  # and in any case of a single row
_STEPS = 50  # of Lloyd's algorithm
_TRIES = 4  # to shorten gaps
ROUNDING = 1e-13  # of sums of squares, relatively
_PRECISE = 1e-9  # what rounding may leave of the squared error
_HUGE = 300  # binary exponent from which on, or below minus which, squares may overflow


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
        ``distortion - excess``. Where nothing is certified it is the distortion.
    zeros : Zeros or None
        Which numbers are zeros, where the number of non-zeros is bounded.
    """

    centers: Tensor
    distortion: Floats
    excess: Floats
    zeros: Zeros | None = None


def kmeans(
    rows: Tensor,
    k: int,
    *,
    zero: bool = False,
    max_nonzero: int | None = None,
    starts: Tensor | None = None,
    certify: bool = False,
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
    certify : bool, default=False
        Whether to bound how far from optimal the result is, where it may be: as long
        again, and longer.

    Returns
    -------
    Clustering

    Notes
    -----
    Globally optimal while the numbers of all rows times `k` are at most
    :data:`EXACT_LIMIT` (a sixth of it, from a start), by dynamic programming over all
    places for cuts (X. Wu, Optimal quantization by matrix searching, J. Algorithms 12,
    1991): ``O(n k log n)`` for a row. Beyond it the cuts are optimal on a grid of some
    24 places for each centre, and improved by Lloyd's algorithm: ``O(n log n)``.
    Memory: the sorted numbers and as much again for sums; where it is optimal,
    numbers for each centre and place.
    """
    (x,), given = sorted_rows([rows]), None
    if starts is not None:
        (given,) = host_copies([starts])
    return kmeans_of_sorted(
        x, k, zero=zero, max_nonzero=max_nonzero, starts=given, certify=certify
    )


def kmeans_of_sorted(
    x: Reals,
    k: int,
    *,
    zero: bool = False,
    max_nonzero: int | None = None,
    starts: Reals | None = None,
    certify: bool = False,
) -> Clustering:
    """Cluster rows as :func:`kmeans` does, which are sorted and arrays already."""
    g, n = x.shape
    n_zeros = 0 if max_nonzero is None else max(n - max_nonzero, 0)
    k = min(k, n + zero) if max_nonzero is None else min(k, n + zero, max_nonzero + 1)
    shape = Shape(k - zero, zero, n_zeros)
    given = None
    if starts is not None and 0 < starts.shape[1] <= shape.n_free:
        given = starts.astype(np.float64)
    exact = x.size * k <= EXACT_LIMIT // (1 if given is None else 6)
    effort = 0 if exact else max(_EACH * k, _LEAST // g)
    fine = max(_FINE * k, _FINEST // g) if certify else 0
    each = max(1, _AT_ONCE // min(n, max(effort, fine) or n))
    parts = [
        _clustered(
            x[first : first + each],
            shape,
            None if given is None else given[first : first + each],
            effort,
            fine,
        )
        for first in range(0, g, each)
    ]
    centers, count, error, excess, *ends = map(np.concatenate, zip(*parts, strict=True))
    used = torch.from_numpy(centers[:, : count.max(initial=0)])
    return Clustering(used, error, excess, Zeros(*ends) if n_zeros else None)


def sorted_rows(matrices: Sequence[Tensor]) -> list[Reals]:
    """Return matrices (g, n) with each row in increasing order, as arrays.

    They are sorted where they are, and all of them wait for their device together.
    """
    found = [at_least_float32(rows.detach()) for rows in matrices]
    there = [rows if rows.is_cpu else rows.sort(dim=1).values for rows in found]
    return [
        np.sort(x, axis=1) if rows.is_cpu else x
        for rows, x in zip(found, host_copies(there), strict=True)
    ]


def _clustered(
    x: Reals, shape: Shape, starts: Floats | None, effort: int, fine: int
) -> tuple[Any, ...]:
    """Cluster sorted rows: centres, their number, error, excess, and ends of zeros."""
    unit = _units(x)
    y = x if (unit == 1).all() else x * unit
    if starts is not None:
        starts = np.sort(starts * unit, axis=1)
        missing = shape.n_free - starts.shape[1]
        starts = np.append(starts, np.repeat(starts[:, -1:], missing, 1), 1)
    few = _few_values(y, shape)
    near = np.where(few[:, None], ranked(y, shape.zero), y) if few.any() else y
    found, lower, noise = _searched(near, shape, starts, effort, fine)
    hard = np.flatnonzero(few | (noise > _PRECISE * found.error))
    if len(hard):
        own = None if starts is None else starts[hard]
        part, *bounds = _more_precise(
            y[hard], shape, own, effort, fine, _rows(found, hard)
        )
        lower[hard], noise[hard] = bounds
        for field in "cuts", "pinned", "centers", "error":
            getattr(found, field)[hard] = getattr(part, field)
    excess = np.clip(found.error - lower + noise, 0.0, found.error)
    with np.errstate(over="ignore", under="ignore"):
        error, excess = (e / unit[:, 0] / unit[:, 0] for e in (found.error, excess))
    return *_centers(x, shape, found, unit), error, excess, *_ends(x, found)


def _units(x: Reals) -> Floats:
    """Return powers of two that bring rows whose squares may leave the range near 1."""
    if x.dtype != np.float64:
        return np.ones((len(x), 1))
    exponent = np.frexp(np.abs(x[:, [0, -1]]).max(axis=1, keepdims=True))[1]
    exponent = np.where(np.abs(exponent) < _HUGE, 0, exponent.clip(-1000, 1000))
    return np.ldexp(1.0, -exponent)


def _few_values(x: Reals, shape: Shape) -> Any:
    """Tell which rows have no more values than centres, so that there is no error."""
    new = x[:, 1:] != x[:, :-1]
    n_values = np.count_nonzero(new, axis=1) + 1
    if not shape.zero:
        return n_values <= shape.n_free
    n_zeros = np.count_nonzero(x == 0, axis=1)
    return (n_values - (n_zeros > 0) <= shape.n_free) & (n_zeros >= shape.n_zeros)


def _searched(
    x: Reals, shape: Shape, starts: Floats | None, effort: int, fine: int
) -> tuple[Clusters, Floats, Floats]:
    """Return clusterings of sorted rows, lower bounds of errors, and their rounding."""
    points = Points(x, centred=not shape.zero)
    every = np.broadcast_to(np.arange(points.n + 1), (len(x), points.n + 1))
    grid = coarse_grid(points, effort, shape.n_zeros) if effort else every
    found, lower = best_cuts(points, shape, grid)
    if effort:
        found, lower = lloyd(points, shape, found, _STEPS), np.zeros(len(x))
    if starts is not None:
        start = assigned(points, shape, starts)
        found = found.better(lloyd(points, shape, start, _STEPS))
    if effort and fine and 2 * shape.n_zeros >= points.n * (shape.n_zeros > 0):
        grid = coarse_grid(points, fine, shape.n_zeros)
        saving = savings(points, shape, grid, found.error)
        lower = best_cuts(points, shape, grid, saving)[1]
    total = points.moments(np.full((len(x), 1), points.n))[2, :, 0]
    return found, lower, ROUNDING * total


def _more_precise(
    x: Reals,
    shape: Shape,
    starts: Floats | None,
    effort: int,
    fine: int,
    found: Clusters,
) -> tuple[Clusters, Floats, Floats]:
    """Search again with shorter gaps, as long as that improves the clusterings."""
    found = exactly(x, found)
    if starts is not None:
        points = Points(x, centred=not shape.zero)
        found = found.better(exactly(x, assigned(points, shape, starts)))
    lower, noise = np.zeros(len(x)), np.zeros(len(x))
    for _ in range(_TRIES):
        if not found.error.any():
            break
        near = shortened(x, 2 * np.sqrt(2 * found.error), shape.zero)
        known = exactly(near, found)
        free = known.centers[~known.pinned].reshape(len(x), -1)
        other, lower, noise = _searched(
            near, shape, free if shape.n_free else None, effort, fine
        )
        other = exactly(x, other)
        better = other.error < found.error
        found = found.better(other)
        if not (better & (noise > _PRECISE * found.error)).any():
            break
    some = found.error > 0
    return found, np.where(some, lower, 0.0), np.where(some, noise, 0.0)


def _rows(found: Clusters, rows: Ints) -> Clusters:
    return Clusters(
        found.cuts[rows], found.pinned[rows], found.centers[rows], found.error[rows]
    )


def _centers(
    x: Reals, shape: Shape, found: Clusters, unit: Floats
) -> tuple[Floats, Ints]:
    """Return the free centres of clusters with points, the last repeated; their number.

    Clusters of one value keep it bit for bit.
    """
    begin, stop = found.cuts[:, :-1], found.cuts[:, 1:]
    first = np.take_along_axis(x, np.minimum(begin, x.shape[1] - 1), 1)
    last = np.take_along_axis(x, np.maximum(stop - 1, 0), 1)
    values = np.where(first == last, first, found.centers / unit)
    use = (stop > begin) & ~found.pinned
    count = use.sum(axis=1)
    order = np.argsort(~use, axis=1, kind="stable")[:, : shape.n_free]
    number = np.arange(shape.n_free)
    number = np.minimum(number, np.maximum(count - 1, 0)[:, None])
    values = np.take_along_axis(values, np.take_along_axis(order, number, 1), 1)
    return np.where((count > 0)[:, None], values, 0.0), count


def _ends(x: Reals, found: Clusters) -> tuple[Any, ...]:
    """Describe the clusters of zeros by the values at their ends."""
    place = found.pinned.argmax(axis=1)[:, None]
    begin = np.take_along_axis(found.cuts, place, 1)
    stop = np.take_along_axis(found.cuts, place + 1, 1)
    low = np.take_along_axis(x, np.minimum(begin, x.shape[1] - 1), 1)
    high = np.take_along_axis(x, np.maximum(stop - 1, 0), 1)
    skip_low = begin - np.count_nonzero(x < low, axis=1, keepdims=True)
    skip_high = np.count_nonzero(x <= high, axis=1, keepdims=True) - stop
    some = stop > begin
    fields = (low, high, skip_low, skip_high)
    return tuple(np.where(some, field, 0)[:, 0] for field in fields)
