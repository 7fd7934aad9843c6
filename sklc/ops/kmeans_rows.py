"""Optimal k-means of numbers for many short rows at once."""

import numpy as np
import torch
from torch import Tensor

from sklc.ops.backend import at_least_float32
from sklc.ops.kmeans1d import PRECISE, Clustering, kmeans_1d
from sklc.ops.monge import Floats, Ints, cheapest_sources
from sklc.ops.search import ROUNDING

_AT_ONCE = 1 << 16  # positions in work, so that they stay in a cache
_SHORT = 100_000  # positions times inner layers, up to which they are faster together


def kmeans_rows(rows: Tensor, k: int, starts: Tensor | None = None) -> list[Clustering]:
    """Cluster each row of numbers into at most `k` clusters, as :func:`kmeans_1d` does.

    Short rows are solved together, by one dynamic program; long ones, and those in
    which sums of squares are not exact enough, one by one.

    Parameters
    ----------
    rows : Tensor of shape (g, n)
    k : int
    starts : Tensor of shape (g, m), default=None
        Centres to start from, where they are of use.

    Returns
    -------
    list of Clustering
    """
    g, n = rows.shape
    found: list[Clustering | None] = [None] * g
    if g > 1 and (k - 2) * n <= _SHORT:
        x = at_least_float32(rows.detach()).cpu().numpy().astype(np.float64)
        each = max(1, _AT_ONCE // (n + 1))
        for first in range(0, g, each):
            part = np.sort(x[first : first + each], axis=1)
            found[first : first + each] = _together(part, k)
    return [
        kmeans_1d(row, k, start=None if starts is None else starts[at])
        if clustering is None
        else clustering
        for at, (row, clustering) in enumerate(zip(rows, found, strict=True))
    ]


def _together(x: Floats, k: int) -> list[Clustering | None]:
    """Cluster sorted rows; None for those whose sums of squares are not exact enough.

    The rows lie end to end in one list of positions. A cluster begins and ends in one
    row, so each row bounds where the clusters of its points may begin.
    """
    g, n = x.shape
    with np.errstate(over="ignore", invalid="ignore"):
        shift = x.mean(axis=1, keepdims=True)
        moments = np.zeros((3, g, n + 1))
        moments[0] = np.arange(n + 1)
        centred = x - shift
        np.cumsum(centred, axis=1, out=moments[1, :, 1:])
        np.cumsum(centred**2, axis=1, out=moments[2, :, 1:])
    total = moments[2, :, -1]
    exact = np.isfinite(total)
    moments[1:, ~exact], centred[~exact] = 0.0, 0.0
    flat = moments.reshape(3, -1)
    first = np.arange(g) * (n + 1)
    last = first + n
    count = np.maximum(flat[0], 1)
    cost = flat[2] - flat[1] ** 2 / count  # one cluster from the start of the row
    sources = []
    for _ in range(k - 2):
        begin = np.repeat(first, n + 1)
        cost, source = cheapest_sources(cost, flat, flat, begin, np.arange(g * (n + 1)))
        sources.append(source)
    if k > 1:
        _, source = cheapest_sources(cost, flat, flat[:, last], first, last)
        sources.append(source)
    cuts = _cuts(sources, first, last)
    means, error = _centers(centred, cuts - first)
    exact &= ROUNDING * total <= PRECISE * error
    return [
        Clustering(
            torch.from_numpy(row[~np.isnan(row)]),
            float(error[at]),
            min(float(error[at]), ROUNDING * float(total[at])),
        )
        if exact[at]
        else None
        for at, row in enumerate((means + shift.T).T)
    ]


def _cuts(sources: list[Ints], first: Ints, last: Ints) -> Ints:
    """Follow the best sources back: the cuts of every row, of shape (m + 1, g)."""
    cuts = [last]
    for at, source in enumerate(reversed(sources)):
        # the last layer knows only the ends of the rows
        cuts.append(source if at == 0 else source[cuts[-1]])
    return np.array([first, *cuts[::-1]])


def _centers(x: Floats, cuts: Ints) -> tuple[Floats, Floats]:
    """Return the means of clusters, NaN of those without points, and squared errors.

    Parameters
    ----------
    x : ndarray of shape (g, n)
    cuts : ndarray of shape (m + 1, g)

    Returns
    -------
    centers : ndarray of shape (m, g)
    error : ndarray of shape (g,)
    """
    g, n = x.shape
    # the cluster of every point: how many inner cuts are not behind it
    number = (cuts[1:-1, :, None] <= np.arange(n)).sum(0)
    cell = (number + np.arange(g)[:, None] * (len(cuts) - 1)).ravel()
    size = (len(cuts) - 1) * g
    count = np.bincount(cell, minlength=size)
    total = np.bincount(cell, x.ravel(), size)
    mean = np.divide(total, count, out=np.full(size, np.nan), where=count > 0)
    error = ((x.ravel() - mean[cell]) ** 2).reshape(g, n).sum(1)
    return mean.reshape(g, -1).T, error
