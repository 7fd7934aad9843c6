"""The best clustering of rows whose cuts are in windows, by dynamic programming.

A clustering is a path through layers of cuts. One more bit tells whether the zeros, if
a value is pinned there, are among the clusters so far.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sklc.ops.monge import Floats, Ints, cheapest_sources
from sklc.ops.points import Points


@dataclass(frozen=True)
class Layer:
    """Where a path may be after some clusters, all rows end to end.

    Attributes
    ----------
    owner, position : ndarray of shape (m,)
        Increasing: the rows, and the positions of cuts.
    value : ndarray of shape (m,)
        Cost of the best path to there.
    since, source : ndarray of shape (m,)
        Where that comes from: the bit of the layer before, and the number in it.
    """

    owner: Ints
    position: Ints
    value: Floats
    since: Ints
    source: Ints

    @classmethod
    def of(cls, owner: Ints, position: Ints, value: float) -> "Layer":
        """Make a layer that paths come to from nowhere."""
        nowhere = np.zeros((2, len(owner)), dtype=np.intp)
        return cls(owner, position, np.full(len(owner), value), *nowhere)

    def part(self, some: NDArray[np.bool_]) -> "Layer":
        """Return some of the places."""
        return Layer(*(getattr(self, name.name)[some] for name in fields(self)))


def shortest_paths(
    points: Points,
    rows: Ints,
    low: Ints,
    high: Ints,
    zero: Floats | None,
    n_zeros: Ints,
) -> tuple[Floats, Ints, Ints]:
    """Return the least squared errors of rows, with the cuts and places of zeros.

    Parameters
    ----------
    points : Points
    rows : ndarray of shape (g,)
        In increasing order.
    low, high : ndarray of shape (2, g, k + 1)
        Positions that the cut after each number of clusters is between, before the
        zeros and behind them; there are none where `low` is greater.
    zero : ndarray of shape (g,), or None
        Where the pinned value is.
    n_zeros : ndarray of shape (g,)
        Number of points at least that are zeros.

    Returns
    -------
    value : ndarray of shape (g,)
        ``inf`` where there is no path.
    cuts : ndarray of shape (g, k + 1)
    place : ndarray of shape (g,)
    """
    g, k = len(rows), low.shape[2] - 1
    layers = [{0: Layer.of(np.arange(g), points.first[rows], 0.0)}]
    for c in range(1, k + 1):
        layers.append({})
        for bit in (0,) if zero is None else (0, 1):
            owner, position = _spans(low[bit, :, c], high[bit, :, c])
            layer = Layer.of(owner, position, np.inf)
            for since in range(bit + 1):
                if since in layers[c - 1]:
                    pin = zero if since < bit else None
                    _extend(points, layers[c - 1][since], layer, since, pin, n_zeros)
            reached = np.isfinite(layer.value)
            layers[c][bit] = layer.part(reached)
    bits = np.full(g, int(zero is not None))
    end = layers[k][int(zero is not None)]
    value = np.full(g, np.inf)
    value[end.owner] = end.value
    cuts, place, node = (
        np.zeros((g, k + 1), dtype=np.intp),
        np.zeros(g, dtype=np.intp),
        np.zeros(g, dtype=np.intp),
    )
    node[end.owner] = np.arange(len(end.owner))
    for c in range(k, 0, -1):
        for bit in 1, 0:
            here = np.flatnonzero((bits == bit) & np.isfinite(value))
            if len(here) and bit in layers[c]:
                layer, at = layers[c][bit], node[here]
                cuts[here, c] = layer.position[at]
                node[here] = layer.source[at]
                place[here[layer.since[at] < bit]] = c - 1
                bits[here] = np.where(layer.since[at] < bit, 2, bits[here])
        bits[bits == 2] = 0
    cuts[:, 0] = points.first[rows]
    return value, cuts, place


def _extend(
    points: Points,
    before: Layer,
    layer: Layer,
    since: int,
    zero: Floats | None,
    n_zeros: Ints,
) -> None:
    """Extend paths to a layer by one cluster, pinned if `zero` is given."""
    owner, target = layer.owner, layer.position
    needed = 0 if zero is None else n_zeros[owner]
    earliest = np.searchsorted(before.owner, owner)
    latest = np.searchsorted(before.position, target - needed, "right") - 1
    some = np.flatnonzero(latest >= earliest)
    if not len(some):
        return
    ends = [points.moments(at) for at in (before.position, target[some])]
    if zero is not None:
        for part, rows in zip(ends, (before.owner, owner[some]), strict=True):
            pin = zero[rows]  # a cluster costs what its points are away from there
            part[2] += pin * (pin * part[0] - 2 * part[1])
            part[1] = 0.0
    spans = earliest[some], latest[some]
    value, source = cheapest_sources(before.value, ends[0], ends[1], *spans)
    better = value < layer.value[some]
    at = some[better]
    layer.value[at], layer.since[at], layer.source[at] = (
        value[better],
        since,
        source[better],
    )


def _spans(low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Return all numbers from each `low` to its `high`, and the place of these ends."""
    size = np.maximum(high - low + 1, 0)
    owner = np.repeat(np.arange(len(low)), size)
    begin = np.cumsum(size) - size
    return owner, np.arange(len(owner)) + np.repeat(low - begin, size)
