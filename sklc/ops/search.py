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
from sklc.ops.monge import Floats, Ints, cheapest_sources
from sklc.ops.stretch import Stretch

ROUNDING = 1e-13  # of the sum of squares: the noise of sums
_FIRST_CELLS = 4  # for each centre, in all
_CELLS = 6  # for each centre by itself, times the root of their number
_ROUNDS = 40
_STEPS = 4  # of Lloyd's algorithm from what a round finds
_SQUEEZES = 5  # steps of it from both ends of where the centres may be
_LAST_STEPS = 50
_FEW = 16  # positions for each cut that need no narrowing
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
        best = self.best
        branches = self._narrowed(exact, goal)
        left = self._left(branches)
        solvable = left <= exact
        lower = branches.lower.copy()
        for place in np.unique(branches.place):
            here = branches.place == place
            if (some := np.flatnonzero(solvable & here)).size:
                lower[some] = self._solve(
                    branches.part(some), *self._windows(branches.part(some))
                )
            near = here & ~solvable & (best.place[branches.rows] == place)
            if near.any():
                part = branches.part(near)
                best.offer(part.rows, best.centers[part.rows], _LAST_STEPS)
                cuts, (low, high) = best.cuts[part.rows], self._windows(part)
                low, high = (
                    np.maximum(low, cuts - _NEAR),
                    np.minimum(high, cuts + _NEAR),
                )
                self._solve(part, low, np.maximum(low, high))
        least = best.upper.copy()
        np.minimum.at(least, branches.rows, lower)
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
        going = self._split(self._round(root, stretch, count))
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
            some = np.where(left, root.low <= zero, root.high >= zero).all(axis=1)
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

    def _windows(self, branches: Branches) -> tuple[Ints, Ints]:
        """Return where the cuts may be: low and high, both of shape (b, k + 1)."""
        best, rows, at = self.best, branches.rows, np.arange(len(branches.rows))
        low, high = (best.nearest(rows, x) for x in (branches.low, branches.high))
        if best.bounded and best.n_free:
            # points nearer to another centre may have to be zeros, but the mean of a
            # cluster lies between its points
            begin, stop = (at, branches.place), (at, branches.place + 1)
            first, last = self.points.first[rows], self.points.last[rows]
            ends = np.concatenate([branches.low[:, :1], branches.low], axis=1)
            least = self.points.find(ends[begin], first, last)
            least = np.where(branches.place > 0, least, first)
            low[begin] = np.minimum(least, last - best.n_zeros[rows])
            low = np.minimum.accumulate(low[:, ::-1], axis=1)[:, ::-1]
            ends = np.concatenate([branches.high, branches.high[:, -1:]], axis=1)
            most = self.points.find(np.nextafter(ends[begin], np.inf), first, last)
            high[stop] = np.where(branches.place < best.n_free, most, last)
            low[stop] = np.maximum(low[stop], low[begin] + best.n_zeros[rows])
            high[stop] = np.maximum(high[stop], low[stop])
            high[begin] = np.minimum(high[begin], high[stop] - best.n_zeros[rows])
            low = np.maximum.accumulate(low, axis=1)
        return low, np.maximum(low, high)

    def _left(self, branches: Branches) -> Ints:
        """Count the positions that are left for the cuts of the rows of branches."""
        low, high = self._windows(branches)
        total = np.bincount(branches.rows, (high - low + 1).sum(axis=1))
        return total[branches.rows].astype(np.intp)

    def _solve(self, branches: Branches, low: Ints, high: Ints) -> Floats:
        """Keep the best clusterings with cuts in windows; return their errors."""
        rows, place = branches.rows, branches.place
        value, cuts = self._shortest(rows, int(place[0]), low, high)
        self.best.keep(rows, cuts, place, self.best.centers[rows])
        return value

    def _shortest(
        self, rows: Ints, place: int, low: Ints, high: Ints
    ) -> tuple[Floats, Ints]:
        """Return the least squared errors with cuts in windows, and these cuts."""
        g, k = low.shape[0], low.shape[1] - 1
        owner, position = _spans(low[:, 0], high[:, 0])
        value = np.zeros(g)
        layers, sources = [position], []
        for j in range(k):
            target_owner, target = _spans(low[:, j + 1], high[:, j + 1])
            ends = [self.points.moments(at) for at in (position, target)]
            needed = np.zeros(g, dtype=np.intp)
            if self.best.zero is not None and j == place:
                needed = self.best.n_zeros[rows]
                for part, at in zip(ends, (owner, target_owner), strict=True):
                    zero = self.best.zero[rows][at]  # the squares of what is pinned
                    part[2] += zero * (zero * part[0] - 2 * part[1])
                    part[1] = 0.0
            earliest = np.searchsorted(owner, target_owner)
            latest = np.searchsorted(position, target - needed[target_owner], "right")
            value, source = cheapest_sources(value, *ends, earliest, latest - 1)
            owner, position = target_owner, target
            layers.append(position)
            sources.append(source)
        node = np.arange(g)
        cuts = np.empty((g, k + 1), dtype=np.intp)
        cuts[:, k] = layers[k]
        for j in reversed(range(k)):
            node = sources[j][node]
            cuts[:, j] = layers[j][node]
        return value, cuts


def _spans(low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Return all numbers from each `low` to its `high`, and the place of these ends."""
    size = high - low + 1
    owner = np.repeat(np.arange(len(low)), size)
    return owner, np.arange(len(owner)) + np.repeat(
        low - (np.cumsum(size) - size), size
    )
