"""Sorted numbers, and the moments of all that lie before a position."""

from typing import Protocol

import numpy as np
from torch import Tensor

from sklc.ops.monge import Floats, Ints
from sklc.ops.sorting import sort

_BLOCK = 4  # prefix sums are kept for every so many positions
_CHUNK = 1 << 14  # blocks summed at a time


class Ordered(Protocol):
    """Points in increasing order, as the search sees them; positions are 0, ..., n.

    Attributes
    ----------
    n : int
    shift : float
        What is subtracted from the points, so that their moments are exact.
    sums : ndarray of shape (2, m)
        Some prefix sums of the points and of their squares, from none to all of them.
    """

    n: int
    shift: float
    sums: Floats

    def cover(self, count: int) -> tuple[Ints, Ints]:
        """Cover all positions by some `count` ranges: their first and last ones."""

    def find(self, thresholds: Floats) -> Ints:
        """Return the number of points below each of the increasing thresholds."""

    def values(self, position: Ints) -> Floats:
        """Return the points at positions (or the nearest there are), less the shift."""

    def moments(self, position: Ints) -> Floats:
        """Return number, sum and sum of squares of the points before each position."""


class Points:
    """Sorted points whose number, sum and sum of squares before any position are known.

    The sums are kept for every fourth position; the rest is added when asked for. All
    of this lies in the memory of the CPU, where the search happens.
    """

    def __init__(self, x: Tensor, centred: bool) -> None:
        self.x = sort(x.reshape(-1)).cpu().numpy()
        self.n = len(self.x)
        self.shift = float(self.x.mean(dtype=np.float64)) if centred else 0.0
        n_blocks = self.n // _BLOCK
        self.sums = np.zeros((2, n_blocks + 1))
        for first in range(0, n_blocks, _CHUNK):
            last = min(first + _CHUNK, n_blocks)
            part = self.x[first * _BLOCK : last * _BLOCK].astype(np.float64)
            part -= self.shift
            for total, power in zip(self.sums, (part, part**2), strict=True):
                within = power.cumsum()[_BLOCK - 1 :: _BLOCK]
                total[first + 1 : last + 1] = total[first] + within

    def cover(self, count: int) -> tuple[Ints, Ints]:
        """Cover all positions by ranges: half of equal size, half of equal width.

        Returns
        -------
        low, high : ndarray of shape (<= count + 2,)
            The first and the last positions of the ranges.
        """
        if count > self.n:
            low = np.arange(self.n + 1)
        else:
            even = np.linspace(0, self.n, count // 2, endpoint=False).astype(np.intp)
            first, last = self.x[[0, -1]].astype(np.float64)
            wide = self.find(np.linspace(first, last, count // 2))
            low = np.unique(np.concatenate([[0], even, wide, [self.n]]))
        return low, np.append(low[1:] - 1, self.n)

    def values(self, position: Ints) -> Floats:
        """Return the points at positions (or the nearest there are), less the shift."""
        values = self.x.take(position, mode="clip").astype(np.float64)
        values -= self.shift
        return values

    def between(self, start: int, stop: int) -> tuple[float, float, int, int]:
        """Describe the positions ``start .. stop - 1`` by the values they hold."""
        low, high = self.x[start], self.x[stop - 1]
        first = int(np.searchsorted(self.x, low))
        last = int(np.searchsorted(self.x, high, side="right"))
        return float(low), float(high), start - first, last - stop

    def find(self, thresholds: Floats) -> Ints:
        """Return the number of points below each of the increasing thresholds."""
        ends = np.finfo(self.x.dtype)
        rounded = thresholds.clip(ends.min, ends.max).astype(self.x.dtype)
        # a threshold rounded down would leave points that equal it on the wrong side
        up = np.nextafter(rounded, ends.max)
        return np.searchsorted(self.x, np.where(rounded < thresholds, up, rounded))

    def moments(self, position: Ints) -> Floats:
        """Return number, sum and sum of squares of the points before each position."""
        block = position // _BLOCK
        at = np.add.outer(np.arange(_BLOCK - 1), block * _BLOCK)
        rest = self.values(at)
        rest[at >= position] = 0.0
        out = np.empty((3, *position.shape))
        out[0] = position
        np.add(self.sums[0].take(block), rest.sum(0), out=out[1])
        np.add(self.sums[1].take(block), np.square(rest, out=rest).sum(0), out=out[2])
        return out
