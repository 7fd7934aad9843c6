"""The best clusterings of rows of sorted numbers, by dynamic programming.

The clusters are intervals, so a clustering is a list of cuts, and the best cuts among
given positions, the *grid*, are found layer by layer, all rows at once. With all
positions in the grid that is optimal. With few of them it is nearly so, and a bound of
what the optimum saves by cutting in between, cell by cell, certifies how nearly.
"""

import numpy as np

from sklc.ops.lloyd import Clusters, Shape, clusters
from sklc.ops.monge import Floats, Ints, cheapest_sources
from sklc.ops.points import Points

_HALVINGS = 40
_TAIL = 8  # points at both ends that are cells of their own


def best_cuts(
    points: Points, shape: Shape, grid: Ints, saving: Floats | None = None
) -> tuple[Clusters, Floats]:
    """Return the best clusterings with all cuts on a grid, and their values.

    Parameters
    ----------
    points : Points
        Not centred if there are zeros.
    shape : Shape
    grid : ndarray of shape (g, m)
        Positions in increasing order, from 0 to n.
    saving : ndarray of shape (g, m), default=None
        What the squared error is lowered by for a cut at each position.

    Returns
    -------
    clusters : Clusters
    value : ndarray of shape (g,)
        Squared errors, less what is saved.

    Notes
    -----
    Takes ``O(k g m log(g m))`` time, and memory for ``k g m`` numbers; twice as much
    with zeros.
    """
    g, m = grid.shape
    moments = points.moments(grid).reshape(3, -1)
    own = np.arange(g * m)
    first, last = np.repeat(own[::m], m), own[m - 1 :: m]
    off = 0.0 if saving is None else saving.reshape(-1)
    squares, behind = moments[2], _enough_before(grid, shape.n_zeros, points.n)

    def free(before: Floats, ends: Ints) -> tuple[Floats, Ints]:
        """Add a free cluster that ends at some positions of the grid."""
        return cheapest_sources(
            before - off, moments, moments[:, ends], first[ends], ends
        )

    def zeros(before: Floats, ends: Ints) -> tuple[Floats, Ints]:
        """Add the cluster of zeros."""
        cost = (before - off - squares).reshape(g, m)
        lowest = np.minimum.accumulate(cost, axis=1)
        leader = np.where(cost <= lowest, own.reshape(g, m), 0)
        leader = np.maximum.accumulate(leader, axis=1).reshape(-1)
        source = leader[np.maximum(behind[ends], first[ends])]
        value = lowest.reshape(-1)[np.maximum(behind[ends], first[ends])]
        value = np.where(behind[ends] >= first[ends], value + squares[ends], np.inf)
        return value, source

    # the costs of so many free clusters up to each position, and with zeros besides
    start = np.where(own == first, off, np.inf)  # the begin of a row is no cut
    sources: list[tuple[Ints, Ints | None]] = []
    plain, beside = start, np.full(g * m, np.inf)
    if shape.zero:
        ends = own if shape.n_free else last
        beside, source = zeros(start, ends)
        sources.append((source, None))
    for number in range(1, shape.n_free + 1):
        final = number == shape.n_free
        ends = last if final else own
        inner = own if shape.zero else ends
        if number == 1:
            mean = moments[1, inner] / np.maximum(moments[0, inner], 1)
            plain = squares[inner] - moments[1, inner] * mean
            source = first[inner]
        else:
            plain, source = free(plain, inner)
        if not shape.zero:
            sources.append((source, None))
            continue
        beside, by_free = free(beside, ends)
        other, by_zeros = zeros(plain, ends)
        take = other < beside
        beside = np.where(take, other, beside)
        sources.append((source, np.where(take, ~by_zeros, by_free)))
    found = _cuts(shape, sources, first, last)
    value = beside if shape.zero else plain
    cuts = np.take_along_axis(grid, found[0] - first[::m, None], 1)
    return clusters(points, cuts, found[1]), value


def _enough_before(grid: Ints, n_zeros: int, n: int) -> Ints:
    """Return for each position the last one with so many points between."""
    g, m = grid.shape
    if not n_zeros:
        return np.arange(g * m)
    apart = (n + 1 + n_zeros) * np.arange(g)[:, None]
    flat = (grid + apart).reshape(-1)
    found = np.searchsorted(flat, flat - n_zeros, side="right") - 1
    inside = found >= np.repeat(np.arange(g) * m, m)
    return np.where(inside, found, -1)


def _cuts(
    shape: Shape, sources: list[tuple[Ints, Ints | None]], first: Ints, last: Ints
) -> tuple[Ints, Ints]:
    """Follow the best sources back: cuts, and which clusters are zeros."""
    g, k = len(last), shape.k
    cuts = np.empty((g, k + 1), dtype=np.intp)
    pinned = np.zeros((g, k), dtype=bool)
    cuts[:, k] = at = last
    if not shape.zero:
        for number in range(k - 1, -1, -1):
            at = _look_up(sources[number][0], at, last)
            cuts[:, number] = at
        return cuts, pinned
    layer = np.full(g, shape.n_free)  # free clusters so far
    inside = np.ones(g, dtype=bool)  # whether the zeros are still to come, going back
    for number in range(k - 1, -1, -1):
        before = at.copy()
        for n_free in range(shape.n_free + 1):
            here = layer == n_free
            if not here.any():
                continue
            source, beside = sources[n_free]
            rows = here & ~inside
            before[rows] = source[at[rows]]
            rows = here & inside
            if n_free == 0:
                before[rows] = _look_up(source, at, last)[rows]
                pinned[rows, number] = True
                inside[rows] = False
                continue
            step = _look_up(beside, at, last)
            zeros = rows & (step < 0)
            before[rows] = np.where(step < 0, ~step, step)[rows]
            pinned[zeros, number] = True
            inside[zeros] = False
            layer[here & ~zeros] -= 1
        at = before
        cuts[:, number] = at
    return cuts, pinned


def _look_up(source: Ints | None, at: Ints, last: Ints) -> Ints:
    """Return the sources of positions; the last layer knows only the ends of rows."""
    assert source is not None
    return source if len(source) == len(last) else source[at]


def coarse_grid(points: Points, m: int, n_zeros: int = 0) -> Ints:
    """Return about `m` positions for each row, where cuts pay.

    They lie where many centres would: with the cube root of the density of the points,
    so that cells level what a cut within can save. Of rows with fewer values they are
    all positions between values. With `n_zeros` each position is there a second time,
    so many points further: between values lies one of both, wherever a tie is cut.

    Parameters
    ----------
    points : Points
    m : int
    n_zeros : int, default=0

    Returns
    -------
    ndarray of shape (g, at most 2 m)
        Positions in increasing order, from 0 to n.
    """
    g, n = points.x.shape
    most = n - n_zeros
    if most < m + 2 * _TAIL:
        grid = np.broadcast_to(np.arange(most + 1), (g, most + 1))
    else:
        even = np.linspace(0, most, min(most, 4 * m) + 1)
        tail = np.geomspace(1, most, 128)
        knots = np.concatenate([even, tail, most - tail]).astype(np.intp)
        knots = np.unique(knots)
        here = np.broadcast_to(knots, (g, len(knots)))
        width, count = np.diff(points.values(here)), np.diff(knots)
        if n_zeros:
            width = width + np.diff(points.values(here + n_zeros))
        share = np.cbrt(width**2 * count)
        share /= np.maximum(share.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        share += count / (4 * most)
        total = np.append(np.zeros((g, 1)), share.cumsum(axis=1), 1)
        total /= total[:, -1:]
        wanted = points.row + np.linspace(0, 1, m)[:-1]
        known = (total * (1 - 1e-9) + points.row).reshape(-1)
        grid = np.interp(wanted, known, np.tile(knots, g)).astype(np.intp)
        ends = np.append(np.arange(_TAIL), most - np.arange(_TAIL))
        grid = np.sort(np.append(grid, np.tile(ends, (g, 1)), 1), axis=1)
        new = points.x[:, 1:] != points.x[:, :-1]
        for row in np.flatnonzero(np.count_nonzero(new, axis=1) <= m - 2):
            between = np.flatnonzero(new[row]) + 1
            behind = between[between > n_zeros] - n_zeros
            starts = np.union1d(between[between < most], behind)
            if len(starts) <= grid.shape[1] - 2:
                grid[row] = most
                grid[row, 0], grid[row, 1 : len(starts) + 1] = 0, starts
    if n_zeros:
        grid = np.sort(np.append(grid, grid + n_zeros, 1), axis=1)
    return grid


def savings(points: Points, shape: Shape, grid: Ints, error: Floats) -> Floats:
    r"""Bound what cuts within the cells of a grid can save, if centres are optimal.

    A cut at the middle `b` of two centres, moved to the nearer end of its cell, costs
    at most :math:`(c_{j+1} - c_j) \sum_i |x_i - m|` over the points of the cell, `m`
    their mean. The points within a quarter of :math:`c_{j+1} - c_j` of `b` are as far
    from all centres at least, so that as many of them as there are bound it. Where so
    many points at least must be zeros, both ends of theirs move together, and what the
    points of a cell gain by leaving zero differs by :math:`4 |x|` times its width.

    Parameters
    ----------
    points : Points
    shape : Shape
    grid : ndarray of shape (g, m)
    error : ndarray of shape (g,)
        The squared error of some clustering of each row.

    Returns
    -------
    ndarray of shape (g, m)
        For a cut at each position: the larger bound of the cells on both sides.
    """
    low, high = points.values(grid[:, :-1]), points.values(grid[:, 1:] - 1)
    count, total, _ = np.diff(points.moments(grid), axis=2)
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    below = points.find(mean)
    left_count, left_total, _ = points.moments(below) - points.moments(grid[:, :-1])
    deviation = 2 * np.maximum(left_count * mean - left_total, 0.0)
    span = points.x[:, -1:].astype(np.float64) - points.x[:, :1]
    near, far = np.zeros_like(low), np.broadcast_to(span, low.shape)
    for _ in range(_HALVINGS):
        radius = (near + far) / 2
        inside = points.find(low + radius) - points.find(high - radius)
        too_far = radius**2 * inside > error[:, None]
        near, far = np.where(too_far, near, radius), np.where(too_far, radius, far)
    apart = np.minimum(4 * far, span)
    bound = apart * deviation
    if shape.n_zeros:
        farthest = np.maximum(np.abs(low), np.abs(high))
        bound = np.maximum(bound, 4 * farthest * count * (high - low))
        most = points.n - shape.n_zeros
        bound[(grid[:, :-1] >= most) & (grid[:, 1:] <= shape.n_zeros)] = 0.0
    bound[count <= 1] = 0.0
    edge = np.zeros((len(grid), 1))
    found: Floats = np.maximum(np.append(bound, edge, 1), np.append(edge, bound, 1))
    return found
