"""Rows of sorted numbers, and the moments of all that lie before a position."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklc.ops.monge import Floats, Ints

Reals = NDArray[np.floating[Any]]

_MANY = 1 << 20  # numbers from which on sums are kept for every fourth position only
_PIECE = 1 << 18  # numbers summed at a time


class Points:
    """Rows of sorted points, with number, sum and sum of squares before any position.

    The positions of a row are 0, ..., n: before, between and behind its points.

    Parameters
    ----------
    x : ndarray of shape (g, n)
        Each row in increasing order.
    centred : bool
        Whether moments are those of the points less the mean of their row, which keeps
        them small; otherwise of the points themselves.

    Attributes
    ----------
    shift : ndarray of shape (g, 1)
        What is subtracted from the points of each row.
    """

    def __init__(self, x: Reals, centred: bool) -> None:
        self.x, (g, self.n) = x, x.shape
        self.row = np.arange(g)[:, None]
        self.shift = np.zeros((g, 1))
        if centred:
            self.shift = x.mean(axis=1, dtype=np.float64, keepdims=True)
        self._block = block = 4 if x.size > _MANY else 1
        whole = self.n // block * block
        self._sums = np.zeros((2, g, whole // block + 1))
        step = max(1, _PIECE // g // block) * block
        for start in range(0, whole, step):
            part = x[:, start : min(start + step, whole)] - self.shift
            first = start // block
            for power, total in enumerate(self._sums):
                if power:
                    part *= part
                sums = part.reshape(g, -1, block).sum(axis=2).cumsum(axis=1)
                sums += total[:, first, None]
                total[:, first + 1 : first + 1 + sums.shape[1]] = sums

    def values(self, at: Ints) -> Floats:
        """Return the points behind positions (g, m), the last one at the end."""
        found: Floats = self.x[self.row, np.minimum(at, self.n - 1)] - self.shift
        return found

    def moments(self, at: Ints) -> Floats:
        """Return the moments (3, g, m) of what is before positions (g, m)."""
        block = at // self._block
        out = np.empty((3, *at.shape))
        out[0], out[1:] = at, self._sums[:, self.row, block]
        for step in range(self._block - 1):
            inner = block * self._block + step
            value = np.where(inner < at, self.values(inner), 0.0)
            out[1] += value
            out[2] += value * value
        return out

    def find(self, thresholds: Floats) -> Ints:
        """Return how many points of its row are below each threshold (g, m)."""
        wanted = thresholds + self.shift
        low = np.zeros(wanted.shape, dtype=np.intp)
        high = np.full(wanted.shape, self.n)
        for _ in range(self.n.bit_length()):
            middle = (low + high) >> 1
            below = self.x[self.row, np.minimum(middle, self.n - 1)] < wanted
            below &= middle < high
            low, high = np.where(below, middle + 1, low), np.where(below, high, middle)
        return low
