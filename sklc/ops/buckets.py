"""Numbers in buckets: as good as sorted, where one looks closely at few of them."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sklc.ops.monge import Floats, Ints

Singles = NDArray[np.float32]

_KEYS = 1 << 16  # the buckets that there can be
_CHUNK = 1 << 16  # numbers handled at a time
_SHARE = 8  # of so many points, one may be known by itself


class Buckets:
    """What :class:`sklc.ops.points.Points` is, but sorted only where that is asked for.

    The bucket of a number in single precision is its 16 leading bits: the sign, the
    exponent and 7 bits of the mantissa. The moments of all buckets are found in one
    pass. A bucket that a threshold or a position falls into is *opened*: its points are
    sorted, and known one by one from then on. What is known is a list of *entries* in
    increasing order: closed buckets, and the points of those that are open.

    Parameters
    ----------
    x : Tensor of shape (n,), float32
    centred : bool
    """

    def __init__(self, x: Tensor, centred: bool) -> None:
        self.x = x.detach().cpu().numpy()
        self.n = len(self.x)
        self.shift = float(self.x.mean(dtype=np.float64)) if centred else 0.0
        self.bucket = np.empty(self.n, dtype=np.uint16)
        totals = np.zeros((3, _KEYS))
        for first in range(0, self.n, _CHUNK):
            here = slice(first, first + _CHUNK)
            part = self.x[here]
            bucket = part.view(np.uint32) >> np.uint32(16)
            self.bucket[here] = bucket
            power = part.astype(np.float64)
            power -= self.shift
            totals[0] += np.bincount(bucket, minlength=_KEYS)
            totals[1] += np.bincount(bucket, power, minlength=_KEYS)
            totals[2] += np.bincount(bucket, np.square(power, out=power), _KEYS)
        # the buckets in increasing order: the bits of negative numbers count backwards
        positive, negative = np.split(np.arange(_KEYS, dtype=np.uint32), 2)
        order = np.concatenate([negative[::-1], positive])
        order = order[totals[0, order] > 0]
        rest = np.where(order < len(positive), 0, 0xFFFF).astype(np.uint32)
        least = (order << np.uint32(16) | rest).view(np.float32)
        self._set(order.astype(np.intp), least, totals[:, order])

    def _set(self, keys: Ints, least: Singles, moments: Floats) -> None:
        """Set the entries: bucket (-1: a point), least number there can be, moments."""
        self.keys, self.least, self.each = keys, least, moments
        before = np.zeros((3, len(keys) + 1))
        moments.cumsum(axis=1, out=before[:, 1:])
        self.starts, self.sums = before[0].astype(np.intp), before[1:]

    def fine(self, k: int) -> bool:
        """Tell whether any `k` buckets are few enough points to be opened."""
        return bool(k * self.each[0].max() <= self.n // _SHARE)

    def cover(self, count: int) -> tuple[Ints, Ints]:
        """Cover all positions by some `count` ranges: see :meth:`Points.cover`.

        They begin where entries do, and end where the next range begins: the positions
        between are inside a bucket, and must not be lost.
        """
        even = np.searchsorted(self.starts, np.linspace(0, self.n, count // 2))
        first, last = self.least[[0, -1]].astype(np.float64)
        wide = np.searchsorted(self.least, np.linspace(first, last, count // 2))
        low = np.unique(self.starts[np.concatenate([[0, -1], even, wide])])
        return low, np.append(low[1:], self.n)

    def find(self, thresholds: Floats) -> Ints:
        """Return the number of points below each of the increasing thresholds.

        When an eighth of the points is known one by one no more are, and those of the
        bucket that a threshold falls into count as not below it.
        """
        entry = np.searchsorted(self.least, thresholds)
        closed = (entry > 0) & (self.keys[entry - 1] >= 0)
        if closed.any():
            inside = np.unique(entry[closed] - 1)
            more = self.each[0, inside].sum() + np.count_nonzero(self.keys < 0)
            if more > self.n // _SHARE:
                return self.starts[entry - closed]
            self._open(inside)
            entry = np.searchsorted(self.least, thresholds)
        return self.starts[entry]

    def values(self, position: Ints) -> Floats:
        """Return the points at positions (or the nearest there are), less the shift."""
        position = position.clip(0, self.n - 1)
        entry = np.searchsorted(self.starts, position, side="right") - 1
        if (closed := self.keys[entry] >= 0).any():
            self._open(np.unique(entry[closed]))
            entry = np.searchsorted(self.starts, position, side="right") - 1
        return self.least[entry].astype(np.float64) - self.shift

    def moments(self, position: Ints) -> Floats:
        """Return number, sum and sum of squares of the points before each position."""
        entry = np.searchsorted(self.starts, position)
        if (inside := self.starts[entry] > position).any():
            self._open(np.unique(entry[inside] - 1))
            entry = np.searchsorted(self.starts, position)
        return np.concatenate([self.starts[None, entry], self.sums[:, entry]])

    def _open(self, entries: Ints) -> None:
        """Replace buckets by the points that they hold."""
        wanted = np.zeros(_KEYS, dtype=bool)
        wanted[self.keys[entries]] = True
        points = np.sort(self.x[wanted.take(self.bucket)])
        size = np.ones(len(self.keys), dtype=np.intp)
        size[entries] = self.each[0, entries]
        source = np.repeat(np.arange(len(self.keys)), size)
        keys, least, each = self.keys[source], self.least[source], self.each[:, source]
        new = (keys >= 0) & wanted[keys]
        keys[new], least[new] = -1, points
        centred = points.astype(np.float64)
        centred -= self.shift
        each[0, new], each[1, new], each[2, new] = 1.0, centred, centred**2
        self._set(keys, least, each)
