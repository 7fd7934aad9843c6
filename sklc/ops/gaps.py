"""Rows in which sums of squares drown what matters, made harmless.

A cluster that spans a gap ``g`` between two points has a squared error of at least
``g^2 / 2``. Where that is more than a clustering of the row is known to have, no
cluster of an optimal one spans the gap, and how wide it is does not matter. So weights
far from all others, and clusters that are tight compared with their distance, can be
moved near: the same cuts are optimal, and sums of squares are small enough to tell.
"""

import numpy as np

from sklc.ops.monge import Floats, Ints
from sklc.ops.points import Reals


def shortened(x: Reals, size: Ints, gap: Floats, zero: bool) -> Floats:
    """Return sorted rows with the gaps between their points no longer than `gap`.

    Parameters
    ----------
    x : ndarray of shape (g, width)
        Each row in increasing order, with ``inf`` behind its points.
    size : ndarray of shape (g,), intp
    gap : ndarray of shape (g,)
    zero : bool
        Whether zero is a point too; it stays where it is.

    Returns
    -------
    ndarray of shape (g, width)
    """
    inside = np.arange(x.shape[1]) < size[:, None]
    x = np.where(inside, x, x[:, :1]).astype(np.float64)
    gap = gap[:, None]
    steps = np.zeros(x.shape)
    np.minimum(np.diff(x), gap, out=steps[:, 1:])
    if not zero:
        steps[~inside] = 0.0
        return np.where(inside, steps.cumsum(axis=1), np.inf)
    # from zero on, in both directions
    away = np.minimum(np.abs(x), gap)
    right = np.where(inside & (x > 0), steps, 0.0)
    begin = (x <= 0).sum(axis=1, where=inside)
    every = np.arange(len(x))
    some = begin < size
    right[every[some], begin[some]] = away[every[some], begin[some]]
    left = np.zeros(x.shape)
    left[:, :-1] = np.where(inside & (x < 0), steps_after(steps), 0.0)[:, :-1]
    stop = (x < 0).sum(axis=1, where=inside) - 1
    some = stop >= 0
    left[every[some], stop[some]] = away[every[some], stop[some]]
    near = right.cumsum(axis=1) - left[:, ::-1].cumsum(axis=1)[:, ::-1]
    return np.where(inside, near, np.inf)


def steps_after(steps: Floats) -> Floats:
    """Return for each point the step to the next one."""
    return np.append(steps[:, 1:], np.zeros((len(steps), 1)), axis=1)


def clustered(
    x: Reals, size: Ints, cuts: Ints, pinned: Ints | None
) -> tuple[Floats, Floats]:
    """Return the centres of clusters of rows, and their squared errors.

    They are found in two passes: right to the rounding of the points themselves.

    Parameters
    ----------
    x : ndarray of shape (g, width)
    size : ndarray of shape (g,), intp
    cuts : ndarray of shape (g, k + 1)
        Where the clusters begin in a row, and the end.
    pinned : ndarray of shape (g,), or None
        The cluster of each row whose centre is zero.

    Returns
    -------
    centers : ndarray of shape (g, k)
        0 for clusters without points.
    error : ndarray of shape (g,)
    """
    g, k = len(cuts), cuts.shape[1] - 1
    inside = np.arange(x.shape[1]) < size[:, None]
    every = np.arange(g)[:, None]
    begins = np.zeros((g, x.shape[1] + 1), dtype=np.intp)
    np.add.at(begins, (every, cuts[:, 1:-1]), 1)
    cluster = (begins[:, :-1].cumsum(axis=1) + every * k)[inside]
    first = x[every, np.minimum(cuts[:, :-1], size[:, None] - 1)].astype(np.float64)
    first = first.reshape(-1)
    away = x[inside] - first[cluster]
    count = np.bincount(cluster, minlength=g * k)
    mean = np.bincount(cluster, away, g * k) / np.maximum(count, 1)
    if pinned is not None:
        at = np.arange(g) * k + pinned
        mean[at] = -first[at]
    away -= mean[cluster]
    error = np.bincount(cluster, away * away, g * k).reshape(g, k).sum(axis=1)
    return np.where(count > 0, first + mean, 0.0).reshape(g, k), error
