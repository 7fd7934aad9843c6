"""Projections onto the l0 and l1 balls, against their definitions."""

import itertools
import math

import numpy as np
import pytest
import torch
from elsewhere import PLACES

from sklc.ops.projections import l1_threshold, largest

everywhere = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
ROWS = {
    "distinct": [[3.0, -1.0, 0.5, 2.0, -4.0]],
    "ties": [[1.0, -1.0, 1.0, 1.0, -1.0]],
    "tied boundary": [[2.0, 1.0, -1.0, 1.0, 3.0]],
    "zeros": [[0.0, 0.0, -2.0, 0.0, 1.0]],
    "all zero": [[0.0, -0.0, 0.0, 0.0, 0.0]],
    "ties beside zeros": [[1.0, 1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0]],
    "many rows": [
        [1.0, 1.0, 1.0, 0.0, 0.0],
        [5.0, -4.0, 3.0, -2.0, 1.0],
        [0.0, 0.0, 0.0, 0.0, 9.0],
        [2.0, 2.0, -2.0, 2.0, 1.0],
    ],
}


def first_largest(row, k):
    """Take the largest in magnitude one by one, the first of equals, never a zero."""
    order = sorted(range(len(row)), key=lambda at: (-abs(row[at]), at))[:k]
    return [at in order and row[at] != 0 for at in range(len(row))]


@everywhere
@pytest.mark.parametrize("k", range(6))
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_largest_takes_k_of_each_row_and_the_first_of_equals(
    rows, k, dtype, device, place
):
    x = place(torch.tensor(rows, dtype=dtype, device=device))
    before = x.clone()

    mask = largest(x, k)

    assert mask.tolist() == [first_largest(row, k) for row in rows]
    assert mask.dtype == torch.bool
    assert mask.device == x.device
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_largest_counts_denormal_numbers_as_no_zeros(dtype, device):
    tiny = torch.finfo(dtype).smallest_normal / 4
    x = torch.tensor([[0.0, tiny, 0.0, -tiny]], dtype=dtype, device=device)

    assert largest(x, 1).tolist() == [[False, True, False, False]]
    assert largest(x, 3).tolist() == [[False, True, False, True]]
    assert largest(x, 4).tolist() == [[False, True, False, True]]


@pytest.mark.parametrize("k", [1, 100, 499, 500])
def test_largest_leaves_the_least_error_of_all_supports(k):
    x = torch.from_numpy(np.random.default_rng(k).standard_normal((3, 500)))
    mask = largest(x, k)

    assert mask.sum(1).tolist() == [k] * 3
    for row, kept in zip(x.abs(), mask, strict=True):
        lost = row[~kept]
        assert not len(lost) or row[kept].min() >= lost.max()


def threshold_by_sorting(v, radius):
    """Solve for the shift in the textbook way (Duchi et al. 2008)."""
    v = np.sort(np.asarray(v, dtype=np.float64))[::-1]
    shift = (np.cumsum(v) - radius) / np.arange(1, len(v) + 1)
    size = np.flatnonzero(v > shift)[-1] + 1
    return (math.fsum(v[:size]) - radius) / size


MAGNITUDES = {
    "gaussian": np.abs(np.random.default_rng(0).standard_normal(1000)),
    "heavy tailed": np.abs(np.random.default_rng(1).standard_t(2, 1000)),
    "uniform": np.random.default_rng(2).uniform(size=1000),
    "one": np.array([3.0]),
    "sparse": np.array([0.0, 5.0, 0.0, 1.0, 0.0]),
    "integers": np.array([1.0, 2.0, 2.0, 3.0, 3.0, 3.0]),
    "geometric": 2.0 ** np.arange(12),  # Newton's method drops one entry at a time
}


@everywhere
@pytest.mark.parametrize("fraction", [1e-6, 0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("v", MAGNITUDES.values(), ids=MAGNITUDES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_l1_threshold_solves_its_equation(v, fraction, dtype, device, place):
    v = place(torch.tensor(v, dtype=dtype, device=device))
    radius = fraction * float(v.double().sum())
    rounding = 4 * torch.finfo(torch.float64).eps * float(v.max())  # in any dtype

    t = l1_threshold(v, radius)

    assert t > 0
    exact = threshold_by_sorting(v.double().tolist(), radius)
    assert t == pytest.approx(exact, abs=rounding)
    total = float((v.double() - t).clamp(min=0).sum())
    assert total == pytest.approx(radius, abs=rounding * len(v))


@pytest.mark.parametrize("v", MAGNITUDES.values(), ids=MAGNITUDES)
def test_l1_threshold_is_zero_within_the_ball(v, device):
    v = torch.tensor(v, device=device)
    total = float(v.sum(dtype=torch.float64))

    assert l1_threshold(v, total) == 0.0
    assert l1_threshold(v, 2 * total) == 0.0
    assert l1_threshold(torch.zeros_like(v), 0.0) == 0.0


@pytest.mark.parametrize("v", MAGNITUDES.values(), ids=MAGNITUDES)
def test_l1_threshold_of_radius_zero_is_the_largest_magnitude(v, device):
    v = torch.tensor(v, device=device)
    assert l1_threshold(v, 0.0) == float(v.max())


@pytest.mark.parametrize("n", [1, 2, 3, 1000])
@pytest.mark.parametrize("value", [1.0, 0.1, 1e-30])
def test_equal_magnitudes_share_the_radius(n, value):
    v = torch.full((n,), value, dtype=torch.float64)
    radius = n * value / 4
    assert l1_threshold(v, radius) == pytest.approx(0.75 * value, rel=1e-13)


def test_a_radius_lost_in_rounding_prunes_everything():
    v = torch.full((3,), 1.0, dtype=torch.float64)
    t = l1_threshold(v, 1e-30)
    assert t == 1.0


def test_the_exact_threshold_of_small_integers():
    v = torch.tensor([4.0, 1.0, 3.0])
    radii = {7.0: 1 / 3, 5.0: 1.0, 3.0: 2.0, 1.0: 3.0, 0.5: 3.5}
    for radius, expected in radii.items():
        assert l1_threshold(v, radius) == pytest.approx(expected, rel=1e-15)


def test_the_projection_is_nearer_than_other_points_of_the_ball():
    v = np.array([1.5, 0.2, 2.5, 0.9])
    t = l1_threshold(torch.from_numpy(v), 2.0)
    projected = np.maximum(v - t, 0.0)
    grid = np.linspace(0.0, 2.0, 21)
    others = np.array(
        [point for point in itertools.product(grid, repeat=4) if sum(point) <= 2.0]
    )
    error = ((v - projected) ** 2).sum()
    assert error <= ((v - others) ** 2).sum(axis=1).min()
