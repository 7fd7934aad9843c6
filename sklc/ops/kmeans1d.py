r"""Optimal k-means of numbers, by branch and bound over its dynamic program.

The clusters of an optimal clustering of sorted points are intervals, so a clustering is
a path through *layers* of cut positions, and the best path is found by dynamic
programming. Each layer is kept as a list of *ranges* of positions. A cluster between two
ranges costs at least what its surest points cost (those after the first range and before
the second), so the best path through ranges is a lower bound of the optimum; Lloyd's
algorithm, started from it, gives an upper bound. A range through which no path can beat
the upper bound is dropped, the others are split, until every range is a single position:
then the bounds meet and the clustering is optimal, whatever the number of points. When
ranges would exceed the memory allowed, the search stops and reports how far the bounds
are apart.

A value may be pinned at zero. Its cluster costs the sum of squares of its points, and
may be required to hold at least so many of them: the zeros of an optimal clustering are
an interval too, because the gain of leaving zero, ``max_j 2 c_j x - c_j^2``, is convex.
"""

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklc.ops.monge import Floats, Ints, cheapest_sources
from sklc.ops.sorting import sort

#: Cut positions that the search may hold: ``n * k`` up to this is always exact.
EXACT_LIMIT = 6_000_000
_FIRST_RANGES = 2048  # ranges per layer at the start
_SPLIT = 4  # a range that may hold an optimal cut becomes so many
_LLOYD = 50  # iterations of Lloyd's algorithm from each start
_ROUNDING = 1e-13  # of the sum of squares: the noise of the prefix sums
_CHUNK = 1 << 15  # positions looked up at a time


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
        Zero, up to rounding, when the search ended.
    zeros : tuple (low, high, skip_low, skip_high) or None
        When the number of non-zeros is bounded: the points from `low` to `high` are
        zeros, except so many of those that equal `low` and of those that equal `high`.
    """

    centers: Tensor
    distortion: float
    excess: float
    zeros: tuple[float, float, int, int] | None = None


class _Points:
    """Sorted points whose number, sum and sum of squares before any position are known.

    The sums are kept for every ``block``-th position; the rest is added when asked for.
    """

    def __init__(self, x: Tensor, block: int, centred: bool) -> None:
        if x.device.type == "mps":  # no float64 there
            x = x.cpu()
        self.n = x.numel()
        self.block = block
        self.x = sort(x.reshape(-1))
        self.shift = float(self.x.sum(dtype=torch.float64) / self.n) if centred else 0.0
        n_blocks = -(-self.n // block)
        sums = self.x.new_zeros((2, n_blocks + 1), dtype=torch.float64)
        step = max(1, _CHUNK * 8 // block)
        for first in range(0, n_blocks, step):
            part = self._shifted(self.x[first * block : (first + step) * block])
            if pad := -len(part) % block:
                part = torch.cat([part, part.new_zeros(pad)])
            part = part.view(-1, block)
            sums[0, first + 1 : first + 1 + len(part)] = part.sum(1)
            sums[1, first + 1 : first + 1 + len(part)] = part.square_().sum(1)
        self.sums = sums.cumsum_(1)

    def _shifted(self, x: Tensor) -> Tensor:
        return x.double().sub_(self.shift)

    def value(self, position: int) -> float:
        return float(self.x[position])

    def between(self, start: int, stop: int) -> tuple[float, float, int, int]:
        """Describe the positions ``start .. stop - 1`` by the values they hold."""
        ends = self.x[[start, stop - 1]]
        low = int(torch.searchsorted(self.x, ends[0]))
        high = int(torch.searchsorted(self.x, ends[1], right=True))
        return float(ends[0]), float(ends[1]), start - low, high - stop

    def find(self, thresholds: Floats) -> Ints:
        """Return the number of points below each of the increasing thresholds."""
        at = torch.from_numpy(thresholds).to(self.x.device)
        low, high = torch.finfo(self.x.dtype).min, torch.finfo(self.x.dtype).max
        rounded = at.clamp(low, high).to(self.x.dtype)
        # a threshold rounded down would leave points that equal it on the wrong side
        up = torch.nextafter(rounded, rounded.new_tensor(torch.inf))
        rounded = torch.where(rounded.double() < at, up, rounded)
        return torch.searchsorted(self.x, rounded).cpu().numpy()

    def moments(self, position: Ints) -> Floats:
        """Return number, sum and sum of squares of the points before each position."""
        out = np.empty((3, len(position)))
        out[0] = position
        for first in range(0, len(position), _CHUNK):
            at = torch.from_numpy(position[first : first + _CHUNK]).to(self.x.device)
            whole = at // self.block
            total = self.sums[:, whole]
            if self.block > 1:
                offset = torch.arange(self.block - 1, device=at.device)
                index = whole.unsqueeze(1) * self.block + offset
                rest = self._shifted(self.x[index.clamp_(max=self.n - 1)])
                rest.masked_fill_(offset >= (at % self.block).unsqueeze(1), 0.0)
                total[0] += rest.sum(1)
                total[1] += rest.square_().sum(1)
            out[1:, first : first + _CHUNK] = total.cpu().numpy()
        return out


@dataclass(frozen=True)
class _Edge:
    """A cluster between two layers of cuts: free, or pinned at zero."""

    source: int
    target: int
    pinned: bool


def _edges(k: int, zero: bool) -> list[_Edge]:
    """Return the clusters a path may use, in topological order; layer 0 is the start.

    Without a pinned zero layer ``j`` follows the ``j``-th of ``k`` clusters. With it,
    layer ``2j`` follows ``j`` of the ``k - 1`` free clusters and layer ``2j + 1`` the
    zeros besides.
    """
    if not zero:
        return [_Edge(j, j + 1, False) for j in range(k)]
    edges = []
    for j in range(k):
        edges.append(_Edge(2 * j, 2 * j + 1, True))
        if j < k - 1:
            edges.append(_Edge(2 * j, 2 * j + 2, False))
            edges.append(_Edge(2 * j + 1, 2 * j + 3, False))
    return edges


@dataclass(frozen=True, eq=False)
class _Layer:
    """Ranges ``low .. high`` (inclusive) of positions where a cut may be."""

    points: _Points
    low: Ints
    high: Ints

    @cached_property
    def at_low(self) -> Floats:
        return self.points.moments(self.low)

    @cached_property
    def at_high(self) -> Floats:
        return self.at_low if self.single else self.points.moments(self.high)

    @cached_property
    def single(self) -> bool:
        return np.array_equal(self.low, self.high)

    def refined(self, keep: NDArray[np.bool_]) -> "_Layer":
        """Drop the ranges not kept and split the others."""
        low = self.low[keep]
        width = self.high[keep] - low + 1
        pieces = np.minimum(width, _SPLIT)
        owner = np.repeat(np.arange(len(low)), pieces)
        piece = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        low, width, pieces = low[owner], width[owner], pieces[owner]
        return _Layer(
            self.points,
            low + width * piece // pieces,
            low + width * (piece + 1) // pieces - 1,
        )

    def collapsed(self) -> "_Layer":
        """Return the grid of the positions where the ranges begin."""
        return _Layer(self.points, self.low, self.low)


class _Search:
    """The branch and bound: ranges, their bounds, and the best clustering so far."""

    def __init__(self, points: _Points, k: int, zero: bool, n_zeros: int) -> None:
        self.points, self.k = points, k
        self.zero, self.n_zeros = zero, n_zeros
        self.edges = _edges(k, zero)
        self.last = 2 * k - 1 if zero else k
        self.n_layers = self.last + 1
        self.tolerance = _ROUNDING * float(points.moments(np.array([points.n]))[2, 0])
        self.upper = np.inf
        self.centers: Floats = np.empty(0)
        self.zeros: tuple[int, int] = (0, 0)  # where they begin and end

    def first_layers(self, limit: int) -> list[_Layer]:
        """Cover all positions: half of the ranges of equal size, half of equal width."""
        n = self.points.n
        count = max(_FIRST_RANGES, 16 * self.k)
        count = min(n + 1, max(64, min(count, limit // self.last)))
        if count == n + 1:
            low = np.arange(n + 1)
        else:
            ends = self.points.value(0), self.points.value(n - 1)
            even = np.linspace(0, n, count // 2, endpoint=False).astype(np.intp)
            wide = self.points.find(np.linspace(*ends, count // 2))
            low = np.unique(np.concatenate([[0], even, wide, [n]]))
        layers = [_Layer(self.points, low, np.append(low[1:] - 1, n))] * (self.last + 1)
        for layer, position in (0, 0), (self.last, n):
            only = np.array([position])
            layers[layer] = _Layer(self.points, only, only)
        return layers

    def offer(self, centers: Floats) -> None:
        """Improve centres by Lloyd's algorithm and keep them if they are the best yet."""
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
        value = self.points.value

        def right_gains_more(first: int) -> bool:
            ends = np.array([value(first), value(first + self.n_zeros)])
            gain = (2 * centers * ends[:, None] - centers**2).max(axis=1)
            return bool(gain[1] >= gain[0])

        low = max(0, stop - self.n_zeros)
        high = min(start, self.points.n - self.n_zeros)
        if not len(centers):
            return low
        return low + bisect_left(range(low, high), True, key=right_gains_more)

    def costs(
        self, layers: list[_Layer], forward: bool = True
    ) -> tuple[list[Floats], list[Ints], list[Ints]]:
        """Bound the cost from the start to every range (or from there to the end).

        Going backward is going forward over the mirror image: positions and sums are
        negated, and their order reversed. Returns the bounds, and for each range the
        edge and the range that it is reached from.
        """
        sizes = [len(layer.low) for layer in layers]
        value = [np.full(size, np.inf) for size in sizes]
        via = [np.full(size, -1, dtype=np.int32) for size in sizes]
        origin = [np.zeros(size, dtype=np.int32) for size in sizes]
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
        self, layers: list[_Layer], via: list[Ints], origin: list[Ints]
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
        Free centres to start from: the result is never worse.
    limit : int, default=None
        Cut positions that the search may hold. By default :data:`EXACT_LIMIT` where
        ``n * k`` (twice that with a pinned zero) is within it, so that the result is
        exact; otherwise ``n / 8`` but at
        least 2^19, which bounds the memory and most often suffices.

    Returns
    -------
    Clustering
        Globally optimal when its ``excess`` is zero up to rounding (1e-13 of the sum
        of squares).

    Notes
    -----
    Time ``O(n log n)`` for the sort, and next to nothing beyond it where the search
    closes fast, as it does on weights of nets; ``O(n k log n)`` at worst below the
    limit. Memory: the sorted copy, a quarter of it for sums, and 100 bytes per cut
    position held.
    """
    n = x.numel()
    positions = (n + 1) * (2 * k if zero else k)
    exact = positions <= EXACT_LIMIT
    if limit is None:
        limit = EXACT_LIMIT if exact else max(n // 8, 1 << 19)
    points = _Points(x.detach(), block=1 if exact else 16, centred=not zero)
    n_zeros = 0 if max_nonzero is None else max(0, n - max_nonzero)
    if (known := _already_clustered(points.x, k, zero, n_zeros)) is not None:
        return known
    search = _Search(points, k, zero, n_zeros)
    search.offer(_spread(points, k, zero))
    if start is not None and start.numel():
        search.offer(np.sort(start.double().cpu().numpy()) - points.shift)
    lower = search.run(limit)
    return Clustering(
        centers=torch.from_numpy(search.centers + points.shift),
        distortion=search.upper,
        excess=search.upper - lower,
        zeros=points.between(*search.zeros) if n_zeros else None,
    )


def _already_clustered(
    x: Tensor, k: int, zero: bool, n_zeros: int
) -> Clustering | None:
    """Return the values of sorted points, if there are no more of them than centres."""
    if int((x[1:] != x[:-1]).sum()) >= k + 1:
        return None
    values = x.unique_consecutive().double().cpu()
    if zero:
        values = values[values != 0]
    if len(values) > k - zero or int((x == 0).sum()) < n_zeros:
        return None
    return Clustering(values, 0.0, 0.0, (0.0, 0.0, 0, 0) if n_zeros else None)


def _spread(points: _Points, k: int, zero: bool) -> Floats:
    """Spread centres with the density that suits many of them: its cube root."""
    at = np.unique(np.linspace(0, points.n - 1, 4096).astype(np.intp))
    x = points.x[torch.from_numpy(at).to(points.x.device)].double().cpu().numpy()
    x -= points.shift
    mass = np.cumsum(np.cbrt(np.diff(x) ** 2 * np.diff(at)))
    if not len(mass) or not mass[-1]:
        return np.zeros(0) if zero else x[:1]
    quantiles = (np.arange(k) + 0.5) / k
    centers = np.interp(quantiles, np.append(0.0, mass) / mass[-1], x)
    return np.delete(centers, np.abs(centers).argmin()) if zero else centers
