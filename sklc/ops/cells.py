r"""Lower bounds of one-dimensional clustering, from where the centres may be.

For a centre ``c`` that is the mean of its cluster, and an interval ``[e, e']`` that it
is in, :math:`\sum (x - c)^2 \ge \sum (x - e)(x - e')`: the parabola gives way to its
chord. What is lost, ``(c - e)(e' - c)`` a point, falls with the *square* of the width.
So let every centre have a list of *cells*, intervals that cover where it may be. Any
choice of one cell for each centre costs at least what the points cost at the least of
its chords, and the cheapest choice is found by dynamic programming over the centres:
what two neighbours save is known from the sums of the points before the place where
their chords, less ``x^2`` mere lines, cross.
"""

from dataclasses import dataclass

import numpy as np

from sklc.ops.monge import Floats, Ints
from sklc.ops.points import Points

_KNOTS = 3  # for each cell, of the sums that are interpolated


@dataclass(frozen=True)
class Lines:
    """The chords of cells less ``x^2``: lines ``offset - 2 middle x``."""

    middle: Floats
    offset: Floats

    @classmethod
    def of(cls, edges: Floats, penalty: Floats) -> "Lines":
        """Make the lines of the cells between edges."""
        low, high = edges[..., :-1], edges[..., 1:]
        return cls((low + high) / 2, low * high + penalty)

    def pairs(self, other: "Lines") -> tuple[Floats, Floats]:
        """Return slope and offset of each of these lines less each of the others."""
        slope = 2 * (other.middle[..., None, :] - self.middle[..., None])
        return slope, self.offset[..., None] - other.offset[..., None, :]


def cell_bounds(
    points: Points,
    rows: Ints,
    edges: Floats,
    n_centers: int,
    zero: Floats | None,
    penalty: Floats,
) -> Floats:
    """Bound the squared errors of clusterings with a centre in a cell, for all.

    Parameters
    ----------
    points : Points
    rows : ndarray of shape (r,)
        The rows that are asked for.
    edges : ndarray of shape (r, n_centers, m + 1)
        Where the cells of each centre begin and end, in increasing order; of shape
        (r, 1, m + 1) if they are the same for all. Cells of two centres are the same or
        do not overlap, and none has `zero` inside.
    n_centers : int
        At least one.
    zero : ndarray of shape (r,), or None
        The place of one more centre.
    penalty : ndarray of shape (r,)
        What every point pays that is not in the cluster of `zero`.

    Returns
    -------
    ndarray of shape (r, n_centers, m)
    """
    lines = Lines.of(edges, penalty[:, None, None])
    total = points.total[:, rows, None, None]
    if edges.shape[1] == 1:
        between = _among_all(points, rows, lines)
    else:
        between = _between(points, rows, lines)
    start = np.zeros(lines.middle.shape)
    end = total[2] - 2 * lines.middle * total[1] + lines.offset * total[0]
    if zero is not None:
        pin = zero[:, None, None]
        before, after = lines.middle < pin, lines.middle > pin
        # less the line of the zero, which is -2 zero x + zero^2
        slope, level = 2 * (pin - lines.middle), lines.offset - pin**2
        least = _least(points, rows, slope, level)
        since = least - slope * total[1] - level * total[0]  # the zero's less the line
        left = slice(None) if edges.shape[1] == 1 else slice(None, -1)
        right = slice(None) if edges.shape[1] == 1 else slice(1, None)
        across = before[:, left, :, None] & after[:, right, None, :]
        apart = least[:, left, :, None] + since[:, right, None, :]
        between = np.where(across, apart, between)
        start = np.where(after, since, 0.0)
        rest = total[2] - 2 * pin * total[1] + pin**2 * total[0]
        end = np.where(before, least + rest, end)
    ahead, behind = [start[:, 0]], [end[:, -1]]
    for j in range(n_centers - 1):
        after_j = between[:, min(j, between.shape[1] - 1)]
        ahead.append((ahead[-1][:, :, None] + after_j).min(axis=1))
        before_j = between[:, max(between.shape[1] - 1 - j, 0)]
        behind.append((before_j + behind[-1][:, None]).min(axis=2))
    bounds: Floats = np.stack(ahead, axis=1) + np.stack(behind[::-1], axis=1)
    return bounds


def _least(points: Points, rows: Ints, slope: Floats, level: Floats) -> Floats:
    """Sum the least of 0 and a line ``slope x + level`` over the points, exactly.

    Parameters
    ----------
    slope, level : ndarray of shape (r, ...)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        cross = -level / slope
    cross = np.where(slope == 0, np.copysign(np.inf, -level), cross)
    shape = (-1, *[1] * (slope.ndim - 1))
    first, last = (x[rows].reshape(shape) for x in (points.first, points.last))
    count, sums, _ = points.moments(points.find(cross, first, last))
    below = slope * sums + level * count
    total = points.total[:, rows].reshape(3, *shape)
    above = slope * total[1] + level * total[0] - below
    least: Floats = np.where(slope >= 0, below, above)
    return least


def _among_all(points: Points, rows: Ints, lines: Lines) -> Floats:
    """Return what each pair of the same cells saves, of shape (r, 1, m, m)."""
    slope, level = lines.pairs(lines)
    upper = np.triu_indices(slope.shape[-1], 1)
    saved = np.full(slope.shape, np.inf)
    saved[..., *upper] = _least(points, rows, slope[..., *upper], level[..., *upper])
    every = np.arange(slope.shape[-1])
    saved[..., every, every] = 0.0
    return saved


def _between(points: Points, rows: Ints, lines: Lines) -> Floats:
    """Bound what each pair of cells of neighbouring centres saves.

    The sum of ``x - t`` over the points below ``t`` is a concave function: between the
    places where it is known, its chord is a lower bound.

    Returns
    -------
    ndarray of shape (r, n_centers - 1, m, m)
    """
    source, target = (
        Lines(lines.middle[:, part], lines.offset[:, part])
        for part in (slice(None, -1), slice(1, None))
    )
    slope, level = source.pairs(target)
    with np.errstate(divide="ignore", invalid="ignore"):
        cross = -level / slope
    alike = slope <= 0  # the same cell, or one too far left
    saved = np.where(slope < 0, np.inf, 0.0)
    if not (shape := saved.shape)[1]:
        return saved
    low = np.where(alike, np.inf, cross).min(axis=(2, 3))
    high = np.where(alike, -np.inf, cross).max(axis=(2, 3))
    none = alike.all(axis=(2, 3))
    low, high = np.where(none, 0.0, low), np.where(none, 0.0, high)
    count = _KNOTS * shape[2]
    knots = low[..., None] + (high - low)[..., None] * np.linspace(0.0, 1.0, count + 1)
    first, last = points.first[rows, None], points.last[rows, None]
    span = points.find(low, first, last), points.find(high, first, last)
    at = points.moments(points.find(knots, span[0][..., None], span[1][..., None]))
    sums = (at[1] - knots * at[0]).reshape(-1)
    step = np.append(np.diff(sums), 0.0)
    cross[alike] = 0.0
    cross -= low[..., None, None]
    cross *= (count / np.where(high > low, high - low, np.inf))[..., None, None]
    cross.clip(0.0, count, out=cross)
    left = cross.astype(np.intp)
    cross -= left
    left += np.arange(low.size).reshape(*low.shape, 1, 1) * (count + 1)
    cross *= step[left]
    cross += sums[left]
    cross *= slope
    return np.where(alike, saved, cross)
