"""Projections onto the l0 and l1 balls, against their definitions."""

import itertools
import math

import numpy as np
import pytest
import torch

from sklc.ops.projections import (
    l1_threshold,
    largest,
    shrink,
    ternary_scale,
    top,
)

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


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_largest_takes_k_of_each_row_and_the_first_of_equals(rows, dtype, device):
    x = torch.tensor(rows, dtype=dtype, device=device)
    before = x.clone()
    for k in range(6):
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


def threshold(v, radius):
    """Return the threshold of a single row."""
    found = l1_threshold(v.reshape(1, -1), radius)
    assert found.shape == (1, 1)
    assert found.dtype == torch.float64
    assert found.device == v.device
    return found.item()


MAGNITUDES = {
    "gaussian": np.abs(np.random.default_rng(0).standard_normal(1000)),
    "heavy tailed": np.abs(np.random.default_rng(1).standard_t(2, 1000)),
    "uniform": np.random.default_rng(2).uniform(size=1000),
    "one": np.array([3.0]),
    "sparse": np.array([0.0, 5.0, 0.0, 1.0, 0.0]),
    "integers": np.array([1.0, 2.0, 2.0, 3.0, 3.0, 3.0]),
    "geometric": 2.0 ** np.arange(12),
}


@pytest.mark.parametrize("v", MAGNITUDES.values(), ids=MAGNITUDES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_l1_threshold_solves_its_equation(v, dtype, device):
    v = torch.tensor(v, dtype=dtype, device=device)
    rounding = 4 * torch.finfo(torch.float64).eps * float(v.max())  # in any dtype
    for fraction in 1e-6, 0.01, 0.3, 0.9, 0.999:
        radius = fraction * float(v.double().sum())

        t = threshold(v, radius)

        assert t > 0
        exact = threshold_by_sorting(v.double().tolist(), radius)
        assert t == pytest.approx(exact, abs=rounding)
        total = float((v.double() - t).clamp(min=0).sum())
        assert total == pytest.approx(radius, abs=rounding * len(v))


@pytest.mark.parametrize("v", MAGNITUDES.values(), ids=MAGNITUDES)
def test_l1_threshold_is_zero_within_the_ball(v, device):
    v = torch.tensor(v, device=device)
    total = float(v.sum(dtype=torch.float64))

    assert threshold(v, total) == 0.0
    assert threshold(v, 2 * total) == 0.0
    assert threshold(torch.zeros_like(v), 0.0) == 0.0


@pytest.mark.parametrize("v", MAGNITUDES.values(), ids=MAGNITUDES)
def test_l1_threshold_of_radius_zero_is_the_largest_magnitude(v, device):
    v = torch.tensor(v, device=device)
    assert threshold(v, 0.0) == float(v.max())


@pytest.mark.parametrize("n", [1, 2, 3, 1000])
@pytest.mark.parametrize("value", [1.0, 0.1, 1e-30])
def test_equal_magnitudes_share_the_radius(n, value, device):
    v = torch.full((n,), value, dtype=torch.float64, device=device)
    radius = n * value / 4
    assert threshold(v, radius) == pytest.approx(0.75 * value, rel=1e-13)


def test_a_radius_lost_in_rounding_prunes_everything(device):
    v = torch.full((3,), 1.0, dtype=torch.float64, device=device)
    assert threshold(v, 1e-30) == 1.0


def test_the_exact_threshold_of_small_integers(device):
    v = torch.tensor([4.0, -1.0, 3.0], device=device)
    radii = {7.0: 1 / 3, 5.0: 1.0, 3.0: 2.0, 1.0: 3.0, 0.5: 3.5}
    for radius, expected in radii.items():
        assert threshold(v, radius) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("n", [1, 3, 100, 20_000])
def test_every_row_has_the_threshold_that_it_has_alone(n, device):
    rows = torch.randn(7, n, dtype=torch.float64)
    rows[3] *= 0.01  # within the ball
    rows[5] = 0.0
    radius = 0.2 * n
    alone = [threshold(row, radius) for row in rows]
    found = l1_threshold(rows.to(device), radius)
    assert found.shape == (7, 1)
    assert found.squeeze(1).tolist() == pytest.approx(alone, rel=1e-13)
    assert found[3].item() == found[5].item() == 0.0


def test_the_projection_is_nearer_than_other_points_of_the_ball():
    v = np.array([1.5, 0.2, 2.5, 0.9])
    t = threshold(torch.from_numpy(v), 2.0)
    projected = np.maximum(v - t, 0.0)
    grid = np.linspace(0.0, 2.0, 21)
    others = np.array(
        [point for point in itertools.product(grid, repeat=4) if sum(point) <= 2.0]
    )
    error = ((v - projected) ** 2).sum()
    assert error <= ((v - others) ** 2).sum(axis=1).min()


# ---- many numbers ----

MANY = 20_000
DRAWS = {
    "gaussian": np.random.default_rng(3).standard_normal(MANY),
    "heavy tailed": np.random.default_rng(4).standard_t(1, MANY),
    "few values": np.random.default_rng(5).integers(-3, 4, MANY).astype(float),
    "increasing": np.linspace(0.5, 1.5, MANY),
    "mostly zeros": np.where(np.arange(MANY) % 100, 0.0, np.arange(MANY) + 1.0),
}


@pytest.mark.parametrize("x", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_top_is_the_largest_and_where_they_are(x, dtype, device):
    rows = torch.tensor(x, dtype=dtype, device=device).reshape(1, -1)
    for k in 0, 1, 199, 5000, 19_000, MANY:
        mask = largest(rows, k)[0]
        values, positions = top(rows, k)
        assert torch.equal(positions.long(), mask.nonzero().squeeze(1))
        assert torch.equal(values, rows[0][mask])
        assert positions.dtype == torch.int32
        assert values.dtype == dtype


def test_top_lays_rows_end_to_end(device):
    rows = torch.tensor([[1.0, -3.0, 2.0], [0.0, 5.0, 0.0]], device=device)
    values, positions = top(rows, 2)
    assert values.tolist() == [-3.0, 2.0, 5.0]
    assert positions.tolist() == [1, 2, 4]


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("x", DRAWS.values(), ids=DRAWS)
def test_l1_threshold_of_many(x, fraction, device):
    v = torch.tensor(x, device=device)
    radius = fraction * float(v.abs().sum())
    exact = threshold_by_sorting(np.abs(x), radius)
    assert threshold(v, radius) == pytest.approx(exact, rel=1e-12)


# ---- shrinking ----


@pytest.mark.parametrize("shape", [(1, 0), (1, 1), (5, 1), (3, 7), (2, 20_000)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_shrink_lowers_magnitudes(shape, dtype, device):
    x = torch.linspace(-2, 3, math.prod(shape), dtype=torch.float64).reshape(shape)
    x = x.to(device, dtype)
    before = x.clone()
    found = shrink(x, 0.75)
    expected = x.double().sign() * (x.double().abs() - 0.75).clamp(min=0)
    assert found.dtype == dtype
    assert found.device == x.device
    assert torch.equal(found, expected.to(dtype))
    assert torch.equal(x, before)
    assert torch.equal(shrink(x, 0.0), x)


@pytest.mark.parametrize("n", [1, 7, 20_000])
def test_every_row_is_shrunk_by_its_own_threshold(n, device):
    x = torch.randn(4, n, dtype=torch.float64)
    thresholds = torch.tensor([[0.0], [0.5], [1e9], [0.1]], dtype=torch.float64)
    found = shrink(x.to(device), thresholds.to(device))
    for row, shrunk, limit in zip(x, found, thresholds, strict=True):
        expected = row.sign() * (row.abs() - limit).clamp(min=0)
        assert shrunk.tolist() == expected.tolist()


@pytest.mark.parametrize("n", [5, 20_000])
def test_shrink_scales_what_would_leave_the_ball(n, device):
    x = torch.linspace(-2, 3, n, dtype=torch.float64, device=device).reshape(1, -1)
    norm = float(shrink(x, 0.75).abs().sum())
    inside = shrink(x, 0.75, radius=1.01 * norm)
    assert torch.equal(inside, shrink(x, 0.75))
    scaled = shrink(x, 0.75, radius=0.5 * norm)
    torch.testing.assert_close(scaled, inside / 2, rtol=1e-14, atol=0)
    assert torch.equal(shrink(x, 0.0, radius=0.5 * norm), x)  # nothing was shrunk
    both = shrink(torch.cat([x, x / 10]), 0.01, radius=0.5 * norm)
    assert torch.equal(both[1:], shrink(x / 10, 0.01))  # within the ball
    assert both[0].abs().sum().item() == pytest.approx(0.5 * norm)


# ---- the scale of ternary weights ----


def best_scale(row):
    """Return the mean of the best support of all sizes, by its definition."""
    v = np.sort(np.abs(np.asarray(row, dtype=np.float64)))[::-1]
    means = np.cumsum(v) / np.arange(1, len(v) + 1)
    errors = [((v - np.where(v > m / 2, m, 0)) ** 2).sum() for m in means]
    return means[np.argmin(errors)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_the_ternary_scale_has_the_least_error(n, dtype, device):
    rows = torch.from_numpy(np.random.default_rng(n).standard_t(3, (4, n)))
    rows = rows.to(device, dtype)
    scale = ternary_scale(rows)
    assert scale.shape == (4, 1)
    assert scale.dtype == torch.float64
    expected = [best_scale(row) for row in rows.tolist()]
    assert scale.squeeze(1).tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rows", [[[0.0, -0.0]], [[2.0, 2.0, -2.0]], [[-5.0]]])
def test_the_ternary_scale_of_equal_magnitudes_is_theirs(rows, device):
    scale = ternary_scale(torch.tensor(rows, device=device))
    assert scale.tolist() == [[abs(rows[0][0])]]


@pytest.mark.parametrize("row", DRAWS.values(), ids=DRAWS)
def test_the_ternary_scale_of_many(row, device):
    found = ternary_scale(torch.tensor(row, device=device).reshape(1, -1))
    assert found.item() == pytest.approx(best_scale_of_many(np.abs(row)), rel=1e-12)


def test_top_of_very_many():
    row = np.zeros(300_000)
    row[::1000] = np.arange(1, 301)
    values, positions = top(torch.tensor(row).reshape(1, -1), 10)
    assert values.tolist() == [*range(291, 301)]
    assert positions.tolist() == [1000 * at for at in range(290, 300)]


# ---- many rows ----


@pytest.mark.parametrize("shape", [(4000, 9), (5, 9000), (3, 40_000)], ids=str)
def test_every_row_is_projected_as_it_is_alone(shape, device):
    rows = torch.randn(shape, dtype=torch.float64)
    rows[1::3] *= 0.01
    n = shape[1]
    moved = rows.to(device)
    found = {
        "largest": largest(moved, n // 3).sum(1),
        "threshold": l1_threshold(moved, 0.1 * n).squeeze(1),
        "shrunk": shrink(moved, l1_threshold(moved, 0.1 * n), 0.1 * n).abs().sum(1),
        "scale": ternary_scale(moved).squeeze(1),
    }
    for at in 0, 1, 2, shape[0] // 2, shape[0] - 1:
        magnitude = rows[at].abs().numpy()
        norm = magnitude.sum()
        inside = norm <= 0.1 * n
        exact = 0.0 if inside else threshold_by_sorting(magnitude, 0.1 * n)
        assert found["largest"][at].item() == n // 3
        assert found["threshold"][at].item() == pytest.approx(exact, rel=1e-12)
        assert found["shrunk"][at].item() == pytest.approx(min(norm, 0.1 * n))
        assert found["scale"][at].item() == pytest.approx(best_scale_of_many(magnitude))


def best_scale_of_many(magnitude):
    total = np.cumsum(np.sort(magnitude)[::-1])
    count = np.arange(1.0, len(magnitude) + 1)
    at = (total**2 / count).argmax()
    return total[at] / count[at]
