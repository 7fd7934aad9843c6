"""Row minima of the matrices of one-dimensional clustering, all rows at once.

The cost ``c(p, q)`` of making one cluster of the points ``p .. q - 1`` of a sorted list
obeys the quadrangle inequality ``c(p, q) + c(p', q') <= c(p, q') + c(p', q)`` for
``p <= p'`` and ``q <= q'``: the matrix is *Monge*, and so is ``value(p) + c(p, q)``.
The leftmost minimum of a row then never lies left of that of an earlier row, so the
minima of every fourth row bound the work of those between. A level of this divide and
conquer is one ragged vectorised sweep here: ``log4(rows)`` sweeps, no Python loop over
rows or columns.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

_FAN = 4  # rows that a solved row helps at a level: more are fewer sweeps, more work


def cheapest_sources(
    value: Floats,
    source: Floats,
    target: Floats,
    earliest: Ints | None = None,
    latest: Ints | None = None,
) -> tuple[Floats, Ints]:
    """For every target position, the best position at which its last cluster starts.

    Solves ``best[t] = min over s of value[s] + c(source[s], target[t])``, where
    ``c(p, q)`` is the sum of squared deviations from their mean of the points between
    two positions, and 0 where ``q <= p``.

    Parameters
    ----------
    value : ndarray of shape (n_sources,)
        Cost of what lies before each source; may hold ``inf``.
    source : ndarray of shape (3, n_sources)
        Number, sum and sum of squares of the points before each source position, the
        positions in increasing order.
    target : ndarray of shape (3, n_targets)
        The same for the target positions.
    earliest, latest : ndarray of shape (n_targets,), default=None
        The numbers of the sources that each target may have, both non-decreasing; by
        default all.

    Returns
    -------
    best : ndarray of shape (n_targets,)
    argument : ndarray of shape (n_targets,), intp
        The leftmost best source of each target; non-decreasing.

    Notes
    -----
    Exact. Takes ``O((n_sources + n_targets) log n_targets)`` time and
    ``O(n_sources + n_targets)`` memory.
    """
    n_sources, n_targets = source.shape[1], target.shape[1]
    argument = np.zeros(n_targets, dtype=np.intp)
    best = np.empty(n_targets)
    stride = 1
    while stride * _FAN <= n_targets:
        stride *= _FAN
    while stride:
        solved = stride * _FAN  # every so many rows are
        rows = np.arange(stride - 1, n_targets, stride)
        rows = rows[(rows + 1) % solved > 0]
        before = (rows + 1) // solved * solved - 1
        after = before + solved
        left = np.where(before >= 0, argument[before], 0)
        inside = after < n_targets
        right = np.where(inside, argument[np.where(inside, after, 0)], n_sources - 1)
        if earliest is not None:
            left = np.maximum(left, earliest[rows])
        if latest is not None:
            right = np.minimum(right, latest[rows])
        best[rows], found = _window_minima(value, source, target[:, rows], left, right)
        argument[rows] = np.maximum.accumulate(found)  # rounding may break ties
        stride //= _FAN
    return best, argument


def _window_minima(
    value: Floats, source: Floats, target: Floats, left: Ints, right: Ints
) -> tuple[Floats, Ints]:
    """Minimum and leftmost minimiser of each row over the columns left .. right."""
    width = right - left + 1
    start = np.cumsum(width) - width
    column = np.arange(width.sum()) + np.repeat(left - start, width)
    count = np.repeat(target[0], width) - source[0, column]
    between = np.repeat(target[1], width) - source[1, column]
    # c(p, q) = square[q] - square[p] - between^2 / count; square[q] is added at the end
    cost = value[column] - source[2, column]
    np.square(between, out=between)
    np.divide(between, count, out=between, where=count > 0)
    cost -= between
    if (empty := count <= 0).any():  # a cluster without points costs nothing
        at = np.flatnonzero(empty)
        row = np.searchsorted(start, at, side="right") - 1
        cost[at] = value[column[at]] - target[2, row]
    lowest = np.minimum.reduceat(cost, start)
    hit = np.flatnonzero(cost == np.repeat(lowest, width))
    first = hit[np.searchsorted(hit, start)]
    return lowest + target[2], column[first]
