"""Clusterings of rows of sorted numbers, and Lloyd's algorithm, which improves them.

Clusters of sorted points are intervals, even if one centre is pinned at zero and so
many points at least must belong to it: what a point gains by leaving zero,
``max_j 2 c_j x - c_j^2``, is convex in ``x``.
"""

from dataclasses import dataclass

import numpy as np

from sklc.ops.monge import Floats, Ints
from sklc.ops.points import Points


@dataclass(frozen=True)
class Shape:
    """What rows are clustered into.

    Attributes
    ----------
    n_free : int
        Number of centres that are free.
    zero : bool
        Whether there is one more, pinned at zero.
    n_zeros : int
        Number of points at least that belong to it.
    """

    n_free: int
    zero: bool = False
    n_zeros: int = 0

    @property
    def k(self) -> int:
        """Number of all centres."""
        return self.n_free + self.zero


@dataclass(frozen=True)
class Clusters:
    """Clusterings of rows.

    Attributes
    ----------
    cuts : ndarray of shape (g, k + 1)
        Positions where the clusters begin, and the end.
    pinned : ndarray of shape (g, k), bool
        Which cluster is that of the zeros.
    centers : ndarray of shape (g, k)
        The means of the clusters (0 if pinned; of those without points, something in
        order between the others).
    error : ndarray of shape (g,)
        Sums of squared distances.
    """

    cuts: Ints
    pinned: Ints
    centers: Floats
    error: Floats

    def better(self, other: "Clusters") -> "Clusters":
        """Return the better clustering of each row."""
        take = (other.error < self.error)[:, None]
        return Clusters(
            np.where(take, other.cuts, self.cuts),
            np.where(take, other.pinned, self.pinned),
            np.where(take, other.centers, self.centers),
            np.minimum(self.error, other.error),
        )


def clusters(points: Points, cuts: Ints, pinned: Ints) -> Clusters:
    """Return the clusterings that positions and the places of zeros stand for."""
    count, total, squares = np.diff(points.moments(cuts), axis=2)
    mean = np.divide(total, count, out=points.values(cuts[:, :-1]), where=count > 0)
    mean = np.where(pinned, -points.shift, mean)
    cost = squares - np.where(pinned, 0.0, total * mean)
    error = np.where(count > 0, np.maximum(cost, 0.0), 0.0).sum(axis=1)
    return Clusters(cuts, pinned, mean + points.shift, error)


def assigned(points: Points, shape: Shape, free: Floats) -> Clusters:
    """Give points to their nearest centres, and enough of them to zero.

    Parameters
    ----------
    points : Points
    shape : Shape
    free : ndarray of shape (g, n_free)
        The free centres, in increasing order.
    """
    place = np.full((len(free), 1), -1)
    if shape.zero:
        place = np.count_nonzero(free < 0, axis=1, keepdims=True)
    pinned = np.arange(shape.k) == place
    centers = np.zeros((len(free), shape.k))
    centers[~pinned] = free.reshape(-1)
    middle = (centers[:, 1:] + centers[:, :-1]) / 2 - points.shift
    cuts = np.zeros((len(free), shape.k + 1), dtype=np.intp)
    cuts[:, 1:-1], cuts[:, -1] = points.find(middle), points.n
    if shape.n_zeros:
        start = _start_of_zeros(points, shape, free, cuts, place)
        stop, number = start + shape.n_zeros, np.arange(shape.k + 1)
        size = np.diff(cuts)
        few = np.take_along_axis(size, place, 1) < shape.n_zeros
        wide = np.where(
            number <= place, np.minimum(cuts, start), np.maximum(cuts, stop)
        )
        wide = np.where(number == place, start, wide)
        wide = np.where(number == place + 1, stop, wide)
        cuts = np.where(few, wide, cuts)
    return clusters(points, cuts, pinned)


def _start_of_zeros(
    points: Points, shape: Shape, free: Floats, cuts: Ints, place: Ints
) -> Ints:
    """Return where ``n_zeros`` points begin that gain least by leaving zero."""
    need = shape.n_zeros
    low = np.maximum(np.take_along_axis(cuts, place + 1, 1) - need, 0)
    high = np.minimum(np.take_along_axis(cuts, place, 1), points.n - need)
    high = np.maximum(high, low)

    def gain(at: Ints) -> Floats:
        each = 2 * free * points.values(at) - free**2
        most: Floats = each.max(axis=1, keepdims=True, initial=-np.inf)
        return most

    for _ in range(points.n.bit_length()):
        middle = (low + high) >> 1
        left = (gain(middle) > gain(middle + need)) & (middle < high)
        low, high = np.where(left, middle + 1, low), np.where(left, high, middle)
    return low


def lloyd(points: Points, shape: Shape, found: Clusters, steps: int) -> Clusters:
    """Improve clusterings until nothing moves, but not for more than so many steps."""
    best = found
    for _ in range(steps):
        free = np.sort(found.centers[~found.pinned].reshape(len(found.cuts), -1))
        moved = assigned(points, shape, free)
        if np.array_equal(moved.cuts, found.cuts):
            break
        best, found = best.better(moved), moved
    return best
