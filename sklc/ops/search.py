"""Branch and bound over the dynamic program of one-dimensional clustering.

The clusters of an optimal clustering of sorted points are intervals, so a clustering is
a path through *layers* of cut positions, and the best path is found by dynamic
programming. Each layer is kept as a list of *ranges* of positions. A cluster between
two ranges costs at least what its surest points cost (those after the first range and
before the second), and the points inside a range what they cost at the nearest centres
that they can have, so the best path through ranges is a lower bound of the optimum;
Lloyd's algorithm, started from it, gives an upper bound. A range through which no path
can beat the upper bound, or from which Lloyd's algorithm leads away, is dropped; the
others are split, until every range is a single position: then the bounds meet and the
clustering is optimal, whatever the number of points. When ranges would exceed the
memory allowed, the search stops and reports how far the bounds are apart.

A value may be pinned at zero. Its cluster costs the sum of squares of its points, and
may be required to hold at least so many of them: the zeros of an optimal clustering are
an interval too, because the gain of leaving zero, ``max_j 2 c_j x - c_j^2``, is convex.
"""

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from sklc.ops.buckets import Buckets
from sklc.ops.monge import Floats, Ints, cheapest_sources
from sklc.ops.points import Ordered
from sklc.ops.ranges import SPLIT, Edge, Layer, edges

Links = NDArray[np.int32]

_FIRST_RANGES = 2048  # ranges per layer at the start
_RANGES = 1 << 14  # up to so many in all, ranges are split into more than usual
_LLOYD = 50  # iterations of Lloyd's algorithm from each start
_FEW_STEPS = 2  # the same, where each of them sorts the points of some buckets
_BRACKET = 200  # and from both ends of where the optimum is
ROUNDING = 1e-13  # of the sum of squares: the noise of the prefix sums


class Search:
    """The branch and bound: ranges, their bounds, and the best clustering so far."""

    def __init__(self, points: Ordered, k: int, zero: bool, n_zeros: int) -> None:
        self.points, self.k = points, k
        self.zero, self.n_zeros = zero, n_zeros
        self.edges: list[Edge] = edges(k, zero)
        self.last = 2 * k - 1 if zero else k
        self.n_layers = self.last + 1
        self.tolerance = ROUNDING * float(points.moments(np.array([points.n]))[2, 0])
        self.upper = np.inf
        self.centers: Floats = np.empty(0)  # without the pinned zero
        self.cuts: Ints = np.array([0, points.n])  # between all clusters
        self.pinned = 0 if zero else None  # the cluster of the zeros

    @property
    def zeros(self) -> tuple[int, int]:
        """Where the zeros of the best clustering begin and end."""
        at = self.pinned or 0
        return int(self.cuts[at]), int(self.cuts[at + 1])

    def first_layers(self, limit: int) -> list[Layer]:
        """Cover all positions by the same ranges in all layers but the outer."""
        count = max(64, min(max(_FIRST_RANGES, 16 * self.k), limit // self.last))
        layers = [Layer(self.points, *self.points.cover(count))] * (self.last + 1)
        for layer, position in (0, 0), (self.last, self.points.n):
            only = np.array([position])
            layers[layer] = Layer(self.points, only, only)
        return layers

    def offer(self, centers: Floats, steps: int = _LLOYD) -> None:
        """Improve centres by Lloyd's algorithm; keep them if they are the best yet."""
        previous: Ints | None = None
        for _ in range(steps):
            cuts, at = self.assign(centers)
            moments = np.diff(self.points.moments(cuts), axis=1)
            count = np.maximum(moments[0], 1)
            cost = moments[2] - moments[1] ** 2 / count
            mean = moments[1] / count
            filled = moments[0] > 0
            if self.zero:
                cost[at], filled[at] = moments[2, at], False
            total = float(np.maximum(cost, 0.0).sum())
            if total < self.upper:
                self.upper, self.centers, self.cuts = total, mean[filled], cuts
                self.pinned = at if self.zero else None
            if previous is not None and np.array_equal(previous, cuts):
                break
            previous, centers = cuts, mean[filled]

    def assign(self, centers: Floats) -> tuple[Ints, int]:
        """Cut the points between their nearest centres; also the place of the zeros."""
        at = int(np.searchsorted(centers, 0.0)) if self.zero else 0
        values = np.insert(centers, at, 0.0) if self.zero else centers
        inner = self.points.find((values[1:] + values[:-1]) / 2 + self.points.shift)
        cuts = np.concatenate([[0], inner, [self.points.n]])
        if self.zero and cuts[at + 1] - cuts[at] < self.n_zeros:
            start = self._cheapest_zeros(centers, int(cuts[at]), int(cuts[at + 1]))
            cuts[: at + 1] = np.minimum(cuts[: at + 1], start)
            cuts[at], cuts[at + 1] = start, start + self.n_zeros
            cuts[at + 1 :] = np.maximum(cuts[at + 1 :], start + self.n_zeros)
        return cuts, at

    def _cheapest_zeros(self, centers: Floats, start: int, stop: int) -> int:
        """Widen the zeros to ``n_zeros`` points, those that gain least by leaving."""

        def right_gains_more(first: int) -> bool:
            ends = self.points.values(np.array([first, first + self.n_zeros]))
            gain = (2 * centers * ends[:, None] - centers**2).max(axis=1)
            return bool(gain[1] >= gain[0])

        low = max(0, stop - self.n_zeros)
        high = min(start, self.points.n - self.n_zeros)
        if not len(centers):
            return low
        return low + bisect_left(range(low, high), True, key=right_gains_more)

    def inside(self, layers: list[Layer]) -> list[Floats]:
        """Bound the cost of the points inside each range, whichever cluster has them.

        The mean of a cluster grows with both of its ends, so the first and the last
        positions of two layers bound the centre between them, and the points inside a
        range are not nearer to their centre than to these bounds. Ranges of layers that
        overlap count nothing: they may share points.
        """
        left = np.full(self.n_layers, -np.inf)  # bounds of the centres before a layer
        right = np.full(self.n_layers, np.inf)  # and after it
        for edge in self.edges:
            source, target = layers[edge.source], layers[edge.target]
            if not len(source.low) or not len(target.low):
                continue
            low, high = -np.inf, np.inf
            if source.high[-1] < target.low[0]:
                first = target.at_low[:, 0] - source.at_low[:, 0]
                last = target.at_high[:, -1] - source.at_high[:, -1]
                low, high = first[1] / first[0], last[1] / last[0]
                if edge.pinned:
                    low = high = 0.0
            left[edge.target] = max(left[edge.target], high)
            right[edge.source] = min(right[edge.source], low)
        costs = [np.zeros(len(layer.low)) for layer in layers]
        value = self.points.values
        for cost, layer, low, high in zip(costs, layers, left, right, strict=True):
            if -np.inf < low < high < np.inf:
                away = np.minimum(value(layer.low) - low, high - value(layer.high - 1))
                cost += (layer.high - layer.low) * np.maximum(away, 0.0) ** 2
        return costs

    def bracket(self, cuts: Ints) -> Ints:
        """Narrow where the cuts of the optimum are: from and to, for every layer.

        Lloyd's algorithm leaves optimal cuts where they are, and keeps order: from cuts
        none of which lies right of an optimal one it leads to such cuts again. So both
        ends walk towards each other.

        Parameters
        ----------
        cuts : ndarray of shape (2, n_layers)
        """
        noise = ROUNDING * np.abs(self.points.sums[0]).max() * np.array([[-1], [1]])
        for _ in range(_BRACKET):
            moments = self.points.moments(cuts)
            count, total = moments[:2, :, 1:] - moments[:2, :, :-1]
            # what a cluster without points gets lies behind (before) the next point
            mean = self.points.values(np.array([cuts[0, :-1], cuts[1, 1:] - 1]))
            np.divide(total + noise, count, out=mean, where=count > 0)
            middle = (mean[:, 1:] + mean[:, :-1]) / 2 + self.points.shift
            inner = self.points.find(middle)
            moved = cuts.copy()
            np.maximum(cuts[0, 1:-1], inner[0], out=moved[0, 1:-1])
            np.minimum(cuts[1, 1:-1], inner[1], out=moved[1, 1:-1])
            if np.array_equal(moved, cuts):
                break
            cuts = moved
        return cuts

    def costs(
        self, layers: list[Layer], forward: bool = True
    ) -> tuple[list[Floats], list[Links], list[Links]]:
        """Bound the cost from the start to every range (or from there to the end).

        The points inside a range count to the cost from the start. Going backward is
        going forward over the mirror image: positions and sums are negated, and their
        order reversed. Returns the bounds, and for each range the edge and the range
        that it is reached from.
        """
        sizes = [len(layer.low) for layer in layers]
        value: list[Floats] = [np.full(size, np.inf) for size in sizes]
        via: list[Links] = [np.full(size, -1, dtype=np.int32) for size in sizes]
        origin: list[Links] = [np.zeros(size, dtype=np.int32) for size in sizes]
        value[0 if forward else self.last][:] = 0.0
        inside = self.inside(layers)
        numbered = list(enumerate(self.edges))
        for number, edge in numbered if forward else reversed(numbered):
            a, b = (edge.source, edge.target)[:: 1 if forward else -1]
            if not sizes[a] or not sizes[b]:
                continue
            if forward:
                ends = layers[a].at_high, layers[b].at_low
                reach = layers[a].low, layers[b].high
                before = value[a]
            else:
                ends = -layers[a].at_low[:, ::-1], -layers[b].at_high[:, ::-1]
                reach = -layers[a].high[::-1], -layers[b].low[::-1]
                before = (value[a] + inside[a])[::-1]
            if edge.pinned:
                best, source = self._cheapest_pinned(before, *ends, *reach)
            else:
                best, source = cheapest_sources(before, *ends)
            if forward:
                best = best + inside[b]
            else:
                best, source = best[::-1], sizes[a] - 1 - source[::-1]
            better = best < value[b]
            value[b][better], via[b][better] = best[better], number
            origin[b][better] = source[better]
        return value, via, origin

    def _cheapest_pinned(
        self,
        before: Floats,
        source: Floats,
        target: Floats,
        earliest: Ints,
        latest: Ints,
    ) -> tuple[Floats, Ints]:
        """Bound the cost of zeros between ranges that are far enough apart."""
        cost = before - source[2]
        lowest = np.minimum.accumulate(cost)
        leader = np.maximum.accumulate(
            np.where(cost <= lowest, np.arange(len(cost)), 0)
        )
        last = np.searchsorted(earliest, latest - self.n_zeros, side="right") - 1
        best = np.where(last >= 0, lowest[last] + target[2], np.inf)
        return best, leader[last]

    def path_centers(
        self, layers: list[Layer], via: list[Links], origin: list[Links]
    ) -> Floats:
        """Return the free centres along the best path through the ranges."""
        layer, node = self.last, 0
        cuts, pinned = [self.points.n], []
        while layer:
            edge = self.edges[via[layer][node]]
            node, layer = int(origin[layer][node]), edge.source
            cuts.append(int(layers[layer].low[node]))
            pinned.append(edge.pinned)
        bounds = np.maximum.accumulate(np.array(cuts[::-1]))
        moments = np.diff(self.points.moments(bounds), axis=1)
        use = (moments[0] > 0) & ~np.array(pinned[::-1])
        return np.unique(moments[1, use] / moments[0, use])

    def refined(
        self, layers: list[Layer], keep: list[NDArray[np.bool_]], limit: int
    ) -> list[Layer]:
        """Drop the ranges that are not kept or need not be, and split the others."""
        if not self.zero and all(kept.any() for kept in keep):
            pairs = list(zip(layers, keep, strict=True))
            ends = [(each.low[kept][0], each.high[kept][-1]) for each, kept in pairs]
            for (layer, kept), *cut in zip(
                pairs, *self.bracket(np.array(ends).T), strict=True
            ):
                kept &= (layer.high >= cut[0]) & (layer.low <= cut[1])
        count = sum(int(np.count_nonzero(kept)) for kept in keep)
        split = max(SPLIT, min(_RANGES, limit) // max(count, 1))
        return [
            layer.refined(kept, split) for layer, kept in zip(layers, keep, strict=True)
        ]

    def run(self, limit: int) -> float:
        """Search until the optimum is proved, or `limit` is reached.

        Returns the lower bound.
        """
        layers = self.first_layers(limit)
        while True:
            before, via, origin = self.costs(layers)
            lower = float(before[self.last][0])
            self.offer(self.path_centers(layers, via, origin))
            single = all(layer.single for layer in layers)
            if single or self.upper - lower <= self.tolerance:
                break
            after, _, _ = self.costs(layers, forward=False)
            bar = self.upper + self.tolerance
            keep = [a + b <= bar for a, b in zip(before, after, strict=True)]
            layers = self.refined(layers, keep, limit)
            if sum(len(layer.low) for layer in layers) > limit:
                self.offer(self.best_of_grid(layers))
                break
        return min(max(lower, 0.0), self.upper)

    def run_near(self, centers: Floats, limit: int) -> None:
        """Take the better of two starts of Lloyd's algorithm: centres, and a grid's."""
        steps = _FEW_STEPS if isinstance(self.points, Buckets) else _LLOYD
        self.offer(centers, steps)
        self.offer(self.best_of_grid(self.first_layers(limit)), steps)

    def best_of_grid(self, layers: list[Layer]) -> Floats:
        """Return the best centres whose cuts are where ranges begin."""
        layers = [layer.collapsed() for layer in layers]
        _, via, origin = self.costs(layers)
        return self.path_centers(layers, via, origin)
