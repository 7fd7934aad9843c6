"""Optimal clusterings of rows of sorted numbers.

First it is narrowed where the centres may be: they are given cells, and those that no
clustering as good as the best known has centres in are dropped, as
:mod:`sklc.ops.cells` tells. Where the centres are, and that Lloyd's algorithm keeps
order, tells where the cuts between clusters are; among the few positions left to them,
dynamic programming finds the optimum.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklc.ops.cells import cell_bounds
from sklc.ops.lloyd import Clusterings
from sklc.ops.monge import Floats, Ints
from sklc.ops.paths import shortest_paths
from sklc.ops.stretch import Stretch

ROUNDING = 1e-13  # of the sum of squares: the noise of sums
_FIRST_CELLS = 4  # for each centre, in all
_CELLS = 6  # for each centre by itself, times the root of their number
_ROUNDS = 40
_STEPS = 4  # of Lloyd's algorithm from what a round finds
_SQUEEZES = 5  # steps of it from both ends of where the centres may be
_LAST_STEPS = 50
_FEW = 16  # positions for each cut that need no narrowing
_MANY = 16  # centres, of which too many may lie before a zero
_NEAR = 32  # positions from the best known cuts on, where all are too many


@dataclass(frozen=True)
class Branches:
    """Where the centres of rows may be, if so many of them lie before a pinned zero.

    Attributes
    ----------
    rows : ndarray of shape (b,)
        A row has a branch for every number of centres that can lie before the zero.
    place : ndarray of shape (b,)
        This number; 0 without a zero.
    low, high : ndarray of shape (b, n_free)
        What the centres are between, less the shift of the row.
    lower : ndarray of shape (b,)
        No such clustering has a squared error below.
    """

    rows: Ints
    place: Ints
    low: Floats
    high: Floats
    lower: Floats

    def part(self, some: NDArray[Any]) -> "Branches":
        """Return some of the branches."""
        fields = self.rows, self.place, self.low, self.high, self.lower
        return Branches(*(field[some] for field in fields))


class Search:
    """The search in rows, from the best clusterings that are known.

    Attributes
    ----------
    best : Clusterings
    noise : ndarray of shape (g,)
        Rounding of the sums of squares.
    """

    def __init__(self, best: Clusterings) -> None:
        points = best.points
        self.best, self.points = best, points
        self.noise = ROUNDING * points.total[2]
        if best.zero is not None:
            self.noise = self.noise + ROUNDING * points.size * points.shift**2

    def run(self, exact: int, goal: float) -> Floats:
        """Search until the optimum is proved, or what is left is too much.

        Parameters
        ----------
        exact : int
            Positions for the cuts of a row up to which it is solved in any case.
        goal : float
            Share of the squared error that bounds may be apart, where there are more.

        Returns
        -------
        ndarray of shape (g,)
            No clustering has a squared error below, up to the noise.
        """
        best, every = self.best, np.arange(len(self.noise))
        branches = self._narrowed(exact, goal)
        least = best.upper.copy()
        np.minimum.at(least, branches.rows, branches.lower)
        low, high = self._windows(branches)
        left = np.maximum(high - low + 1, 0).sum(axis=(0, 2))
        proved = np.isin(every, branches.rows) & (left <= exact)
        rows = every[proved]
        value = self._solve(rows, low[:, rows], high[:, rows])
        least[rows] = np.minimum(best.upper[rows], np.maximum(least[rows], value))
        if len(rows := every[~proved & np.isin(every, branches.rows)]):
            best.offer(rows, best.centers[rows], _LAST_STEPS)
            cuts = best.cuts[rows]
            near = np.maximum(low[:, rows], cuts - _NEAR)
            self._solve(rows, near, np.minimum(high[:, rows], cuts + _NEAR))
        return least

    # ---- where the centres may be ----

    def _narrowed(self, exact: int, goal: float) -> Branches:
        """Narrow where the centres of rows may be, as long as that is worth it."""
        points, n_free = self.points, self.best.n_free
        rows = np.arange(len(points.size))
        ends = points.values(np.stack([points.first, points.last - 1], axis=1))
        low, high = (np.repeat(x[:, None], n_free, axis=1) for x in ends.T)
        root = Branches(rows, np.full(len(rows), -1), low, high, np.zeros(len(rows)))
        few = _FEW * self.best.cuts.shape[1]
        if not n_free or points.size.max() <= few:
            return self._split(root)
        stretch = Stretch(points)
        count = max(32, _FIRST_CELLS * n_free)
        going = self._round(root, stretch, count)
        if self.best.zero is None or n_free <= _MANY:
            going = self._split(going)
        else:
            return self._split(going)
        count = max(8, round(_CELLS * n_free**0.5))
        done = []
        left, apart = self._left(going), self._apart(going)
        for _ in range(_ROUNDS):
            going = self._round(going, stretch, count)
            before = left, apart
            left, apart = self._left(going), self._apart(going)
            more = (left < 0.8 * before[0]) | (apart < 0.8 * before[1])
            more &= left > few
            more &= (left <= exact) | (apart > goal * self.best.upper[going.rows])
            more &= apart >= -self.noise[going.rows]
            done.append(going.part(~more))
            going, left, apart = going.part(more), left[more], apart[more]
            if not len(going.rows):
                break
        done.append(going)
        fields = ("rows", "place", "low", "high", "lower")
        found = Branches(
            *(np.concatenate([getattr(x, f) for x in done]) for f in fields)
        )
        found = found.part(np.argsort(found.rows, kind="stable"))
        return found.part(self._apart(found) >= -self.noise[found.rows])

    def _apart(self, branches: Branches) -> Floats:
        return self.best.upper[branches.rows] - branches.lower

    def _split(self, root: Branches) -> Branches:
        """Give rows a branch for every number of centres that may lie before zero."""
        if self.best.zero is None:
            return replace(root, place=np.zeros(len(root.rows), dtype=np.intp))
        zero = self.best.zero[root.rows, None]
        found = []
        for place in range(self.best.n_free + 1):
            left = np.arange(self.best.n_free) < place
            viable = np.where(left, root.low <= zero, root.high >= zero)
            some = np.flatnonzero(viable.all(axis=1))
            low, high = (
                np.where(left, np.minimum(x, zero), np.maximum(x, zero))
                for x in (root.low, root.high)
            )
            at = np.full(len(low), place)
            found.append(Branches(root.rows, at, low, high, root.lower).part(some))
        fields = ("rows", "place", "low", "high", "lower")
        return Branches(
            *(np.concatenate([getattr(x, f) for x in found]) for f in fields)
        )

    def _round(self, branches: Branches, stretch: Stretch, count: int) -> Branches:
        """Drop the cells at both ends that no good clustering has centres in."""
        best, rows = self.best, branches.rows
        first = bool((branches.place < 0).any())
        low, high = (stretch.places(rows, x) for x in (branches.low, branches.high))
        if first:
            low, high = low[:, :1], high[:, :1]
        unit = np.maximum((high - low).max(axis=1), np.finfo(float).eps) / count
        number = np.floor(low / unit[:, None])[..., None] + np.arange(count + 2)
        edges = stretch.values(rows, number * unit[:, None, None])
        zero = None
        if best.zero is not None:  # the edge next to zero moves there
            zero = best.zero[rows]
            pin = zero[:, None, None]
            next_to = np.rint(stretch.places(rows, zero[:, None]) / unit[:, None])
            edges = np.where(number == next_to[..., None], pin, edges)
            if not first:
                left = (np.arange(best.n_free) < branches.place[:, None])[..., None]
                edges = np.where(left, np.minimum(edges, pin), np.maximum(edges, pin))
        penalty = self._penalty(rows)
        bound = cell_bounds(self.points, rows, edges, best.n_free, zero, penalty)
        bound -= (penalty * (self.points.size - best.n_zeros)[rows])[:, None, None]
        edges = np.broadcast_to(edges, (*bound.shape[:2], edges.shape[2]))
        at = bound.argmin(axis=2)[..., None]
        middle = (edges[..., 1:] + edges[..., :-1]) / 2
        best.offer(rows, np.sort(np.take_along_axis(middle, at, 2)[..., 0]), _STEPS)
        kept = bound <= (best.upper + self.noise)[rows, None, None]
        kept |= ~kept.any(axis=2, keepdims=True)  # the branch is none, or by rounding
        begin = kept.argmax(axis=2)[..., None]
        end = kept.shape[2] - kept[..., ::-1].argmax(axis=2)[..., None]
        low, high = (np.take_along_axis(edges, x, 2)[..., 0] for x in (begin, end))
        low = np.maximum.accumulate(np.maximum(branches.low, low), axis=1)
        high = np.minimum(branches.high, high)[:, ::-1]
        high = np.minimum.accumulate(high, axis=1)[:, ::-1]
        if not best.bounded:
            place = None if first else branches.place
            low, high = (self._squeezed(rows, x, place) for x in (low, high))
        lower = np.maximum(branches.lower, bound.min(axis=(1, 2)))
        return Branches(rows, branches.place, low, np.maximum(low, high), lower)

    def _penalty(self, rows: Ints) -> Floats:
        """Return the price of leaving zero at which the best known zeros stay zeros.

        A price times the number of points that may leave is what a bound of that number
        saves at most.
        """
        best = self.best
        if not best.bounded:
            return np.zeros(len(rows))
        start, stop = (best.cuts[rows, best.place[rows] + step] for step in (0, 1))
        ends = start, np.maximum(stop - 1, start)
        gain = np.max([best.gain(rows, best.centers[rows], at) for at in ends], axis=0)
        return np.where(stop > start, np.maximum(gain, 0.0), 0.0)

    def _squeezed(self, rows: Ints, centers: Floats, place: Ints | None) -> Floats:
        """Move bounds of all optimal centres by Lloyd's algorithm.

        It leaves these where they are, and keeps order.
        """
        for _ in range(_SQUEEZES):
            at = place
            if at is None:
                cuts, at = self.best.assign(rows, centers)
            else:
                cuts = self.best.nearest(rows, centers)
            centers, _ = self.best.means(rows, cuts, at, centers)
        return centers

    # ---- where the cuts may be ----

    def _cuts(self, branches: Branches) -> tuple[Ints, Ints]:
        """Return what the cuts of branches are between, both of shape (b, k + 1)."""
        best, rows = self.best, branches.rows
        low, high = (best.nearest(rows, x) for x in (branches.low, branches.high))
        if best.bounded and best.n_free:
            # points nearer to another centre may have to be zeros, but the mean of a
            # cluster lies between its points
            begin = np.arange(len(rows)), branches.place
            stop = np.arange(len(rows)), branches.place + 1
            first, last = self.points.first[rows], self.points.last[rows]
            ends = np.append(branches.low[:, :1], branches.low, axis=1)[begin]
            least = self.points.find(ends, first, last)
            low[begin] = np.where(branches.place > 0, least, first)
            ends = np.append(branches.high, branches.high[:, -1:], axis=1)[begin]
            most = self.points.find(np.nextafter(ends, np.inf), first, last)
            high[stop] = np.where(branches.place < best.n_free, most, last)
        return low, high

    def _windows(self, branches: Branches) -> tuple[Ints, Ints]:
        """Return where the cuts of all rows may be, as for :func:`shortest_paths`."""
        cuts = self._cuts(branches)
        shape = 2, *self.best.cuts.shape
        low, high = np.full(shape, self.points.x.size), np.full(shape, -1)
        behind = np.arange(shape[2]) > branches.place[:, None]
        if self.best.zero is None:
            behind[:] = False
        for bit in 0, 1:
            for at in range(shape[2]):
                some = behind[:, at] == bit
                rows = branches.rows[some]
                np.minimum.at(low[bit, :, at], rows, cuts[0][some, at])
                np.maximum.at(high[bit, :, at], rows, cuts[1][some, at])
        return low, high

    def _left(self, branches: Branches) -> Ints:
        """Count the positions that are left for the cuts of the rows of branches."""
        low, high = self._cuts(branches)
        size = np.maximum(high - low + 1, 0).sum(axis=1)
        return np.bincount(branches.rows, size)[branches.rows].astype(np.intp)

    def _solve(self, rows: Ints, low: Ints, high: Ints) -> Floats:
        """Keep the best clusterings with cuts in windows; return their errors."""
        best = self.best
        if not len(rows):
            return np.zeros(0)
        zero = None if best.zero is None else best.zero[rows]
        value, cuts, place = shortest_paths(
            self.points, rows, low, high, zero, best.n_zeros[rows]
        )
        some = np.isfinite(value)
        rows = rows[some]
        best.keep(rows, cuts[some], place[some], best.centers[rows])
        return value
