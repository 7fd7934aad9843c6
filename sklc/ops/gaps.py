"""Rows in which sums of squares drown what matters, made harmless.

A cluster that spans a gap ``g`` between two points has a squared error of at least
``g^2 / 2``. Where that is more than a clustering of the row is known to have, no
cluster of an optimal one spans the gap, and how wide it is does not matter. So weights
far from all others, and clusters that are tight compared with their distance, can be
moved near: the same cuts are optimal, and sums of squares are small enough to tell.
"""

from typing import Any

import numpy as np

from sklc.ops.lloyd import Clusters
from sklc.ops.monge import Floats, Ints
from sklc.ops.points import Reals


def shortened(x: Reals, gap: Floats, zero: bool) -> Floats:
    """Return sorted rows with the gaps between their points no longer than `gap`.

    Parameters
    ----------
    x : ndarray of shape (g, n)
    gap : ndarray of shape (g,)
    zero : bool
        Whether zero is a point too; it stays where it is.

    Returns
    -------
    ndarray of shape (g, n)
    """
    near = np.zeros(x.shape)
    steps = np.minimum(np.diff(x.astype(np.float64)), gap[:, None])
    np.cumsum(steps, axis=1, out=near[:, 1:])
    return _around_zero(x, near, gap[:, None]) if zero else near


def ranked(x: Reals, zero: bool) -> Floats:
    """Return for each point of sorted rows the number of its value, whole and small.

    With `zero` the number of zero is 0, whether it is a point or not.
    """
    near = np.zeros(x.shape)
    np.cumsum(x[:, 1:] != x[:, :-1], axis=1, out=near[:, 1:])
    return _around_zero(x, near, np.ones((len(x), 1))) if zero else near


def _around_zero(x: Reals, near: Floats, gap: Floats) -> Any:
    """Shift what replaces points, so that zero replaces zero, no farther than `gap`."""
    n_left = np.count_nonzero(x <= 0, axis=1)[:, None]
    right = np.minimum(n_left, x.shape[1] - 1)
    left = np.maximum(n_left - 1, 0)

    def at(values: Reals, place: Ints) -> Reals:
        return np.take_along_axis(values, place, 1)

    return near - np.where(
        x > 0,
        at(near, right) - np.minimum(at(x, right), gap),
        at(near, left) + np.minimum(-at(x, left), gap),
    )


def exactly(x: Reals, found: Clusters) -> Clusters:
    """Return clusterings with centres and errors that are found in two passes.

    They are right to the rounding of the points themselves.
    """
    g, k = found.pinned.shape
    size = np.diff(found.cuts).reshape(-1)
    cluster = np.repeat(np.arange(g * k), size)
    first = np.take_along_axis(x, np.minimum(found.cuts[:, :-1], x.shape[1] - 1), 1)
    first = first.reshape(-1).astype(np.float64)
    away = x.reshape(-1) - first[cluster]
    mean = np.bincount(cluster, away, g * k) / np.maximum(size, 1)
    mean = np.where(found.pinned.reshape(-1), -first, mean)
    away -= mean[cluster]
    error = np.bincount(cluster, away * away, g * k).reshape(g, k).sum(axis=1)
    return Clusters(found.cuts, found.pinned, (first + mean).reshape(g, k), error)
