"""Rows of sorted numbers, laid end to end, and the moments of all before a position."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklc.ops.monge import Floats, Ints

Reals = NDArray[np.floating[Any]]

BLOCK = 4  # the widths of rows are multiples of it
_MANY = 1 << 20  # numbers from which on sums are kept for every fourth position only
_PIECE = 1 << 18  # numbers summed at a time


class Points:
    """Rows of sorted numbers whose moments before any position are known.

    The positions of row ``r`` are ``first[r], ..., last[r]``: the cuts before, between
    and behind its points.

    Parameters
    ----------
    x : ndarray of shape (g, width)
        Each row in increasing order. The width is a multiple of 4 greater than the
        number of points of each row; what lies behind these is ``inf``.
    size : ndarray of shape (g,), intp
        Number of points of each row, at least one.

    Attributes
    ----------
    shift : ndarray of shape (g,)
        The means; moments are those of the points less the mean, which keeps them
        small.
    total : ndarray of shape (3, g)
        Number, sum and sum of squares of the points of each row.
    """

    def __init__(self, x: Reals, size: Ints) -> None:
        g, self.width = x.shape
        self.x, self.size, self._flat = x, size, x.reshape(-1)
        self.first = np.arange(g) * self.width
        self.last = self.first + size
        self._block = BLOCK if x.size > _MANY else 1
        each = max(1, _PIECE // g // BLOCK) * BLOCK
        pieces = [slice(start, start + each) for start in range(0, self.width, each)]
        total, self.shift = np.zeros(g), np.zeros(g)
        for piece in pieces:
            total += self._centred(piece).sum(axis=1)
        self.shift = total / size
        sums = np.zeros((2, g, self.width // self._block + 1))
        for piece in pieces:
            part = self._centred(piece)
            start = piece.start // self._block
            for power in sums:
                blocks = part.reshape(g, -1, self._block).sum(axis=2)
                stop = start + blocks.shape[1]
                np.cumsum(blocks, axis=1, out=power[:, start + 1 : stop + 1])
                power[:, start + 1 : stop + 1] += power[:, start, None]
                part *= part
        self._sums = sums[:, :, :-1].reshape(2, -1)
        self.total = self.moments(self.last)

    def _centred(self, piece: slice) -> Floats:
        """Return columns less the shift of their rows, and 0 behind the points."""
        columns = np.arange(piece.start, min(piece.stop, self.width))
        part = self.x[:, piece] - self.shift[:, None]
        part[columns >= self.size[:, None]] = 0.0
        return part

    def shifts(self, position: Ints) -> Floats:
        """Return the shift of the rows that positions belong to."""
        shifts: Floats = self.shift[position // self.width]
        return shifts

    def values(self, position: Ints) -> Floats:
        """Return the points behind positions less the shift (``inf`` at the end)."""
        return self._flat[position] - self.shifts(position)

    def moments(self, position: Ints) -> Floats:
        """Return number, sum and sum of squares of the points before each position."""
        block = position // self._block
        out = np.empty((3, *position.shape))
        out[0] = position % self.width
        np.take(self._sums[0], block, out=out[1])
        np.take(self._sums[1], block, out=out[2])
        for step in range(self._block - 1):
            at = block * self._block + step
            value = np.where(at < position, self.values(at), 0.0)
            out[1] += value
            out[2] += value * value
        return out

    def find(self, value: Floats, low: Ints, high: Ints) -> Ints:
        """Return the position of each value: before the first point not below it.

        Parameters
        ----------
        value : ndarray
            Less the shift of the row.
        low, high : ndarray, broadcastable to the shape of `value`
            Positions of one row that the answer is between.
        """
        return bisect(self._flat, value + self.shifts(low), low, high)


def bisect(x: Reals, value: Reals, low: Ints, high: Ints) -> Ints:
    """Return for each value the first position from `low` to `high` not below it.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Increasing between each `low` and its `high`.
    value : ndarray
    low, high : ndarray, broadcastable to the shape of `value`
    """
    steps = int(np.max(high - low, initial=0)).bit_length()
    low = np.broadcast_to(low, value.shape)
    high = np.broadcast_to(high, value.shape)
    for _ in range(steps):
        middle = (low + high) >> 1
        below = x[middle] < value
        low = np.where(below, middle + 1, low)
        high = np.where(below, high, middle)
        np.minimum(low, high, out=low)
    return low
