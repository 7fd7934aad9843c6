"""Branch and bound over the dynamic program of one-dimensional clustering.

The clusters of an optimal clustering of sorted points are intervals, so a clustering is
a path through *layers* of cut positions, and the best path is found by dynamic
programming. Each layer is kept as a list of *ranges* of positions. A cluster between
two ranges costs at least what its surest points cost (those after the first range and
before the second), so the best path through ranges is a lower bound of the optimum;
Lloyd's algorithm, started from it, gives an upper bound. A range through which no path
can beat the upper bound is dropped, the others are split, until every range is a single
position: then the bounds meet and the clustering is optimal, whatever the number of
points. When ranges would exceed the memory allowed, the search stops and reports how
far the bounds are apart.

A value may be pinned at zero. Its cluster costs the sum of squares of its points, and
may be required to hold at least so many of them: the zeros of an optimal clustering are
an interval too, because the gain of leaving zero, ``max_j 2 c_j x - c_j^2``, is convex.
"""

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sklc.ops.monge import Floats, Ints, cheapest_sources
from sklc.ops.points import Points

Links = NDArray[np.int32]

_FIRST_RANGES = 2048  # ranges per layer at the start
_SPLIT = 4  # a range that may hold an optimal cut becomes so many
_LLOYD = 50  # iterations of Lloyd's algorithm from each start
_ROUNDING = 1e-13  # of the sum of squares: the noise of the prefix sums


@dataclass(frozen=True)
class Edge:
    """A cluster between two layers of cuts: free, or pinned at zero."""

    source: int
    target: int
    pinned: bool


def edges(k: int, zero: bool) -> list[Edge]:
    """Return the clusters a path may use, in topological order; layer 0 is the start.

    Without a pinned zero layer ``j`` follows the ``j``-th of ``k`` clusters. With it,
    layer ``2j`` follows ``j`` of the ``k - 1`` free clusters and layer ``2j + 1`` the
    zeros besides.
    """
    if not zero:
        return [Edge(j, j + 1, False) for j in range(k)]
    found = []
    for j in range(k):
        found.append(Edge(2 * j, 2 * j + 1, True))
        if j < k - 1:
            found.append(Edge(2 * j, 2 * j + 2, False))
            found.append(Edge(2 * j + 1, 2 * j + 3, False))
    return found


@dataclass(frozen=True, eq=False)
class Layer:
    """Ranges ``low .. high`` (inclusive) of positions where a cut may be."""

    points: Points
    low: Ints
    high: Ints

    @cached_property
    def at_low(self) -> Floats:
        """Moments of the points before where the ranges begin."""
        return self.points.moments(self.low)

    @cached_property
    def at_high(self) -> Floats:
        """Moments of the points before where the ranges end."""
        return self.at_low if self.single else self.points.moments(self.high)

    @cached_property
    def single(self) -> bool:
        """Whether every range is a single position."""
        return np.array_equal(self.low, self.high)

    def refined(self, keep: NDArray[np.bool_]) -> "Layer":
        """Drop the ranges not kept and split the others."""
        low = self.low[keep]
        width = self.high[keep] - low + 1
        pieces = np.minimum(width, _SPLIT)
        owner = np.repeat(np.arange(len(low)), pieces)
        piece = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        low, width, pieces = low[owner], width[owner], pieces[owner]
        return Layer(
            self.points,
            low + width * piece // pieces,
            low + width * (piece + 1) // pieces - 1,
        )

    def collapsed(self) -> "Layer":
        """Return the grid of the positions where the ranges begin."""
        return Layer(self.points, self.low, self.low)


class Search:
    """The branch and bound: ranges, their bounds, and the best clustering so far."""

    def __init__(self, points: Points, k: int, zero: bool, n_zeros: int) -> None:
        self.points, self.k = points, k
        self.zero, self.n_zeros = zero, n_zeros
        self.edges = edges(k, zero)
        self.last = 2 * k - 1 if zero else k
        self.n_layers = self.last + 1
        self.tolerance = _ROUNDING * float(points.moments(np.array([points.n]))[2, 0])
        self.upper = np.inf
        self.centers: Floats = np.empty(0)
        self.zeros: tuple[int, int] = (0, 0)  # where they begin and end

    def first_layers(self, limit: int) -> list[Layer]:
        """Cover all positions: half the ranges of equal size, half of equal width."""
        n = self.points.n
        count = max(_FIRST_RANGES, 16 * self.k)
        count = min(n + 1, max(64, min(count, limit // self.last)))
        if count == n + 1:
            low = np.arange(n + 1)
        else:
            ends = self.points.x[0], self.points.x[-1]
            even = np.linspace(0, n, count // 2, endpoint=False).astype(np.intp)
            wide = self.points.find(np.linspace(*ends, count // 2, dtype=np.float64))
            low = np.unique(np.concatenate([[0], even, wide, [n]]))
        layers = [Layer(self.points, low, np.append(low[1:] - 1, n))] * (self.last + 1)
        for layer, position in (0, 0), (self.last, n):
            only = np.array([position])
            layers[layer] = Layer(self.points, only, only)
        return layers

    def offer(self, centers: Floats) -> None:
        """Improve centres by Lloyd's algorithm; keep them if they are the best yet."""
        previous: Ints | None = None
        for _ in range(_LLOYD):
            cuts, at = self._assign(centers)
            moments = np.diff(self.points.moments(cuts), axis=1)
            count = np.maximum(moments[0], 1)
            cost = moments[2] - moments[1] ** 2 / count
            mean = moments[1] / count
            filled = moments[0] > 0
            if self.zero:
                cost[at], filled[at] = moments[2, at], False
            total = float(np.maximum(cost, 0.0).sum())
            if total < self.upper:
                self.upper, self.centers = total, mean[filled]
                self.zeros = (int(cuts[at]), int(cuts[at + 1]))
            if previous is not None and np.array_equal(previous, cuts):
                break
            previous, centers = cuts, mean[filled]

    def _assign(self, centers: Floats) -> tuple[Ints, int]:
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

    def costs(
        self, layers: list[Layer], forward: bool = True
    ) -> tuple[list[Floats], list[Links], list[Links]]:
        """Bound the cost from the start to every range (or from there to the end).

        Going backward is going forward over the mirror image: positions and sums are
        negated, and their order reversed. Returns the bounds, and for each range the
        edge and the range that it is reached from.
        """
        sizes = [len(layer.low) for layer in layers]
        value: list[Floats] = [np.full(size, np.inf) for size in sizes]
        via: list[Links] = [np.full(size, -1, dtype=np.int32) for size in sizes]
        origin: list[Links] = [np.zeros(size, dtype=np.int32) for size in sizes]
        value[0 if forward else self.last][:] = 0.0
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
                before = value[a][::-1]
            if edge.pinned:
                best, source = self._cheapest_pinned(before, *ends, *reach)
            else:
                best, source = cheapest_sources(before, *ends)
            if not forward:
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

    def run(self, limit: int) -> float:
        """Search until the optimum is proved or `limit` is reached; the lower bound."""
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
            layers = [
                layer.refined(a + b <= bar)
                for layer, a, b in zip(layers, before, after, strict=True)
            ]
            if sum(len(layer.low) for layer in layers) > limit:
                layers = [layer.collapsed() for layer in layers]
                _, via, origin = self.costs(layers)
                self.offer(self.path_centers(layers, via, origin))
                break
        return min(max(lower, 0.0), self.upper)
