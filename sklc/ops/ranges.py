"""Where the cuts between clusters may be: layers of ranges, and edges between them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sklc.ops.monge import Floats, Ints
from sklc.ops.points import Ordered

SPLIT = 4  # a range that may hold an optimal cut becomes so many, if not more


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

    points: Ordered
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

    def refined(self, keep: NDArray[np.bool_], split: int = SPLIT) -> "Layer":
        """Drop the ranges not kept and split the others."""
        low = self.low[keep]
        width = self.high[keep] - low + 1
        pieces = np.minimum(width, split)
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
