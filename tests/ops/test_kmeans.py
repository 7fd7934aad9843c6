"""Every row is clustered optimally, or it is truly said by how much it is not."""

import itertools

import kmeans1d
import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from sklc.ops import kmeans as ops
from sklc.ops.kmeans import EXACT_LIMIT, kmeans

RNG = np.random.default_rng(7)
N = 240


def by_all_assignments(x, k, zero=False, max_nonzero=None):
    """Try every assignment of points to labels, of which 0 may be pinned at zero."""
    choices = range(min(k, len(x) + zero))
    labels = np.array(list(itertools.product(choices, repeat=len(x))))
    if max_nonzero is not None:
        labels = labels[(labels != 0).sum(axis=1) <= max_nonzero]
    total = np.zeros(len(labels))
    for label in choices:
        mask = labels == label
        mean = (mask * x).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)
        if zero and label == 0:
            mean[:] = 0.0
        total += (mask * (x - mean[:, None]) ** 2).sum(axis=1)
    return total.min()


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
    n_zeros = 0 if max_nonzero is None else max(0, n - max_nonzero)
    pinned = np.where(count < n_zeros, np.inf, pinned)
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


def error_of(x, found, row, zero=False):
    """Compute the squared error anew: every point goes to its nearest centre."""
    x, values = np.sort(np.asarray(x, dtype=np.float64)), found.centers[row].numpy()
    if found.zeros is None:
        values = np.append(values, 0.0) if zero else values
        return ((x[:, None] - values) ** 2).min(axis=1).sum()
    start, stop = zeros_of(x, found.zeros, row)
    others = np.delete(x, np.arange(start, stop))
    away = others[:, None] - values if len(values) else others[:, None]
    return (x[start:stop] ** 2).sum() + (away**2).min(axis=1).sum()


def zeros_of(x, zeros, row):
    """Return where the zeros of a sorted row begin and end."""
    start = np.searchsorted(x, zeros.low[row]) + zeros.skip_low[row]
    stop = np.searchsorted(x, zeros.high[row], "right") - zeros.skip_high[row]
    return start, stop


def sum_of_squares(x, zero):
    return ((x - (0.0 if zero else x.mean())) ** 2).sum()


def check(rows, k, found, oracle, zero=False, max_nonzero=None):
    """Compare each row with its optimum."""
    for at, row in enumerate(rows):
        x = row.double().cpu().numpy()
        optimum = oracle(x, k, zero, max_nonzero)
        rounding = 1e-12 * sum_of_squares(x, zero)
        assert found.distortion[at] == pytest.approx(optimum, rel=1e-9, abs=rounding)
        assert error_of(x, found, at, zero) <= found.distortion[at] + rounding
        assert 0.0 <= found.excess[at] <= 10 * rounding
        if max_nonzero is not None and max_nonzero < len(x):
            start, stop = zeros_of(np.sort(x), found.zeros, at)
            assert stop - start >= len(x) - max_nonzero
    assert found.centers.dtype == torch.float64
    assert found.centers.is_cpu
    assert found.centers.shape[1] <= k - zero
    assert (found.centers.diff() >= 0).all()


SMALL = torch.tensor(
    np.array(
        [
            np.random.default_rng(0).standard_normal(5),
            np.random.default_rng(1).standard_t(2, 5),
            np.random.default_rng(2).uniform(0.5, 3, 5),
            -np.random.default_rng(3).uniform(0.5, 3, 5),
            [2.0, 1.0, 2.0, 3.0, 1.0],
            [0.0, 2.0, 0.0, -1.0, 2.0],
            [-2.0, -1.0, 0.0, 1.0, 2.0],
            [1.5] * 5,
            [0.0] * 5,
            [1.0, -1.0, 1.0, 1.0, -1.0],
            [-1e6, -1.0, 0.0, 2.0, 1e6],
        ]
    )
)
BUDGETS = [(False, None), *((True, budget) for budget in (None, 0, 1, 2, 4, 5, 6))]


@pytest.mark.parametrize("k", range(1, 7))
@pytest.mark.parametrize(("zero", "max_nonzero"), BUDGETS)
def test_it_is_the_best_of_all_partitions(k, zero, max_nonzero, device):
    found = kmeans(SMALL.to(device), k, zero=zero, max_nonzero=max_nonzero)
    check(SMALL, k, found, by_all_assignments, zero, max_nonzero)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize(("zero", "max_nonzero"), BUDGETS[:5])
def test_few_points_are_no_special_case(n, zero, max_nonzero):
    for k in (1, 2, 4):
        rows = SMALL[:, :n]
        found = kmeans(rows, k, zero=zero, max_nonzero=max_nonzero)
        check(rows, k, found, by_all_assignments, zero, max_nonzero)


def draws():
    rng = np.random.default_rng(7)
    lumps = np.where(rng.random(N) < 0.5, -10, 10)
    return {
        "gaussian": rng.standard_normal(N),
        "heavy tailed": rng.standard_t(2, N),
        "uniform": rng.uniform(-1, 1, N),
        "lattice": rng.integers(-20, 21, N) / 8,
        "many ties": rng.permutation(np.resize(np.arange(30.0) ** 2, N)),
        "offset": 1e3 + rng.standard_normal(N),
        "tiny": 1e-20 * rng.standard_normal(N),
        "huge": 1e15 * rng.standard_normal(N),
        "two lumps": lumps + rng.standard_normal(N),
        "positive": np.abs(rng.standard_normal(N)),
        "mostly zeros": np.where(rng.random(N) < 0.6, 0.0, rng.standard_normal(N)),
        "an outlier": np.append(rng.standard_normal(N - 1), 1e4),
    }


ROWS = torch.tensor(np.array(list(draws().values())))


@pytest.mark.parametrize("k", [1, 2, 3, 5, 12])
@pytest.mark.parametrize(
    ("zero", "max_nonzero"),
    [(False, None), (True, None), (True, 0), (True, 1), (True, 37), (True, 239)],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_row_is_as_good_as_the_whole_table(k, zero, max_nonzero, dtype, device):
    rows = ROWS.to(dtype)
    found = kmeans(rows.to(device), k, zero=zero, max_nonzero=max_nonzero)
    check(rows, k, found, by_dynamic_program, zero, max_nonzero)


@pytest.mark.parametrize("k", [2, 16])
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16]
)
@pytest.mark.parametrize("draw", ["standard_normal", "uniform", "standard_cauchy"])
def test_it_agrees_with_an_independent_library(draw, dtype, k, device):
    x = getattr(np.random.default_rng(3), draw)(size=3000).clip(-1e3, 1e3)
    row = torch.tensor(x).to(dtype)[None]
    found = kmeans(row.to(device), k)
    x = row[0].double().numpy()
    labels = np.array(kmeans1d.cluster(x, k).clusters)
    parts = [x[labels == label] for label in range(k)]
    expected = sum(((part - part.mean()) ** 2).sum() for part in parts if len(part))
    assert found.distortion[0] == pytest.approx(expected, rel=1e-9)
    assert found.excess[0] <= 1e-9 * expected


@pytest.mark.parametrize(
    "options", [{}, {"zero": True}, {"zero": True, "max_nonzero": 90}]
)
def test_rows_do_not_know_of_each_other(options):
    found = kmeans(ROWS, 4, **options)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(ROWS)))
    turned = kmeans(ROWS[order], 4, **options)
    for at, row in enumerate(ROWS):
        alone = kmeans(row[None], 4, **options)
        there = int((order == at).nonzero())
        for other, place in (alone, 0), (turned, there):
            assert other.distortion[place] == pytest.approx(found.distortion[at])
            width = other.centers.shape[1]
            torch.testing.assert_close(other.centers[place], found.centers[at, :width])


def test_the_argument_is_not_written_to():
    x = torch.tensor([[3.0, 1.0, 2.0, 9.0]], requires_grad=True)
    kmeans(x, 2)
    assert x.tolist() == [[3.0, 1.0, 2.0, 9.0]]


# ---- beyond the limit ----


@pytest.fixture
def little(monkeypatch):
    """As if there were many more points than can be solved to optimality."""
    monkeypatch.setattr(ops, "EXACT_LIMIT", 0)
    monkeypatch.setattr(ops, "_EACH", 5)
    monkeypatch.setattr(ops, "_LEAST", 0)
    monkeypatch.setattr(ops, "_FINE", 9)
    monkeypatch.setattr(ops, "_FINEST", 0)


OPTIONS = [{}, {"zero": True}, {"zero": True, "max_nonzero": 100}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("k", [2, 5, 12])
@pytest.mark.usefixtures("little")
def test_the_excess_is_a_true_bound_where_the_search_stops(k, options):
    found = kmeans(ROWS, k, certify=True, **options)
    for at, row in enumerate(ROWS.numpy()):
        optimum = by_dynamic_program(row, k, *options.values())
        rounding = 1e-12 * sum_of_squares(row, bool(options))
        assert 0.0 <= found.excess[at] <= found.distortion[at]
        assert found.distortion[at] - found.excess[at] <= optimum + rounding
        assert optimum <= found.distortion[at] + rounding
        true = error_of(row, found, at, bool(options))
        assert true <= found.distortion[at] + rounding


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("few", [True, False])
def test_it_is_never_worse_than_its_start(options, few, request):
    best = kmeans(ROWS, 6, **options)
    if few:
        request.getfixturevalue("little")
    for starts in best.centers.flip(1), best.centers * 1.01, best.centers[:, :2]:
        found = kmeans(ROWS, 6, starts=starts, **options)
        for at, row in enumerate(ROWS.numpy()):
            rounding = 1e-12 * sum_of_squares(row, bool(options))
            if "max_nonzero" in options:  # of the best zeros nothing else is known
                given = best.distortion[at] if starts.shape[1] > 2 else np.inf
                given *= 1.1
            else:
                values = starts[at].numpy()
                values = np.append(values, 0.0) if options else values
                given = ((row[:, None] - values) ** 2).min(axis=1).sum()
            assert found.distortion[at] <= given * (1 + 1e-9) + rounding


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("warm", [True, False])
def test_rows_do_not_feel_each_other(options, few, warm, request):
    best = kmeans(ROWS, 6, **options)
    if few:
        request.getfixturevalue("little")
    starts = best.centers * 1.05 if warm else None
    found = kmeans(ROWS, 6, starts=starts, certify=True, **options)
    for at in range(len(ROWS)):
        own = None if starts is None else starts[at : at + 1]
        alone = kmeans(ROWS[at : at + 1], 6, starts=own, certify=True, **options)
        assert found.distortion[at] == pytest.approx(alone.distortion[0], rel=1e-9)
        assert found.excess[at] == pytest.approx(alone.excess[0], rel=1e-6, abs=1e-9)
        n = alone.centers.shape[1]
        torch.testing.assert_close(found.centers[at, :n], alone.centers[0])


@pytest.mark.parametrize("zero", [False, True])
def test_centres_are_in_order_however_many_there_are(zero):
    """Also where some clusters are empty, as of values that repeat."""
    rng = np.random.default_rng(0)
    rows = np.stack([rng.normal(size=500), rng.integers(-30, 30, 500)])
    found = kmeans(torch.from_numpy(rows.astype(float)), 80, zero=zero)
    assert (found.centers.diff() >= 0).all()
    distance = np.abs(rows[1][:, None] - found.centers[1].numpy()).min(1)
    assert (distance[rows[1] != 0] == 0).all()


def test_the_excess_is_close_where_weights_are_dense(monkeypatch):
    """A cut in a cell moves the error by what lies between two near centres only."""
    monkeypatch.setattr(ops, "EXACT_LIMIT", 0)
    row = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 60_000)))
    found = kmeans(row, 16, certify=True)
    assert 0 < found.excess[0] <= 5e-5 * found.distortion[0]


@pytest.mark.parametrize("max_nonzero", [20, 60, 100, 160])
@pytest.mark.usefixtures("little")
def test_few_values_are_clustered_optimally_beyond_the_limit(max_nonzero):
    """As those of half precision; where a tie is cut, the other end is at none."""
    rng = np.random.default_rng(3)
    rows = np.stack([rng.integers(-9, 10, N), np.round(3 * rng.normal(size=N))])
    rows = rows.astype(float)
    found = kmeans(
        torch.from_numpy(rows), 5, zero=True, max_nonzero=max_nonzero, certify=True
    )
    for at, row in enumerate(rows):
        optimum = by_dynamic_program(row, 5, True, max_nonzero)
        assert found.distortion[at] == pytest.approx(optimum, rel=1e-9)
        if 2 * max_nonzero <= N:
            assert found.excess[at] <= 1e-9 * optimum


@pytest.mark.parametrize("k", [2, 4, 16])
def test_weights_of_nets_are_near_optimal_beyond_the_limit(k, monkeypatch):
    monkeypatch.setattr(ops, "EXACT_LIMIT", 0)
    rng = np.random.default_rng(0)
    rows = np.stack([rng.standard_normal(4000), rng.standard_t(3, 4000)])
    found = kmeans(torch.from_numpy(rows), k, certify=True)
    for at, row in enumerate(rows):
        assert found.excess[at] <= 1e-3 * found.distortion[at]
        rival = KMeans(k, n_init=10, random_state=0).fit(row[:, None])
        assert found.distortion[at] <= rival.inertia_ * (1 + 1e-9)


def test_the_limit_covers_the_largest_layer_of_lenet300_at_k_16():
    assert EXACT_LIMIT >= (784 * 300 + 1) * 16


# ---- numbers that squares do not like ----


def errors(x, centers):
    """Return the squared error of centres, in the best precision there is."""
    centers = np.asarray(centers, dtype=np.longdouble)
    away = np.abs(np.asarray(x, dtype=np.longdouble)[:, None] - centers).min(1)
    return float((away**2).sum())


def least_error(x, k):
    """Return the least squared error, by a dynamic program over all clusters."""
    x = np.sort(np.asarray(x, dtype=np.longdouble))
    n = len(x)
    cost = np.zeros((n + 1, n + 1), dtype=np.longdouble)
    for p, q in itertools.combinations(range(n + 1), 2):
        cost[p, q] = ((x[p:q] - x[p:q].mean()) ** 2).sum()
    best = np.append(np.longdouble(0), np.full(n, np.inf, dtype=np.longdouble))
    for _ in range(k):
        reached = [(best[: q + 1] + cost[: q + 1, q]).min() for q in range(n + 1)]
        best = np.array(reached)
    return float(best[n])


NORMAL = np.random.default_rng(0).standard_normal(39)
HARD = {
    "an outlier": np.append(NORMAL, -1e8),
    "a distant outlier": np.append(NORMAL, 1e20),
    "outliers on both sides": np.append(NORMAL, [-1e9, 1e7, 1.1e7]),
    "tight clusters": np.where(NORMAL > 0, 1.0, -1.0) + 1e-8 * NORMAL,
    "far from zero": 1e7 + NORMAL,
    "many scales": np.exp(np.linspace(-40, 40, 40)),
    "tiny": 1e-200 * NORMAL,
    "huge": 1e200 * NORMAL,
}


@pytest.mark.parametrize("k", [2, 3, 7, 35])
@pytest.mark.parametrize("name", HARD)
def test_the_optimum_does_not_drown_in_rounding(name, k):
    x = HARD[name]
    unit = np.abs(x).max() if name in ("tiny", "huge") else 1.0
    found = kmeans(torch.tensor(x)[None], k)
    optimum, error = least_error(x / unit, k), errors(x / unit, found.centers[0] / unit)
    assert error <= optimum * (1 + 1e-8)
    if unit == 1.0:
        assert found.distortion[0] == pytest.approx(error, rel=1e-8)
        assert found.distortion[0] - found.excess[0] <= optimum * (1 + 1e-9)
        assert found.excess[0] <= 1e-6 * optimum


def test_an_outlier_among_many_weights_is_a_cluster_of_its_own():
    x = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    x[7], x[70] = 1e20, -1e19
    rest = torch.cat([x[:7], x[8:70], x[71:]])
    found, inner = kmeans(x[None], 7), kmeans(rest[None], 5)
    torch.testing.assert_close(found.centers[0, 1:-1], inner.centers[0])
    assert found.distortion[0] == pytest.approx(inner.distortion[0], rel=1e-9)


@pytest.mark.parametrize("name", list(HARD)[:5])
@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("zero", [False, True])
def test_a_warm_start_is_not_lost_in_rounding(name, few, zero, request):
    x = HARD[name]
    best = kmeans(torch.tensor(x)[None], 5, zero=zero).centers
    if few:
        request.getfixturevalue("little")
    for starts in best, best + 0.01:
        found = kmeans(torch.tensor(x)[None], 5, zero=zero, starts=starts)
        pinned = [0.0] * zero
        error = errors(x, np.append(found.centers[0], pinned))
        assert error <= errors(x, np.append(starts[0], pinned)) * (1 + 1e-9)
        assert found.distortion[0] == pytest.approx(error, rel=1e-8)


@pytest.mark.parametrize("unit", [2.0**-320, 2.0**280, 2.0**320])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_unit_of_the_numbers_does_not_matter(unit, options):
    rows, starts = ROWS[:2], torch.tensor([[-1.0, 0.5], [-2.0, 3.0]]).double()
    expected = kmeans(rows, 5, starts=starts, **options)
    found = kmeans(rows * unit, 5, starts=starts * unit, **options)
    torch.testing.assert_close(found.centers / unit, expected.centers)


@pytest.mark.parametrize("n_zeros", [0, 20])
@pytest.mark.parametrize(
    ("far", "near"), [([-1e8], [-200.0]), ([-1e9, 1e7, 1.1e7], [-200.0, 100.0, 150.0])]
)
def test_an_outlier_does_not_change_what_is_pruned(far, near, n_zeros):
    options = {"zero": True, "max_nonzero": 39 + len(far) - n_zeros}
    found, expected = (
        kmeans(torch.tensor(np.append(NORMAL, others))[None], 7, **options)
        for others in (far, near)
    )
    inner = [c.centers[c.centers.abs() < 50] for c in (found, expected)]
    torch.testing.assert_close(*inner, rtol=1e-9, atol=0.0)
    if n_zeros:
        assert found.zeros.low == expected.zeros.low
        assert found.zeros.high == expected.zeros.high


# ---- what is returned ----


@pytest.mark.parametrize("unit", [1e-200, 0.1, 1e200])
@pytest.mark.parametrize("zero", [False, True])
def test_no_more_values_than_centres_are_returned_as_they_are(unit, zero):
    values = torch.tensor([-0.3, 0.1, 0.7], dtype=torch.float64) * unit
    found = kmeans(values[torch.arange(70) % 3][None], 3 + zero, zero=zero)
    assert torch.equal(found.centers[0], values)
    assert found.distortion == found.excess == 0.0


def test_a_row_with_fewer_values_repeats_its_last():
    rows = torch.tensor([[1.0, 1.0, 5.0, 5.0], [1.0, 2.0, 4.0, 9.0]])
    assert kmeans(rows, 3).centers.tolist() == [[1.0, 5.0, 5.0], [1.5, 4.0, 9.0]]


def test_the_description_of_zeros_tells_ties_apart():
    row = torch.tensor([[2.0, 1.0, 2.0, 3.0, 1.0, 2.0]])
    found = kmeans(row, 3, zero=True, max_nonzero=2)
    assert found.centers.tolist() == [[2.0, 3.0]]
    assert found.distortion == 10.0
    ends = (x.item() for x in vars(found.zeros).values())
    assert tuple(ends) == (1.0, 2.0, 0, 1)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_zeros_are_those_of_the_numbers_as_they_are(scale):
    x = torch.tensor([1, 1.1, 2, 2.1, 3, 9.0], dtype=torch.float64) * scale
    found = kmeans(x[None], 3, zero=True, max_nonzero=2)
    assert (found.zeros.low, found.zeros.high) == (float(x[0]), float(x[3]))
    torch.testing.assert_close(found.centers[0], x[4:], rtol=1e-15, atol=0.0)
