"""Lloyd's algorithm on rows of sorted numbers, and the best clusterings it has met."""

import numpy as np

from sklc.ops.monge import Floats, Ints
from sklc.ops.points import Points


class Clusterings:
    """The best known clustering of every row.

    Clusters of sorted points are intervals, even if one value is pinned at zero and so
    many points at least must belong to it: what a point gains by leaving zero,
    ``max_j 2 c_j x - c_j^2``, is convex in ``x``.

    Parameters
    ----------
    points : Points
    n_free : int
        Number of centres that are free, at least one without a pinned zero.
    zero : bool
        Whether there is one more, pinned at zero.
    n_zeros : ndarray of shape (g,), intp
        Number of points at least that belong to it.

    Attributes
    ----------
    zero : ndarray of shape (g,), or None
        Where zero is, less the shift of the row.
    upper : ndarray of shape (g,)
        Least squared error so far.
    cuts : ndarray of shape (g, k + 1)
        Positions where the clusters begin, and where the last one ends.
    place : ndarray of shape (g,)
        The number of the cluster of zeros (0 without one).
    centers : ndarray of shape (g, n_free)
        The free centres, less the shift, in increasing order.
    """

    def __init__(self, points: Points, n_free: int, zero: bool, n_zeros: Ints) -> None:
        g = len(points.size)
        self.points, self.n_free, self.n_zeros = points, n_free, n_zeros
        self.zero = -points.shift if zero else None
        self.bounded = bool(n_zeros.any())
        self.upper = np.full(g, np.inf)
        self.cuts = np.zeros((g, n_free + zero + 1), dtype=np.intp)
        self.place = np.zeros(g, dtype=np.intp)
        self.centers = np.zeros((g, n_free))

    def offer(self, rows: Ints, centers: Floats, steps: int) -> None:
        """Improve centres of rows by Lloyd's algorithm, and keep what is better."""
        for _ in range(steps):
            cuts, place = self.assign(rows, centers)
            means = self.keep(rows, cuts, place, centers)
            moved = (means != centers).any(axis=1)
            rows, centers = rows[moved], means[moved]
            if not len(rows):
                break

    def keep(self, rows: Ints, cuts: Ints, place: Ints, centers: Floats) -> Floats:
        """Keep clusterings of rows that are the best yet; return centres."""
        means, error = self.means(rows, cuts, place, centers)
        better = error < self.upper[rows]
        at = rows[better]
        self.upper[at], self.cuts[at] = error[better], cuts[better]
        self.place[at], self.centers[at] = place[better], means[better]
        return means

    def means(
        self, rows: Ints, cuts: Ints, place: Ints, empty: Floats
    ) -> tuple[Floats, Floats]:
        """Return the means of free clusters, and the squared errors of clusterings.

        Parameters
        ----------
        rows : ndarray of shape (r,)
        cuts : ndarray of shape (r, k + 1)
        place : ndarray of shape (r,)
        empty : ndarray of shape (r, n_free)
            What stands for the means of clusters without points.
        """
        count, sums, squares = np.diff(self.points.moments(cuts), axis=2)
        cost = squares - sums**2 / np.maximum(count, 1.0)
        if self.zero is not None:
            zero, at = self.zero[rows], (np.arange(len(rows)), place)
            cost[at] = squares[at] - 2 * zero * sums[at] + zero**2 * count[at]
            free = np.arange(cuts.shape[1] - 1) != place[:, None]
            count, sums = (x[free].reshape(empty.shape) for x in (count, sums))
        means = np.divide(sums, count, out=empty.copy(), where=count > 0)
        return means, np.maximum(cost, 0.0).sum(axis=1)

    def assign(self, rows: Ints, centers: Floats) -> tuple[Ints, Ints]:
        """Give the points of rows to their nearest centres, and enough of them to zero.

        Parameters
        ----------
        rows : ndarray of shape (r,)
        centers : ndarray of shape (r, n_free)
            In increasing order.

        Returns
        -------
        cuts : ndarray of shape (r, k + 1)
        place : ndarray of shape (r,)
        """
        place = np.zeros(len(rows), dtype=np.intp)
        if self.zero is not None:
            place = (centers < self.zero[rows, None]).sum(axis=1)
        cuts = self.nearest(rows, centers)
        if self.bounded:
            self._widen(rows, centers, cuts, place)
        return cuts, place

    def nearest(self, rows: Ints, centers: Floats) -> Ints:
        """Cut the points of rows between their nearest centres, zero among them."""
        first, last = self.points.first[rows, None], self.points.last[rows, None]
        if self.zero is not None:
            centers = np.append(centers, self.zero[rows, None], axis=1)
            centers = np.sort(centers, axis=1)
        inner = self.points.find((centers[:, 1:] + centers[:, :-1]) / 2, first, last)
        return np.concatenate([first, inner, last], axis=1)

    def gain(self, rows: Ints, centers: Floats, position: Ints) -> Floats:
        """Return what the points behind positions of rows save by leaving zero."""
        assert self.zero is not None
        zero = self.zero[rows]
        away = centers - zero[:, None]
        inside = np.minimum(position, self.points.last[rows] - 1)
        x = (self.points.values(inside) - zero)[:, None]
        gain = 2 * away * x - away**2
        return gain.max(axis=1) if gain.shape[1] else np.full(len(rows), -np.inf)

    def _widen(self, rows: Ints, centers: Floats, cuts: Ints, place: Ints) -> None:
        """Let enough points be zeros: those that gain least by leaving."""
        every = np.arange(len(rows))
        start, stop = cuts[every, place], cuts[every, place + 1]
        few = np.flatnonzero(stop - start < self.n_zeros[rows])
        if not len(few):
            return
        rows, centers, place = rows[few], centers[few], place[few]
        need = self.n_zeros[rows]
        low = np.maximum(self.points.first[rows], stop[few] - need)
        high = np.minimum(start[few], self.points.last[rows] - need)
        for _ in range(int((high - low).max()).bit_length()):
            middle = (low + high) >> 1
            ends = (self.gain(rows, centers, at) for at in (middle, middle + need))
            left = next(ends) > next(ends)  # its first point gains more than the next
            low, high = np.where(left, middle + 1, low), np.where(left, high, middle)
            low = np.minimum(low, high)
        start, stop = low[:, None], (low + need)[:, None]
        number = np.arange(cuts.shape[1])
        wide = np.where(
            number <= place[:, None],
            np.minimum(cuts[few], start),
            np.maximum(cuts[few], stop),
        )
        wide[number == place[:, None]] = low
        wide[number == place[:, None] + 1] = low + need
        cuts[few] = wide
