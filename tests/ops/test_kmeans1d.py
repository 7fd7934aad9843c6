"""kmeans_1d is globally optimal, and says truly by how much it is not."""

import itertools

import kmeans1d
import numpy as np
import pytest
import torch

from sklc.ops import kmeans1d as ops
from sklc.ops import points, search
from sklc.ops.kmeans1d import Clustering, kmeans_1d


def remembered(oracle):
    """Compute each optimum once."""
    known = {}

    def wrapper(x, *options):
        key = x.tobytes(), *options
        if key not in known:
            known[key] = oracle(x, *options)
        return known[key]

    return wrapper


@remembered
def by_all_assignments(x, k, zero=False, max_nonzero=None):
    """Try every assignment of points to labels, of which 0 may be pinned at zero."""
    labels = np.array(
        list(itertools.product(range(min(k, len(x) + zero)), repeat=len(x)))
    )
    if max_nonzero is not None:
        labels = labels[(labels != 0).sum(axis=1) <= max_nonzero]
    total = np.zeros(len(labels))
    for label in range(labels.max() + 1):
        mask = labels == label
        count = np.maximum(mask.sum(axis=1), 1)
        mean = (mask * x).sum(axis=1) / count
        if zero and label == 0:
            mean[:] = 0.0
        total += (mask * (x - mean[:, None]) ** 2).sum(axis=1)
    return total.min()


@remembered
def by_dynamic_program(x, k, zero=False, max_nonzero=None):
    """Fill the whole table of the quadratic dynamic program."""
    x = np.sort(np.asarray(x, dtype=np.float64))
    n, shift = len(x), 0.0 if zero else x.mean()
    sums = np.concatenate([[0.0], np.cumsum(x - shift)])
    squares = np.concatenate([[0.0], np.cumsum((x - shift) ** 2)])
    count = np.arange(n + 1.0) - np.arange(n + 1.0)[:, None]
    pinned = squares - squares[:, None]
    free = pinned - (sums - sums[:, None]) ** 2 / np.maximum(count, 1)
    free[count < 0] = np.inf
    pinned = np.where(
        count < (0 if max_nonzero is None else n - max_nonzero), np.inf, pinned
    )
    before, beside = np.full(n + 1, np.inf), np.full(n + 1, np.inf)
    before[0] = 0.0  # without the zeros so far, and with them
    for _ in range(k - zero):
        if zero:
            beside = np.minimum(beside, (before[:, None] + pinned).min(axis=0))
            beside = np.minimum(beside, (beside[:, None] + free).min(axis=0))
        before = np.minimum(before, (before[:, None] + free).min(axis=0))
    if not zero:
        return before[n]
    return min(beside[n], (before[:, None] + pinned).min(axis=0)[n])


def sum_of_squares(x, zero=False):
    x = np.asarray(x, dtype=np.float64)
    return ((x - (0.0 if zero else x.mean())) ** 2).sum()


def distortion_of(x, found, zero=False):
    """Compute the distortion anew: every point goes to its nearest centre."""
    x, values = np.sort(np.asarray(x, dtype=np.float64)), found.centers.numpy()
    if found.zeros is not None:
        low, high, skip_low, skip_high = found.zeros
        start = np.searchsorted(x, low) + skip_low
        stop = np.searchsorted(x, high, side="right") - skip_high
        others = np.delete(x, np.arange(start, stop))
        errors = (
            (others[:, None] - values[None]) ** 2 if len(values) else others[:, None]
        )
        return (x[start:stop] ** 2).sum() + errors.min(axis=1).sum()
    values = np.append(values, 0.0) if zero else values
    return ((x[:, None] - values) ** 2).min(axis=1).sum()


SMALL = {
    "gaussian": np.random.default_rng(0).standard_normal(5),
    "heavy tailed": np.random.default_rng(1).standard_t(2, 5),
    "positive": np.random.default_rng(2).uniform(0.5, 3, 5),
    "negative": -np.random.default_rng(3).uniform(0.5, 3, 5),
    "ties": np.array([2.0, 1.0, 2.0, 3.0, 1.0]),
    "duplicates and zeros": np.array([0.0, 2.0, 0.0, -1.0, 2.0]),
    "symmetric": np.array([-2.0, -1.0, 0.0, 1.0, 2.0]),
    "all equal": np.full(5, 1.5),
    "all zero": np.zeros(5),
    "two values": np.array([1.0, -1.0, 1.0, 1.0, -1.0]),
    "far apart": np.array([-1e6, -1.0, 0.0, 2.0, 1e6]),
    "one": np.array([-0.7]),
    "two": np.array([3.0, -0.5]),
}
DTYPES = [torch.float64, torch.float32]


def check(x, k, found, optimum, zero=False, max_nonzero=None):
    rounding = 1e-12 * sum_of_squares(x, zero)
    assert found.centers.dtype == torch.float64
    assert found.centers.is_cpu
    assert len(found.centers) <= k - zero
    assert (found.centers.diff() > 0).all()
    assert found.distortion == pytest.approx(optimum, rel=0, abs=rounding)
    assert 0.0 <= found.excess <= rounding
    assert distortion_of(x, found, zero) == pytest.approx(
        found.distortion, rel=0, abs=rounding
    )
    if max_nonzero is not None and max_nonzero < len(x):
        check_zeros(x, max_nonzero, found)
    else:
        assert found.zeros is None


def check_zeros(x, max_nonzero, found):
    """The description holds at least so many zeros, and skips points that exist."""
    low, high, skip_low, skip_high = found.zeros
    ties_low, ties_high = (x == low).sum(), (x == high).sum()
    n_zeros = ((x >= low) & (x <= high)).sum() - skip_low - skip_high
    assert n_zeros >= len(x) - max_nonzero
    assert ties_low > 0 or n_zeros == 0 or low == 0.0
    if low == high:
        assert 0 <= skip_low + skip_high <= ties_low
    else:
        assert 0 <= skip_low < max(ties_low, 1)
        assert 0 <= skip_high < max(ties_high, 1)


@pytest.mark.parametrize("k", range(1, 7))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x", SMALL.values(), ids=SMALL)
def test_it_is_the_best_of_all_partitions(x, dtype, k, device):
    x = torch.tensor(x, dtype=dtype)
    found = kmeans_1d(x.to(device), k)
    x = x.double().numpy()
    check(x, k, found, by_all_assignments(x, k))


@pytest.mark.parametrize("k", range(1, 7))
@pytest.mark.parametrize("x", SMALL.values(), ids=SMALL)
def test_it_is_the_best_of_all_partitions_with_a_zero(x, k, device):
    found = kmeans_1d(torch.tensor(x, device=device), k, zero=True)
    check(x, k, found, by_all_assignments(x, k, True), zero=True)


@pytest.mark.parametrize("k", range(1, 6))
@pytest.mark.parametrize("x", SMALL.values(), ids=SMALL)
def test_it_is_the_best_of_all_partitions_with_enough_zeros(x, k, device):
    for max_nonzero in range(len(x) + 2):
        found = kmeans_1d(
            torch.tensor(x, device=device), k, zero=True, max_nonzero=max_nonzero
        )
        optimum = by_all_assignments(x, k, True, max_nonzero)
        check(x, k, found, optimum, True, max_nonzero)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("x", SMALL.values(), ids=SMALL)
def test_the_quadratic_dynamic_program_is_a_fair_referee(x, k):
    rounding = 1e-14 * sum_of_squares(x, zero=True)
    for options in ((), (True,), *((True, m) for m in range(len(x) + 1))):
        expected = by_all_assignments(x, k, *options)
        assert by_dynamic_program(x, k, *options) == pytest.approx(
            expected, rel=0, abs=rounding
        )


N = 3000
RNG = np.random.default_rng(7)
LARGE = {
    "gaussian": RNG.standard_normal(N),
    "heavy tailed": RNG.standard_t(2, N),
    "uniform": RNG.uniform(-1, 1, N),
    "lattice": RNG.integers(-20, 21, N) / 8,
    "few values, many ties": RNG.permutation(np.repeat(np.arange(30.0) ** 2, N // 30)),
    "offset": 1e6 + RNG.standard_normal(N),
    "tiny": 1e-20 * RNG.standard_normal(N),
    "huge": 1e15 * RNG.standard_normal(N),
    "two far lumps": np.concatenate(
        [RNG.normal(-1e4, 1, N // 2), RNG.normal(1e4, 1, N // 2)]
    ),
    "one outlier": np.append(RNG.standard_normal(N - 1), 1e5),
}


def by_library(x, k):
    """Take the clusters of an independent library, and compute what they cost."""
    x = (x - x.mean()) / x.std()
    labels = np.array(kmeans1d.cluster(x, k).clusters)
    parts = [x[labels == label] for label in range(k)]
    return sum(((part - part.mean()) ** 2).sum() for part in parts if len(part))


def check_against_library(x, k, device):
    found = kmeans_1d(x.to(device), k)
    x = x.double().cpu().numpy()
    check(x, k, found, by_library(x, k) * x.var())


@pytest.mark.parametrize("k", [2, 3, 16])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LARGE)
def test_it_agrees_with_an_independent_library(name, dtype, k, device):
    check_against_library(torch.tensor(LARGE[name], dtype=dtype), k, device)


@pytest.mark.parametrize("k", [2, 16])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["gaussian", "heavy tailed", "uniform", "lattice"])
def test_it_agrees_with_the_library_in_half_precision(name, dtype, k, device):
    check_against_library(torch.tensor(LARGE[name], dtype=dtype), k, device)


MEDIUM = {
    name: x[: N // 12] if name != "two far lumps" else x[::12]
    for name, x in LARGE.items()
}


@pytest.mark.parametrize("max_nonzero", [None, 0, 1, 37, 249, 250])
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("name", MEDIUM)
def test_a_pinned_zero_is_as_exact(name, k, max_nonzero, device):
    x = MEDIUM[name]
    found = kmeans_1d(
        torch.tensor(x, device=device), k, zero=True, max_nonzero=max_nonzero
    )
    optimum = by_dynamic_program(x, k, True, max_nonzero)
    check(x, k, found, optimum, True, max_nonzero)


# What follows makes the branch and bound work hard on few points.


@pytest.fixture
def small_search(monkeypatch):
    """Few ranges at the start, and none of the exactness that few points are given."""
    monkeypatch.setattr(ops, "EXACT_LIMIT", 0)
    monkeypatch.setattr(search, "_FIRST_RANGES", 64)
    monkeypatch.setattr(points, "_CHUNK", 10)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MEDIUM)
@pytest.mark.usefixtures("small_search")
def test_branch_and_bound_closes_on_the_optimum(name, dtype, k, device):
    x = torch.tensor(MEDIUM[name], dtype=dtype)
    found = kmeans_1d(x.to(device), k)
    x = x.double().numpy()
    check(x, k, found, by_dynamic_program(x, k))


@pytest.mark.parametrize("max_nonzero", [None, 0, 1, 37, 249])
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("name", MEDIUM)
@pytest.mark.usefixtures("small_search")
def test_branch_and_bound_closes_with_a_pinned_zero(name, k, max_nonzero, device):
    x = MEDIUM[name]
    found = kmeans_1d(
        torch.tensor(x, device=device), k, zero=True, max_nonzero=max_nonzero
    )
    optimum = by_dynamic_program(x, k, True, max_nonzero)
    check(x, k, found, optimum, True, max_nonzero)


@pytest.mark.parametrize("limit", [1, 1000])
@pytest.mark.parametrize("options", [(), (True,), (True, 100)], ids=str)
@pytest.mark.parametrize("k", [2, 5, 12])
@pytest.mark.parametrize("name", MEDIUM)
@pytest.mark.usefixtures("small_search")
def test_the_excess_is_a_true_bound_where_the_search_stops(name, k, options, limit):
    x = MEDIUM[name]
    names = dict(zip(["zero", "max_nonzero"], options, strict=False))
    found = kmeans_1d(torch.tensor(x), k, limit=limit, **names)

    zero = bool(options)
    optimum = by_dynamic_program(x, k, *options)
    rounding = 1e-12 * sum_of_squares(x, zero)
    assert 0.0 <= found.excess <= found.distortion
    assert found.distortion - found.excess <= optimum + rounding
    assert optimum <= found.distortion + rounding
    assert distortion_of(x, found, zero) <= found.distortion + rounding


@pytest.mark.parametrize(("k", "zero"), [(2, False), (4, False), (2, True)])
def test_a_tenth_of_the_positions_is_enough_for_gaussian_points(k, zero):
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(20000))
    found = kmeans_1d(x, k, zero=zero, limit=8000)  # of 20000 k or 40000 k
    assert found.excess <= 1e-12 * sum_of_squares(x)


@pytest.mark.usefixtures("small_search")
def test_a_search_that_stops_early_says_so():
    x = MEDIUM["heavy tailed"]
    stopped = kmeans_1d(torch.tensor(x), 5, limit=1)
    ended = kmeans_1d(torch.tensor(x), 5)

    assert stopped.excess > 0.01 * stopped.distortion
    assert ended.excess <= 1e-12 * sum_of_squares(x)


@pytest.mark.parametrize("options", [(), (True,), (True, 100)], ids=str)
@pytest.mark.parametrize("limit", [1, None])
@pytest.mark.parametrize("name", ["heavy tailed", "offset", "one outlier"])
@pytest.mark.usefixtures("small_search")
def test_it_is_never_worse_than_its_start(name, limit, options):
    x = torch.tensor(MEDIUM[name])
    names = dict(zip(["zero", "max_nonzero"], options, strict=False))
    best = kmeans_1d(x, 6, **names)
    start = best.centers.flip(0)

    found = kmeans_1d(x, 6, start=start, limit=limit, **names)

    rounding = 1e-12 * sum_of_squares(x, bool(options))
    assert found.distortion <= best.distortion + rounding


# ---- where sums of squares are not exact enough ----


def errors(x, clustering, zero=False):
    """Return the squared error of a clustering, in the best precision there is."""
    centers = np.append(clustering.centers.numpy(), [0.0] * zero).astype(np.longdouble)
    away = np.abs(np.asarray(x, dtype=np.longdouble)[:, None] - centers).min(1)
    return float((away**2).sum())


def least_error(x, k):
    """Return the least squared error, by a dynamic program over all clusters."""
    x = np.sort(np.asarray(x, dtype=np.longdouble))
    n = len(x)
    cost = np.zeros((n + 1, n + 1), dtype=np.longdouble)
    for p in range(n):
        for q in range(p + 1, n + 1):
            cost[p, q] = ((x[p:q] - x[p:q].mean()) ** 2).sum()
    best = np.append(np.longdouble(0), np.full(n, np.inf, dtype=np.longdouble))
    for _ in range(k):
        best = np.array(
            [(best[: q + 1] + cost[: q + 1, q]).min() for q in range(n + 1)]
        )
    return float(best[n])


def hard(name):
    rng = np.random.default_rng(0)
    normal = rng.standard_normal(39)
    return {
        "an outlier": np.append(normal, -1e8),
        "a distant outlier": np.append(normal, 1e15),
        "outliers on both sides": np.append(normal, [-1e9, 1e7, 1.1e7]),
        "tight clusters": np.where(normal > 0, 1.0, -1.0) + 1e-8 * normal,
        "far from zero": 1e7 + normal,
        "many scales": np.exp(np.linspace(-40, 40, 40)),
        "tiny": 1e-200 * normal,
        "huge": 1e200 * normal,
    }[name]


HARD = (
    "an outlier",
    "a distant outlier",
    "outliers on both sides",
    "tight clusters",
    "far from zero",
    "many scales",
    "tiny",
    "huge",
)


@pytest.mark.parametrize("k", [2, 3, 7, 35])
@pytest.mark.parametrize("name", HARD)
def test_the_optimum_does_not_drown_in_rounding(name, k):
    x = hard(name)
    unit = 1.0 if name not in ("tiny", "huge") else np.abs(x).max()
    found = kmeans_1d(torch.tensor(x), k)
    optimum = least_error(x / unit, k)
    error = errors(x / unit, found) if unit == 1.0 else None
    if unit != 1.0:
        scaled = Clustering(found.centers / unit, 0.0, 0.0)
        error = errors(x / unit, scaled)
    assert error <= optimum * (1 + 1e-8)
    if unit == 1.0:
        assert found.distortion == pytest.approx(error, rel=1e-8)
        assert found.distortion - found.excess <= optimum * (1 + 1e-9)
        assert found.excess <= 1e-6 * optimum


@pytest.mark.parametrize("name", HARD[:5])
@pytest.mark.parametrize("limit", [None, 10])
@pytest.mark.parametrize("zero", [False, True])
def test_a_warm_start_is_not_lost_in_rounding(name, limit, zero, monkeypatch):
    x = hard(name)
    best = kmeans_1d(torch.tensor(x), 5, zero=zero)
    if limit:
        monkeypatch.setattr(ops, "EXACT_LIMIT", limit)
    for start in best.centers, best.centers + 0.01:
        clustering = Clustering(start, 0.0, 0.0)
        found = kmeans_1d(torch.tensor(x), 5, zero=zero, start=start)
        error = errors(x, found, zero)
        assert error <= errors(x, clustering, zero) * (1 + 1e-9)
        assert found.distortion == pytest.approx(error, rel=1e-8)


@pytest.mark.parametrize("unit", [2.0**-320, 2.0**320])
@pytest.mark.parametrize("limit", [10, 1000])
def test_the_unit_of_the_numbers_does_not_matter(unit, limit):
    x = torch.tensor(MEDIUM["heavy tailed"])
    expected = kmeans_1d(x, 5, limit=limit)
    found = kmeans_1d(x * unit, 5, limit=limit)
    assert torch.equal(found.centers, expected.centers * unit)
    assert found.distortion == expected.distortion * unit * unit
    assert found.excess == expected.excess * unit * unit


@pytest.mark.parametrize("unit", [2.0**-320, 2.0**320])
def test_the_unit_of_a_start_is_that_of_the_numbers(unit, monkeypatch):
    lumps = np.array([[-10.0], [0.0], [10.0]])
    lumps = lumps + np.random.default_rng(0).uniform(-1, 1, 50)
    x = torch.tensor(lumps.ravel())
    monkeypatch.setattr(ops, "EXACT_LIMIT", 0)
    monkeypatch.setattr(search.Search, "best_of_grid", lambda *_: np.zeros(1))
    start = torch.tensor([-10.5, -9.5, 5.0], dtype=torch.float64)
    expected = kmeans_1d(x, 3, start=start)
    found = kmeans_1d(x * unit, 3, start=start * unit)
    assert expected.distortion > 10 * kmeans_1d(x, 3).distortion
    assert torch.equal(found.centers, expected.centers * unit)


@pytest.mark.parametrize("unit", [1e-200, 0.1, 1e200])
@pytest.mark.parametrize("zero", [False, True])
def test_no_more_values_than_centres_are_returned_as_they_are(unit, zero):
    values = torch.tensor([-0.3, 0.1, 0.7], dtype=torch.float64) * unit
    x = values[torch.arange(70) % 3]
    found = kmeans_1d(x, 3 + zero, zero=zero)
    assert torch.equal(found.centers, values)
    assert found.distortion == found.excess == 0.0


def test_where_no_gap_is_long_the_certificate_counts_the_rounding():
    """Evenly spaced: one cluster of two, and the others of one point."""
    n = 1000
    x = torch.arange(float(n), dtype=torch.float64) + 0.1
    found = kmeans_1d(x, n - 1)
    assert found.distortion == pytest.approx(0.5)
    assert 1e-13 * sum_of_squares(x) <= found.excess <= 1e-4


@pytest.mark.parametrize("n_zeros", [0, 20])
@pytest.mark.parametrize(
    ("far", "near"), [([-1e8], [-200.0]), ([-1e9, 1e7, 1.1e7], [-200.0, 100.0, 150.0])]
)
def test_an_outlier_does_not_change_what_is_pruned(far, near, n_zeros):
    """Far away, it is a cluster of its own, wherever it is."""
    normal = np.random.default_rng(0).standard_normal(39)
    options = {"zero": True, "max_nonzero": 39 + len(far) - n_zeros}
    found, expected = (
        kmeans_1d(torch.tensor(np.append(normal, others)), 7, **options)
        for others in (far, near)
    )
    inner = [c.centers[c.centers.abs() < 50] for c in (found, expected)]
    torch.testing.assert_close(*inner, rtol=1e-9, atol=0.0)
    assert found.zeros == expected.zeros


@pytest.mark.parametrize("limit", [None, 10])
def test_beyond_the_limit_outliers_do_not_drown_the_others_either(limit, monkeypatch):
    """In buckets, too: float32, a warm start, more positions than the limit."""
    x = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    x[7] = 1e12
    start = kmeans_1d(x, 5).centers
    if limit:
        monkeypatch.setattr(ops, "EXACT_LIMIT", limit)
    found = kmeans_1d(x, 5, start=start)
    assert errors(x, found) <= errors(x, Clustering(start, 0.0, 0.0)) * (1 + 1e-9)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_zeros_are_those_of_the_numbers_as_they_are(scale):
    x = torch.tensor([1, 1.1, 2, 2.1, 3, 9.0], dtype=torch.float64) * scale
    found = kmeans_1d(x, 3, zero=True, max_nonzero=2)
    assert found.zeros == (float(x[0]), float(x[3]), 0, 0)
    torch.testing.assert_close(found.centers, x[4:], rtol=1e-15, atol=0.0)
    values = [0.0, scale]
    few = kmeans_1d(torch.tensor(values, dtype=torch.float64), 2, zero=True)
    assert few.centers.tolist() == [scale]
