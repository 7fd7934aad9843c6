"""Optimal k-means of numbers, by the search of :mod:`sklc.ops.search`."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklc.ops.backend import at_least_float32
from sklc.ops.buckets import Buckets
from sklc.ops.gaps import clustered, shortened
from sklc.ops.monge import Floats
from sklc.ops.points import Ordered, Points
from sklc.ops.search import Search
from sklc.ops.sorting import sort

#: Cut positions that the search may hold: ``n * k`` up to this is always exact.
EXACT_LIMIT = 6_000_000
PRECISE = 1e-9  # rounding of the sums of squares that may be left, of the distortion
_HUGE = 300  # binary exponent from which on (or below minus which) squares may overflow


@dataclass(frozen=True, eq=False)
class Clustering:
    """A clustering of numbers.

    Attributes
    ----------
    centers : Tensor of shape (<= k,), float64, on the CPU
        The free centres in increasing order, without a pinned zero.
    distortion : float
        Sum of squared distances to the centres.
    excess : float
        Certified bound: no clustering has a distortion below ``distortion - excess``.
        It is 1e-13 of the sum of squares, for rounding, when the search ended, and
        `distortion` without one.
    zeros : tuple (low, high, skip_low, skip_high) or None
        When the number of non-zeros is bounded: the points from `low` to `high` are
        zeros, except so many of those that equal `low` and of those that equal `high`.
    """

    centers: Tensor
    distortion: float
    excess: float
    zeros: tuple[float, float, int, int] | None = None

    def scaled(self, unit: float) -> "Clustering":
        """Return the clustering of the numbers times a power of two."""
        zeros = self.zeros
        if zeros is not None:
            zeros = zeros[0] * unit, zeros[1] * unit, *zeros[2:]
        square = unit * unit
        return Clustering(
            self.centers * unit, self.distortion * square, self.excess * square, zeros
        )


def kmeans_1d(
    x: Tensor,
    k: int,
    *,
    zero: bool = False,
    max_nonzero: int | None = None,
    start: Tensor | None = None,
    limit: int | None = None,
) -> Clustering:
    r"""Cluster numbers into at most `k` clusters with the least squared error.

    Solves :math:`\min_{c, z} \sum_i (x_i - c_{z_i})^2`; with ``zero=True`` one of the
    `k` centres is 0, and at most `max_nonzero` points belong to the others.

    Parameters
    ----------
    x : Tensor of shape (n,)
        Finite numbers, at least one, in no order.
    k : int
        Number of centres, a pinned zero included.
    zero : bool, default=False
    max_nonzero : int, default=None
        Needs ``zero=True``.
    start : Tensor of shape (m,), default=None
        Free centres to start from, at most `k` (less a pinned zero): the result is
        never worse. Beyond the exact limit nothing is searched then, nor certified: the
        result is the better of what Lloyd's algorithm makes of the start and of the
        optimum on a grid of some 2048 cut positions. Numbers in single precision are
        not even sorted for it, but put in :class:`sklc.ops.buckets.Buckets`, if these
        are fine enough.
    limit : int, default=None
        Cut positions that the search may hold. By default :data:`EXACT_LIMIT` where
        ``n * k`` (twice that with a pinned zero) is within it, so that the result is
        exact; otherwise ``n / 8`` but at least 2^19, which bounds the memory and most
        often suffices.

    Returns
    -------
    Clustering
        Globally optimal, up to the rounding that its ``excess`` tells.

    Notes
    -----
    Sums of squares are exact to 1e-13 of the sum of all. Where that is not next to
    nothing compared with the distortion (a point a million times as far from the mean
    as others, clusters that are tight, nearly as many centres as points) the gaps
    between clusters are shortened first: see :mod:`sklc.ops.gaps`.

    Time ``O(n log n)`` for the sort, and next to nothing beyond it where the search
    closes fast, as it does on weights of nets; ``O(n k log n)`` at worst below the
    limit. Memory: the sorted copy, two float64 for every 4 points for sums (as much as
    a float32 copy), and 100 bytes per cut position held.
    """
    x = at_least_float32(x.detach().reshape(-1))
    n = len(x)
    n_zeros = 0 if max_nonzero is None else max(0, n - max_nonzero)
    exponent = _exponent(x)
    if exponent:
        known = _already_clustered(sort(x).numpy(), k, zero, n_zeros)
        if known is not None:
            return known
        own = None if start is None else start.double() * 2.0**-exponent
        x = x * 2.0**-exponent
        found = kmeans_1d(
            x, k, zero=zero, max_nonzero=max_nonzero, start=own, limit=limit
        )
        return found.scaled(2.0**exponent)
    positions = (n + 1) * (2 * k if zero else k)
    if limit is None:
        limit = EXACT_LIMIT if positions <= EXACT_LIMIT else max(n // 8, 1 << 19)
    given: Floats | None = None
    if start is not None and start.numel():
        given = np.sort(start.detach().double().cpu().numpy())
    near = given is not None and positions > EXACT_LIMIT
    points = _points(x, k, zero, n_zeros, quick=near)
    if isinstance(points, Points):
        known = _already_clustered(points.x, k, zero, n_zeros)
        if known is not None:
            return known
    search = Search(points, k, zero, n_zeros)
    lower = _searched(search, given, near, limit)
    if search.tolerance > PRECISE * search.upper:
        if not isinstance(points, Points):
            points = Points(x, centred=not zero)
        return _more_precise(points, search, lower, given, near, limit)
    excess = search.upper - lower + search.tolerance
    return Clustering(
        centers=torch.from_numpy(search.centers + points.shift),
        distortion=search.upper,
        excess=min(search.upper, excess),
        zeros=points.between(*search.zeros)
        if isinstance(points, Points) and n_zeros
        else None,
    )


def _exponent(x: Tensor) -> int:
    """Return the binary exponent of numbers whose squares may leave the range."""
    if x.dtype != torch.float64:
        return 0
    exponent = math.frexp(float(x.abs().max()))[1]
    return 0 if abs(exponent) < _HUGE else max(-1000, min(exponent, 1000))


def _searched(search: Search, given: Floats | None, near: bool, limit: int) -> float:
    """Search, from centres that are given, if any; return the lower bound."""
    if given is not None and near:
        search.run_near(given - search.points.shift, limit)
        return 0.0
    search.offer(_spread(search.points, search.k, search.zero))
    if given is not None:
        search.offer(given - search.points.shift)
    return search.run(limit)


def _more_precise(
    points: Points,
    search: Search,
    lower: float,
    given: Floats | None,
    near: bool,
    limit: int,
) -> Clustering:
    """Search again with shorter gaps, as long as that improves the clustering."""
    x, zero = points.x.astype(np.float64), search.zero
    cuts, pinned = search.cuts, search.pinned
    centers, error = clustered(x, cuts, pinned)
    if given is not None:
        own, at = search.assign(given - search.points.shift)
        others = clustered(x, own, at if zero else None)
        if others[1] < error:
            (centers, error), cuts, pinned = others, own, at if zero else None
    tolerance, improved = search.tolerance, True
    while improved and tolerance > PRECISE * error:
        short = shortened(x, 2 * math.sqrt(2 * error), zero)
        if short is None or not error:
            break
        search = Search(
            Points(torch.from_numpy(short), centred=not zero),
            search.k,
            zero,
            search.n_zeros,
        )
        start, _ = clustered(short, cuts, pinned)
        lower = _searched(search, start if len(start) else None, near, limit)
        tolerance = search.tolerance
        others = clustered(x, search.cuts, search.pinned)
        improved = others[1] < error
        if improved:
            (centers, error), cuts, pinned = others, search.cuts, search.pinned
    zeros = None
    if search.n_zeros and pinned is not None:
        zeros = points.between(int(cuts[pinned]), int(cuts[pinned + 1]))
    excess = max(error - lower, 0.0) + tolerance
    return Clustering(torch.from_numpy(centers), error, min(error, excess), zeros)


def _points(
    x: Tensor, k: int, zero: bool, n_zeros: int, quick: bool
) -> Points | Buckets:
    """Sort numbers, or only put them in buckets, where that will do."""
    if quick and not n_zeros and x.dtype == torch.float32:
        buckets = Buckets(x, centred=not zero)
        if buckets.fine(k):  # and so there are more buckets than centres
            return buckets
    return Points(x, centred=not zero)


def _already_clustered(
    x: NDArray[np.floating], k: int, zero: bool, n_zeros: int
) -> Clustering | None:
    """Return the values of sorted points, if there are no more of them than centres."""
    new = x[1:] != x[:-1]
    if np.count_nonzero(new) >= k + 1:
        return None
    values = x[np.append(True, new)].astype(np.float64)
    if zero:
        values = values[values != 0]
    if len(values) > k - zero or np.count_nonzero(x == 0) < n_zeros:
        return None
    zeros = (0.0, 0.0, 0, 0) if n_zeros else None
    return Clustering(torch.from_numpy(values), 0.0, 0.0, zeros)


def _spread(points: Ordered, k: int, zero: bool) -> Floats:
    """Spread centres with the density that suits many of them: its cube root."""
    at = np.unique(np.linspace(0, points.n - 1, 4096).astype(np.intp))
    x = points.values(at)
    mass = np.cumsum(np.cbrt(np.diff(x) ** 2 * np.diff(at)))
    if not len(mass) or not mass[-1]:
        return np.zeros(0) if zero else x[:1]
    quantiles = (np.arange(k) + 0.5) / k
    centers = np.interp(quantiles, np.append(0.0, mass) / mass[-1], x)
    return np.delete(centers, np.abs(centers).argmin()) if zero else centers
