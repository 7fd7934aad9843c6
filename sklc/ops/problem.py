"""Rows of sorted numbers that are clustered together: problems and what is found."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklc.ops.gaps import clustered, shortened
from sklc.ops.lloyd import Clusterings
from sklc.ops.monge import Floats, Ints
from sklc.ops.points import Points, Reals
from sklc.ops.search import Search

_TRIES = 4  # to shorten gaps
_STEPS = 20  # of Lloyd's algorithm from a start
_PRECISE = 1e-9  # rounding of sums of squares that may be left, of the squared error


@dataclass(frozen=True)
class Effort:
    """What a search may cost: see :meth:`Search.run`."""

    exact: int
    goal: float


@dataclass(frozen=True)
class Problem:
    """Sorted rows that are clustered together, and into what."""

    x: Reals
    size: Ints
    n_zeros: Ints
    k: int
    zero: bool
    effort: Effort

    def part(self, rows: Ints) -> "Problem":
        """Return the problem of some of the rows."""
        return Problem(
            self.x[rows],
            self.size[rows],
            self.n_zeros[rows],
            self.k,
            self.zero,
            self.effort,
        )


@dataclass(frozen=True)
class Found:
    """Clusterings of rows.

    Attributes
    ----------
    cuts : ndarray of shape (g, k + 1)
        Where the clusters begin in a row, and the end.
    place : ndarray of shape (g,)
        The number of the cluster of zeros.
    centers : ndarray of shape (g, k)
        The means of all clusters.
    error, lower, noise : ndarray of shape (g,)
        Squared errors, lower bounds of all, and the rounding of both.
    """

    cuts: Ints
    place: Ints
    centers: Floats
    error: Floats
    lower: Floats
    noise: Floats

    def put(self, at: Ints, other: "Found", some: NDArray[Any]) -> None:
        """Replace rows by some of another's."""
        for field in fields(self):
            getattr(self, field.name)[at] = getattr(other, field.name)[some]


def search(problem: Problem, starts: Floats | None) -> Found:
    """Search in rows, from starts if there are any."""
    points = Points(problem.x, problem.size)
    n_free = problem.k - problem.zero
    best = Clusterings(points, n_free, problem.zero, problem.n_zeros)
    every = np.arange(len(problem.size))
    best.offer(every, _spread(points, n_free), _STEPS)
    if starts is not None:
        own = _filled(starts, n_free) - points.shift[:, None]
        best.offer(every, own, _STEPS)
    search = Search(best)
    lower = search.run(problem.effort.exact, problem.effort.goal)
    count, sums, _ = np.diff(points.moments(best.cuts), axis=2)
    centers = points.shift[:, None] + sums / np.maximum(count, 1.0)
    cuts = best.cuts - points.first[:, None]
    return Found(cuts, best.place, centers, best.upper, lower, search.noise)


def _spread(points: Points, count: int) -> Floats:
    """Spread centres evenly over the points of rows."""
    share = (np.arange(count) + 0.5) / count
    return points.values(
        points.first[:, None] + (share * points.size[:, None]).astype(np.intp)
    )


def _filled(starts: Floats, count: int) -> Floats:
    """Sort starts; the last stands for those that there are too few of."""
    starts = np.sort(starts, axis=1)
    return np.append(starts, np.repeat(starts[:, -1:], count - starts.shape[1], 1), 1)


def refine(problem: Problem, starts: Floats | None, found: Found) -> None:
    """Search again where sums are not exact enough, as long as that helps."""
    hard = np.flatnonzero(found.noise > _PRECISE * found.error)
    for _ in range(_TRIES):
        if not len(hard):
            break
        part = problem.part(hard)
        own = None if starts is None else starts[hard]
        found.centers[hard], found.error[hard] = _exactly(
            part, found.cuts[hard], found.place[hard]
        )
        if own is not None:
            _start_again(part, hard, own, found)
        gap = 2 * np.sqrt(2 * found.error[hard])
        near = replace(part, x=shortened(part.x, part.size, gap, part.zero))
        centers, _ = _exactly(near, found.cuts[hard], found.place[hard])
        other = search(near, _free(centers, found.place[hard], part))
        centers, error = _exactly(part, other.cuts, other.place)
        better = error < found.error[hard]
        other = replace(other, centers=centers, error=error)
        found.put(hard[better], other, better)
        found.lower[hard], found.noise[hard] = other.lower, other.noise
        hard = hard[better & (other.noise > _PRECISE * error)]


def _exactly(problem: Problem, cuts: Ints, place: Ints) -> tuple[Floats, Floats]:
    """Return the centres and the errors of clusterings, found in two passes."""
    return clustered(problem.x, problem.size, cuts, place if problem.zero else None)


def _free(centers: Floats, place: Ints, problem: Problem) -> Floats | None:
    """Return the centres that are not pinned, if there are any."""
    if not problem.zero:
        return centers
    if problem.k == 1:
        return None
    free = np.arange(problem.k) != place[:, None]
    chosen: Floats = centers[free].reshape(len(centers), -1)
    return chosen


def _start_again(part: Problem, hard: Ints, starts: Floats, found: Found) -> None:
    """Take the clusterings of starts where they are better."""
    points = Points(part.x, part.size)
    best = Clusterings(points, part.k - part.zero, part.zero, part.n_zeros)
    own = _filled(starts, part.k - part.zero) - points.shift[:, None]
    cuts, place = best.assign(np.arange(len(hard)), own)
    cuts -= points.first[:, None]
    centers, error = _exactly(part, cuts, place)
    at = hard[better := error < found.error[hard]]
    found.cuts[at], found.place[at] = cuts[better], place[better]
    found.centers[at], found.error[at] = centers[better], error[better]


def few_values(problem: Problem) -> tuple[Found, NDArray[np.bool_]]:
    """Cluster the rows with no more values than centres; tell which these are."""
    x, size, k = problem.x, problem.size, problem.k
    g, width = x.shape
    column, every = np.arange(width, dtype=np.int32), np.arange(g)
    new = np.zeros((g, width), dtype=bool)
    np.not_equal(x[:, 1:], x[:, :-1], out=new[:, 1:])
    new[every, size] = False  # behind the points
    place, few = np.zeros(g, dtype=np.intp), new.sum(axis=1) < k
    begin = stop = place
    if problem.zero:
        begin, stop = (x < 0).sum(axis=1), (x <= 0).sum(axis=1)
        # the cuts around the zeros are two, even if there are none
        new[every, begin] = new[every, stop] = False
        place = new.sum(axis=1, where=column < begin[:, None]) + (begin > 0)
        above = new.sum(axis=1, where=column > stop[:, None]) + (stop < size)
        few = (place + 1 + above <= k) & (stop - begin >= problem.n_zeros)
    at = np.flatnonzero(few)
    cuts = np.repeat(size[:, None], k + 1, axis=1)
    cuts[:, 0] = 0
    row, cut = np.nonzero(new[at])
    number = np.arange(len(row)) - np.searchsorted(row, row) + 1
    if problem.zero:
        number += np.where(cut > stop[at][row], 1 + (begin[at][row] > 0), 0)
        cuts[at, place[at]], cuts[at, place[at] + 1] = begin[at], stop[at]
    cuts[at[row], number] = cut
    errors = np.zeros((3, g))
    return Found(cuts, place, np.zeros((g, k)), *errors), few
