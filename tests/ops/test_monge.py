"""cheapest_sources is the row minimum of the full matrix, found without building it."""

import numpy as np
import pytest

from sklc.ops import monge
from sklc.ops.monge import _window_minima, cheapest_sources

UNIT = 27720.0  # divisible by 1 .. 12: means of up to 12 multiples of it are exact


def moments(x, positions):
    """Number, sum and sum of squares of the points before each position."""
    before = (
        np.concatenate([[0.0], np.cumsum(x)]),
        np.concatenate([[0.0], np.cumsum(x**2)]),
    )
    return np.stack(
        [np.asarray(positions, float), *(sums[positions] for sums in before)]
    )


def full_matrix(x, value, sources, targets):
    """``value[s] + c(s, t)`` for every target (row) and source (column)."""
    matrix = np.empty((len(targets), len(sources)))
    for row, stop in enumerate(targets):
        for column, start in enumerate(sources):
            part = x[start:stop]
            cost = ((part - part.mean()) ** 2).sum() if len(part) else 0.0
            matrix[row, column] = value[column] + cost
    return matrix


def lattice(seed, n=12):
    rng = np.random.default_rng(seed)
    return np.sort(rng.integers(-3, 4, n) * UNIT)


SIZES = [(1, 1), (1, 9), (9, 1), (2, 2), (3, 13), (13, 3), (8, 8), (13, 16), (13, 17)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n_sources", "n_targets"), SIZES)
def test_it_is_the_leftmost_minimum_of_every_row(n_sources, n_targets, seed):
    rng = np.random.default_rng(seed)
    x = lattice(seed)
    sources = np.sort(rng.integers(0, 13, n_sources))  # positions may be equal
    targets = np.sort(rng.integers(0, 13, n_targets))  # and targets precede sources
    value = np.sort(rng.integers(0, 3, n_sources) * UNIT**2)[::-1].copy()

    best, argument = cheapest_sources(value, moments(x, sources), moments(x, targets))

    matrix = full_matrix(x, value, sources, targets)
    np.testing.assert_array_equal(best, matrix.min(axis=1))
    np.testing.assert_array_equal(argument, matrix.argmin(axis=1))
    assert argument.dtype == np.intp
    assert (np.diff(argument) >= 0).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pattern", ["first", "last", "some", "all", "but one"])
def test_sources_of_infinite_value_are_never_taken(pattern, seed):
    rng = np.random.default_rng(seed)
    x, positions = lattice(seed), np.arange(13)
    value = rng.integers(0, 3, 13) * UNIT**2
    value[
        {
            "first": slice(0, 4),
            "last": slice(9, None),
            "some": rng.permutation(13)[:7],
            "all": slice(None),
            "but one": np.delete(positions, seed * 4),
        }[pattern]
    ] = np.inf

    best, argument = cheapest_sources(
        value, moments(x, positions), moments(x, positions)
    )

    matrix = full_matrix(x, value, positions, positions)
    np.testing.assert_array_equal(best, matrix.min(axis=1))
    np.testing.assert_array_equal(argument, matrix.argmin(axis=1))


@pytest.mark.parametrize("n_targets", range(1, 34))
def test_every_number_of_targets_is_swept_completely(n_targets):
    x = np.sort(np.random.default_rng(n_targets).standard_normal(40))
    sources, targets = np.arange(41), np.arange(41 - n_targets, 41)
    value = np.linspace(0.0, 20.0, 41)

    best, argument = cheapest_sources(value, moments(x, sources), moments(x, targets))

    matrix = full_matrix(x, value, sources, targets)
    np.testing.assert_allclose(best, matrix.min(axis=1), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(argument, matrix.argmin(axis=1))


def test_the_whole_dynamic_program_of_two_clusters():
    x = np.array([0.0, 1.0, 2.0, 10.0, 11.0, 12.0, 13.0])
    positions = np.arange(8)
    one = full_matrix(x, np.zeros(1), [0], positions)[:, 0]

    best, argument = cheapest_sources(one, moments(x, positions), moments(x, positions))

    assert best[-1] == pytest.approx(2.0 + 5.0, abs=1e-12)
    assert argument[-1] == 3


def test_equal_points_tie_and_the_leftmost_wins():
    x = np.full(8, UNIT)
    positions = np.arange(9)

    best, argument = cheapest_sources(
        np.zeros(9), moments(x, positions), moments(x, positions)
    )

    assert (best == 0).all()
    assert (argument == 0).all()


def test_windows_are_searched_from_left_to_right_inclusive():
    x, positions = lattice(0), np.arange(13)
    value = np.random.default_rng(0).integers(0, 9, 13) * UNIT**2
    left, right = np.array([0, 2, 5, 12]), np.array([0, 6, 12, 12])
    targets = np.array([3, 6, 7, 12])

    lowest, argument = _window_minima(
        value, moments(x, positions), moments(x, targets), left, right
    )

    matrix = full_matrix(x, value, positions, targets)
    for row, (first, last) in enumerate(zip(left, right, strict=True)):
        window = matrix[row, first : last + 1]
        assert lowest[row] == window.min()
        assert argument[row] == first + window.argmin()


@pytest.mark.parametrize("n_targets", [1, 2, 7, 8, 100])
def test_each_row_is_searched_once_between_its_neighbours(n_targets, monkeypatch):
    x = np.sort(np.random.default_rng(0).standard_normal(100))
    sources, targets = np.arange(101), np.arange(101 - n_targets, 101)
    windows = {}

    def spy(value, source, target, left, right):
        found = _window_minima(value, source, target, left, right)
        for at, *window in zip(target[0], left, right, strict=True):
            row = int(at) - targets[0]
            assert row not in windows
            windows[row] = len(sweeps), *window
        sweeps.append(len(left))
        return found

    sweeps = []
    monkeypatch.setattr(monge, "_window_minima", spy)
    value = np.linspace(0.0, 50.0, 101)
    _, argument = cheapest_sources(value, moments(x, sources), moments(x, targets))

    assert len(windows) == n_targets
    assert len(sweeps) <= n_targets.bit_length()
    for row, (sweep, left, right) in windows.items():
        earlier = [other for other in windows if windows[other][0] < sweep]
        before = [argument[other] for other in earlier if other < row]
        after = [argument[other] for other in earlier if other > row]
        assert left == max(before, default=0)
        assert right == min(after, default=100)


def test_the_arguments_are_left_as_they_were():
    x, positions = lattice(1), np.arange(13)
    value, source, target = np.ones(13), moments(x, positions), moments(x, positions)
    copies = value.copy(), source.copy(), target.copy()

    cheapest_sources(value, source, target)

    for array, copy in zip((value, source, target), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("seed", range(5))
def test_sources_may_be_bounded(seed):
    """Blocks of points end to end: no cluster begins in another block."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 30, 6)
    blocks = [np.sort(rng.standard_normal(size)) for size in sizes]
    source = np.concatenate(
        [
            [np.arange(len(x) + 1), *(np.append(0, (x**p).cumsum()) for p in (1, 2))]
            for x in blocks
        ],
        axis=1,
    )
    value = rng.random(source.shape[1])
    first = np.append(0, np.cumsum(sizes + 1))[:-1]
    begin = np.repeat(first, sizes + 1)
    end = np.arange(source.shape[1])
    best, found = cheapest_sources(value, source, source, begin, end)
    for x, at in zip(blocks, first, strict=True):
        own = slice(at, at + len(x) + 1)
        alone, where = cheapest_sources(
            value[own], source[:, own], source[:, own], latest=np.arange(len(x) + 1)
        )
        np.testing.assert_allclose(best[own], alone)
        assert np.array_equal(found[own], at + where)
