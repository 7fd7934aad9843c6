"""Gaps that no good cluster spans, made short: so sums of squares stay exact.

A cluster that spans a gap ``g`` between two points has a squared error of at least
``g^2 / 2``. Where that is more than a clustering of all points is known to have, no
cluster of an optimal one spans the gap, and how wide it is does not matter. So weights
far away from all others, and clusters that are tight compared with their distance, can
be moved near, where they do not drown the differences within clusters in rounding.
"""

import numpy as np

from sklc.ops.monge import Floats, Ints


def shortened(x: Floats, gap: float, zero: bool) -> Floats | None:
    """Return sorted points with the gaps between them no longer than `gap`.

    Parameters
    ----------
    x : ndarray of shape (n,)
        In increasing order.
    gap : float
    zero : bool
        Whether zero is a point, too, and stays where it is.

    Returns
    -------
    ndarray of shape (n,), or None
        None if no gap is longer.
    """
    at = int(np.searchsorted(x, 0.0))
    values = np.insert(x, at, 0.0) if zero else x
    last = np.flatnonzero(np.diff(values) > gap)
    if not len(last):
        return None
    first = np.append(0, last + 1)
    size = np.diff(np.append(first, len(values)))
    ends = values[np.append(last, len(values) - 1)]
    new = np.append(0.0, np.cumsum(ends - values[first] + gap)[:-1])
    near = values - np.repeat(values[first], size) + np.repeat(new, size)
    return np.delete(near - near[at], at) if zero else near


def clustered(x: Floats, cuts: Ints, pinned: int | None) -> tuple[Floats, float]:
    """Return the centres of clusters of sorted points, and their squared error.

    It is found in two passes: right to the rounding of the points themselves.

    Parameters
    ----------
    x : ndarray of shape (n,)
        In increasing order.
    cuts : ndarray of shape (m + 1,)
        Where the clusters begin, and the end.
    pinned : int or None
        The cluster whose centre is zero.

    Returns
    -------
    centers : ndarray of shape (<= m,)
        Of the clusters that have points and are not pinned.
    error : float
    """
    free = np.arange(len(cuts) - 1) != (-1 if pinned is None else pinned)
    filled = cuts[1:] > cuts[:-1]
    start, size, free = cuts[:-1][filled], np.diff(cuts)[filled], free[filled]
    first = x[start]
    away = x - np.repeat(first, size)
    mean = np.where(free, np.add.reduceat(away, start) / size, -first)
    away -= np.repeat(mean, size)
    return (first + mean)[free], float(away @ away)
