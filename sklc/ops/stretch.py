"""A scale for the values of rows that is fine where many centres belong."""

import numpy as np

from sklc.ops.monge import Floats, Ints
from sklc.ops.points import Points, bisect

_KNOTS = 1024


class Stretch:
    """Maps places from 0 to 1 to values of rows, and back.

    Between two places as far apart lies as much of the cube root of the density of the
    points, which is how the centres of optimal clusterings spread. Piecewise linear.
    """

    def __init__(self, points: Points) -> None:
        g = len(points.size)
        share = np.linspace(0.0, 1.0, _KNOTS + 1)
        dense = (1 - np.cos(np.pi * share)) / 2  # at the ends, where points are few
        at = points.first[:, None] + (dense * (points.size[:, None] - 1)).astype(
            np.intp
        )
        x = points.values(at)
        mass = np.zeros(x.shape)
        np.cumsum(np.cbrt(np.diff(x) ** 2 * np.diff(at)), axis=1, out=mass[:, 1:])
        mass /= np.maximum(mass[:, -1:], np.finfo(float).tiny)
        base = np.arange(g)[:, None] * (_KNOTS + 1)
        wanted = np.broadcast_to(share, x.shape)
        table = _interpolate(mass, x, wanted, base)
        table[:, 0], table[:, -1] = x[:, 0], x[:, -1]
        self._table = np.maximum.accumulate(table, axis=1)

    def values(self, rows: Ints, place: Floats) -> Floats:
        """Return the values at places of rows, of shape (r, ...)."""
        place = place.clip(0.0, 1.0) * _KNOTS
        left = np.minimum(place.astype(np.intp), _KNOTS - 1)
        place -= left
        left += rows.reshape(-1, *[1] * (place.ndim - 1)) * (_KNOTS + 1)
        flat = self._table.reshape(-1)
        low = flat[left]
        values: Floats = low + (flat[left + 1] - low) * place
        return values

    def places(self, rows: Ints, value: Floats) -> Floats:
        """Return the places of values of rows, of shape (r, m)."""
        known = np.broadcast_to(np.linspace(0.0, 1.0, _KNOTS + 1), self._table.shape)
        return _interpolate(self._table, known, value, rows[:, None] * (_KNOTS + 1))


def _interpolate(x: Floats, y: Floats, wanted: Floats, base: Ints) -> Floats:
    """Interpolate ``y(x)`` row by row, where `base` is each row's first place."""
    flat = x.reshape(-1)
    right = bisect(flat, wanted, base + 1, base + _KNOTS)
    left, y = right - 1, y.reshape(-1)
    step = flat[right] - flat[left]
    part = np.divide(
        wanted - flat[left], step, out=np.zeros(right.shape), where=step > 0
    )
    values: Floats = y[left] + (y[right] - y[left]) * part.clip(0.0, 1.0)
    return values
