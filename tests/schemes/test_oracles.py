"""At small sizes every scheme finds what trying all possibilities finds."""

import itertools
import math

import kmeans1d
import numpy as np
import pytest
import scipy.linalg
import torch
from cases import CONV_SCHEMES, GRANULARITIES, distortion, draw, objective
from sklearn.cluster import KMeans

from sklc.codes import Dense, Factored, Quantized
from sklc.layers import Grid, LayerInfo
from sklc.ops import kmeans
from sklc.schemes import (
    AdaptiveQuantization,
    BinaryQuantization,
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    LowRank,
    PenaltyL0Pruning,
    PenaltyL1Pruning,
    RankSelection,
    ScaledBinaryQuantization,
    ScaledTernaryQuantization,
)

CLOSE = 1e-12  # relative, of sums of a few numbers in double precision

#: Weights whose 8 numbers may be tried in all ways: random ones, and awkward ones.
PROBLEMS = {
    "normal": [[0.3, -1.1, 0.8, 1.9], [-0.2, 0.05, -2.3, 0.6]],
    "ties": [[1.0, 1.0, -1.0, 2.0], [2.0, -2.0, 1.0, -1.0]],
    "zeros": [[0.0, 0.0, 3.0, 0.0], [0.0, 0.0, -1.0, 0.0]],
    "all-zero": [[0.0] * 4] * 2,
    "equal": [[0.7] * 4] * 2,
    "negative": [[-1.0, -5.0, -5.5, -9.0], [-1.2, -0.1, -9.1, -4.0]],
    "outlier": [[0.1, -0.1, 0.2, 100.0], [0.0, 0.3, -0.2, 0.1]],
    "symmetric": [[1.0, -1.0, 3.0, -3.0], [2.0, -2.0, 0.5, -0.5]],
}


@pytest.fixture(params=PROBLEMS)
def weights(request):
    """Two layers, of shapes (2, 1, 2) and (2, 2)."""
    first, second = PROBLEMS[request.param]
    return {
        "conv.weight": torch.tensor(first, dtype=torch.float64).reshape(2, 1, 2),
        "fc.weight": torch.tensor(second, dtype=torch.float64).reshape(2, 2),
    }


def groups(weights, granularity):
    """Return the vectors that are problems of their own."""
    layers = [weight.double().numpy() for weight in weights.values()]
    if granularity == "joint":
        return [np.concatenate([layer.ravel() for layer in layers])]
    if granularity == "layer":
        return [layer.ravel() for layer in layers]
    return [channel.ravel() for layer in layers for channel in layer]


def least(oracle, weights, granularity):
    """Return the least squared error, the sum of that of the groups."""
    return sum(oracle(group) for group in groups(weights, granularity))


def assignments(n, k):
    return np.array(list(itertools.product(range(k), repeat=n)))


def best_codebook(w, k, zero=False, kappa=None):
    """Try all ways to put the numbers into k clusters, the first pinned at zero."""
    errors = np.zeros(k ** len(w))
    labels = assignments(len(w), k)
    for cluster in range(k):
        inside = labels == cluster
        size = np.maximum(inside.sum(1), 1)
        mean = (inside * w).sum(1) / size
        if zero and cluster == 0:
            mean[:] = 0.0
        errors += (inside * (w - mean[:, None]) ** 2).sum(1)
    if kappa is not None:
        errors[(labels != 0).sum(1) > kappa] = np.inf
    return errors.min()


def best_scaled(w, levels):
    """Try all ways to give the numbers levels, with the best scale (at least 0)."""
    signs = np.array(list(itertools.product(levels, repeat=len(w))))
    scale = (signs * w).sum(1) / np.maximum((signs**2).sum(1), 1)
    return ((w - np.maximum(scale, 0.0)[:, None] * signs) ** 2).sum(1).min()


def supports(n):
    return assignments(n, 2).astype(bool)


def best_support(w, kappa):
    """Try all supports of at most kappa numbers."""
    return min(
        (w[~keep] ** 2).sum() for keep in supports(len(w)) if keep.sum() <= kappa
    )


def best_in_l1_ball(w, kappa):
    """Try all supports: on the right one the magnitudes are lowered by one shift."""
    magnitude = np.abs(w)
    if magnitude.sum() <= kappa:
        return 0.0
    errors = []
    for keep in supports(len(w)):
        shift = (magnitude[keep].sum() - kappa) / max(keep.sum(), 1)
        values = np.where(keep, magnitude - shift, 0.0)
        if values.min() >= 0 and values.sum() <= kappa * (1 + CLOSE):
            errors.append(((magnitude - values) ** 2).sum())
    return min(errors)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_no_codebook_is_better(weights, k, granularity):
    scheme = AdaptiveQuantization(k, granularity=granularity)
    found = distortion(scheme.compress(weights, mu=1.0), weights)
    expected = least(lambda w: best_codebook(w, k), weights, granularity)
    assert found == pytest.approx(expected, rel=CLOSE, abs=1e-13)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_no_codebook_with_a_zero_is_better(weights, k, granularity):
    scheme = AdaptiveQuantization(k, zero=True, granularity=granularity)
    found = distortion(scheme.compress(weights, mu=1.0), weights)
    expected = least(lambda w: best_codebook(w, k, zero=True), weights, granularity)
    assert found == pytest.approx(expected, rel=CLOSE, abs=1e-13)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("kappa", [0, 2, 0.5, 99])
@pytest.mark.parametrize("k", [2, 3])
def test_no_pruned_codebook_is_better(weights, k, kappa, granularity):
    def oracle(w):
        most = round(kappa * len(w)) if isinstance(kappa, float) else kappa
        return best_codebook(w, k, zero=True, kappa=most)

    scheme = AdaptiveQuantization(k, zero=True, kappa=kappa, granularity=granularity)
    theta = scheme.compress(weights, mu=1.0)
    assert scheme.cost(theta) == 0.0
    expected = least(oracle, weights, granularity)
    assert distortion(theta, weights) == pytest.approx(expected, rel=CLOSE, abs=1e-13)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_quantization_of_tied_integers_is_optimal(seed, zero):
    rng = np.random.default_rng(seed)
    w = rng.integers(-2, 3, size=8).astype(float)
    weights = {"w": torch.from_numpy(w)}
    for kappa in [None, 2, 4, 6] if zero else [None]:
        scheme = AdaptiveQuantization(3, zero=zero, kappa=kappa)
        theta = scheme.compress(weights, mu=1.0)
        assert scheme.cost(theta) == 0.0
        expected = best_codebook(w, 3, zero, kappa)
        assert distortion(theta, weights) == pytest.approx(expected, rel=CLOSE)


def test_binary_quantization_is_the_nearest_point(weights):
    def oracle(w):
        return min(
            ((w - np.array(signs)) ** 2).sum()
            for signs in itertools.product([-1, 1], repeat=len(w))
        )

    found = distortion(BinaryQuantization().compress(weights, mu=1.0), weights)
    assert found == pytest.approx(least(oracle, weights, "layer"), rel=CLOSE)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize(
    ("kind", "levels"),
    [(ScaledBinaryQuantization, (-1, 1)), (ScaledTernaryQuantization, (-1, 0, 1))],
)
def test_no_scale_is_better(weights, kind, levels, granularity):
    found = distortion(kind(granularity).compress(weights, mu=1.0), weights)
    expected = least(lambda w: best_scaled(w, levels), weights, granularity)
    assert found == pytest.approx(expected, rel=CLOSE, abs=1e-13)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("kappa", [0, 1, 3, 8, 0.5, 1.0])
def test_no_support_is_better(weights, kappa, granularity):
    def oracle(w):
        most = round(kappa * len(w)) if isinstance(kappa, float) else kappa
        return best_support(w, most)

    scheme = ConstraintL0Pruning(kappa, granularity)
    found = distortion(scheme.compress(weights, mu=1.0), weights)
    assert found == pytest.approx(least(oracle, weights, granularity), rel=CLOSE)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("kappa", [0.0, 0.1, 1.0, 2.5, 7.0, 1000.0])
def test_no_point_of_the_l1_ball_is_nearer(weights, kappa, granularity):
    scheme = ConstraintL1Pruning(kappa, granularity)
    found = distortion(scheme.compress(weights, mu=1.0), weights)
    expected = least(lambda w: best_in_l1_ball(w, kappa), weights, granularity)
    assert found == pytest.approx(expected, rel=CLOSE, abs=1e-13)


@pytest.mark.parametrize("mu", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("alpha", [0.0, 0.2, 2.0])
def test_no_support_is_worth_its_price_more(weights, alpha, mu):
    scheme = PenaltyL0Pruning(alpha)
    found = objective(scheme, scheme.compress(weights, mu), weights, mu)
    (w,) = groups(weights, "joint")
    expected = min(
        alpha * keep.sum() + mu / 2 * (w[~keep] ** 2).sum() for keep in supports(len(w))
    )
    assert found == pytest.approx(expected, rel=CLOSE)


@pytest.mark.parametrize("mu", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("alpha", [0.0, 0.2, 2.0])
def test_no_shrinkage_is_better(weights, alpha, mu):
    scheme = PenaltyL1Pruning(alpha)
    found = objective(scheme, scheme.compress(weights, mu), weights, mu)
    (w,) = groups(weights, "joint")
    # the objective is a sum over weights, each convex and quadratic left and right of 0
    points = np.array(
        [0 * w, np.maximum(w - alpha / mu, 0), np.minimum(w + alpha / mu, 0)]
    )
    expected = (alpha * np.abs(points) + mu / 2 * (points - w) ** 2).min(0).sum()
    assert found == pytest.approx(expected, rel=CLOSE)


SHAPES = [(4, 6), (6, 4), (5, 5), (1, 7), (7, 1), (4, 3, 2), (4, 3, 2, 5), (6, 1, 1, 1)]


def as_matrix(weight, conv_scheme):
    """View a convolution as a matrix, by transposing it element by element."""
    if weight.ndim == 2:
        return weight
    out, inputs, first, *others = weight.shape
    if conv_scheme == "scheme_1":
        return weight.reshape(out, -1)
    matrix = np.empty((out * first, inputs * math.prod(others)))
    for o, f, i in itertools.product(range(out), range(first), range(inputs)):
        width = math.prod(others)
        matrix[o * first + f, i * width : (i + 1) * width] = weight[o, i, f].ravel()
    return matrix


@pytest.mark.parametrize("conv_scheme", CONV_SCHEMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_low_rank_is_the_truncated_svd_of_scipy(shape, conv_scheme):
    weights = draw({"w": shape}, torch.float64)
    matrix = as_matrix(weights["w"].numpy(), conv_scheme)
    left, values, right = scipy.linalg.svd(matrix, full_matrices=False)
    for rank in range(len(values)):
        theta = LowRank(rank, conv_scheme).compress(weights, mu=1.0)
        truncated = left[:, :rank] * values[:rank] @ right[:rank]
        found = as_matrix(theta["w"].dense().numpy(), conv_scheme)
        np.testing.assert_allclose(found, truncated, atol=1e-13 * values[0])
        assert isinstance(theta["w"], Factored)
        assert theta["w"].left.shape == (len(matrix), rank)
        assert theta["w"].right.shape == (rank, matrix.shape[1])


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (8, 4, 3, 3)], ids=str)
def test_low_rank_of_single_precision_is_as_good_as_scipys(shape):
    weights = draw({"w": shape}, torch.float32)
    matrix = weights["w"].double().numpy().reshape(shape[0], -1)
    values = scipy.linalg.svd(matrix, compute_uv=False)
    for rank in (1, 3, 7):
        found = distortion(LowRank(rank).compress(weights, mu=1.0), weights)
        expected = (values[rank:] ** 2).sum()
        assert math.sqrt(found) <= math.sqrt(expected) + 1e-6 * values[0]


@pytest.mark.parametrize("rank", [4, 5, 100, 1.0, 0.9])
def test_a_rank_at_or_above_the_full_one_returns_the_weights(rank):
    weights = draw({"w": (4, 6)})
    code = LowRank(rank).compress(weights, mu=1.0)["w"]
    assert isinstance(code, Dense)
    assert torch.equal(code.weight, weights["w"])


def test_rank_zero_is_no_weight_at_all():
    code = LowRank(0).compress(draw({"w": (4, 6)}), mu=1.0)["w"]
    assert torch.equal(code.dense(), torch.zeros(4, 6))
    assert code.rank == 0


@pytest.mark.parametrize(
    ("rank", "kept"),
    [(0.0, 0), (0.01, 1), (0.14, 1), (0.16, 2), (0.34, 3), (0.36, 4), (0.94, 9)],
)
def test_fractions_of_the_full_rank_are_rounded_to_nearest(rank, kept):
    assert LowRank(rank).compress(draw({"w": (10, 12)}), 1.0)["w"].rank == kept


@pytest.mark.parametrize("conv_scheme", CONV_SCHEMES)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("criterion", ["storage", "flops"])
@pytest.mark.parametrize("alpha", [0.0, 1e-3, 0.01, 0.05, 0.2, 1.0])
def test_no_rank_is_a_better_trade_off(alpha, criterion, normalize, conv_scheme):
    weights = draw({"fc.weight": (6, 7), "conv.weight": (4, 3, 2, 5)}, torch.float64)
    layers = {
        "fc.weight": LayerInfo("Linear", uses=1.0),
        "conv.weight": LayerInfo("Conv2d", uses=3.0, grids=(Grid((2, 7), (3, 1)),)),
    }
    scheme = RankSelection(alpha, criterion, normalize, conv_scheme)
    mu = 0.3
    found = scheme.compress(weights, mu, layers=layers)
    total = 0.0
    for name, weight in weights.items():
        matrix = as_matrix(weight.numpy(), conv_scheme)
        square = scipy.linalg.svd(matrix, compute_uv=False) ** 2
        uses = between = layers[name].uses if criterion == "flops" else 1.0
        if criterion == "flops" and conv_scheme == "scheme_2" and weight.ndim > 2:
            between = 2.0 * 1.0
        m, n = matrix.shape
        unit = square.sum() if normalize else 1.0
        prices = [rank * (uses * m + between * n) for rank in range(len(square) + 1)]
        full = uses * m * n
        costs = [
            unit * alpha * min(price, full) + mu / 2 * square[rank:].sum()
            for rank, price in enumerate(prices)
        ]
        rank = int(np.argmin(costs))
        total += costs[rank]
        if prices[rank] >= full:
            assert isinstance(found[name], Dense), "its factors would cost more"
            assert torch.equal(found[name].weight, weight)
        else:
            assert found[name].rank == rank
    best = objective(scheme, found, weights, mu, layers)
    assert best == pytest.approx(total, rel=CLOSE)


def ranks(alpha, mu):
    weights = draw({"w": (12, 15)}, torch.float64)
    code = RankSelection(alpha).compress(weights, mu)["w"]
    return min(code.shape) if isinstance(code, Dense) else code.rank


def test_the_learned_rank_grows_with_mu_and_falls_with_alpha():
    by_mu = [ranks(alpha=0.1, mu=mu) for mu in np.geomspace(1e-3, 10.0, 40)]
    by_alpha = [ranks(alpha=alpha, mu=0.1) for alpha in np.geomspace(1e-3, 1.0, 40)]
    assert by_mu == sorted(by_mu)
    assert by_alpha == sorted(by_alpha, reverse=True)
    assert {0, 1, 2, 12} <= set(by_mu)
    assert by_mu[0] == 0
    assert by_alpha[-1] == 0


def test_of_ranks_that_tie_the_smallest_is_taken():
    weights = {"w": torch.diag(torch.tensor([2.0] + [0.0] * 5, dtype=torch.float64))}
    # keeping the value 2 costs 12 numbers and saves mu/2 4
    assert RankSelection(alpha=1.0).compress(weights, mu=6.0)["w"].rank == 0
    assert RankSelection(alpha=1.0).compress(weights, mu=6.01)["w"].rank == 1


def test_prices_of_ranks_are_compared_in_double_precision():
    weights = {"w": torch.diag(torch.tensor([2.0] + [0.0] * 5, dtype=torch.float64))}
    mu = 0.6  # keeping the value costs 0.1 * 12 and saves mu/2 4: a tie
    scheme = RankSelection(alpha=0.1)
    assert scheme.compress(weights, mu * (1 - 1e-9))["w"].rank == 0
    assert scheme.compress(weights, mu * (1 + 1e-9))["w"].rank == 1


def test_factors_as_large_as_the_weight_are_not_made():
    weights = {"w": torch.diag(torch.tensor([3.0, 2.0, 0.0, 0.0]))}
    code = RankSelection(alpha=1e-3).compress(weights, mu=1.0)["w"]
    assert isinstance(code, Dense), "two factors of 4 x 2 are 16 numbers too"


DISTINCT = {
    "one value": [2.5, 2.5, 2.5],
    "three values": [1.0, -4.0, 0.1, 1.0, 0.1],
    "with a zero": [0.0, 1.0, -1.0, 0.0],
    "neighbours": [0.1, math.nextafter(0.1, 1.0), math.nextafter(0.1, 0.0), 0.1],
    "far apart": [-1e308, 1e308, 1e-308],
    "denormal": [5e-324, 1e-323, 0.0],
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("values", DISTINCT)
def test_no_more_distinct_values_than_k_are_returned_bit_for_bit(values, zero, dtype):
    limit = torch.finfo(dtype).max
    weight = torch.tensor(DISTINCT[values], dtype=torch.float64)
    weight = weight.clamp(-limit, limit).to(dtype)
    distinct = len(weight.unique()) + int(zero and not (weight == 0).any())
    for k in (distinct, distinct + 1, 300):
        scheme = AdaptiveQuantization(k, zero=zero)
        dense = scheme.compress({"w": weight}, mu=1.0)["w"].dense()
        assert torch.equal(dense, weight)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("start", [1.0, 0.1, 3.7, 1e-30, -2.0])
def test_neighbouring_floats_are_told_apart(start, dtype):
    values = [torch.tensor([start], dtype=dtype)]
    for _ in range(7):
        values.append(torch.nextafter(values[-1], values[-1].new_tensor(9.0)))
    weight = torch.cat(values)
    dense = AdaptiveQuantization(k=8).compress({"w": weight}, mu=1.0)["w"].dense()
    assert torch.equal(dense, weight)


def test_weights_near_the_largest_float_are_quantized():
    weight = torch.tensor([-3e38, 3e38, 0.0])
    dense = AdaptiveQuantization(k=2).compress({"w": weight}, mu=1.0)["w"].dense()
    assert torch.equal(dense, torch.tensor([-3e38, 1.5e38, 1.5e38]))


@pytest.mark.parametrize("k", [2, 3, 5, 16])
@pytest.mark.parametrize("power", [1, 3])
def test_kmeans1d_finds_the_same_distortion(k, power):
    weights = {"w": draw({"w": (400,)}, torch.float64)["w"] ** power}
    clusters, centers = kmeans1d.cluster(weights["w"].tolist(), k)
    gap = weights["w"].numpy() - np.array(centers)[clusters]
    found = distortion(AdaptiveQuantization(k).compress(weights, mu=1.0), weights)
    assert found == pytest.approx((gap**2).sum(), rel=1e-11)


@pytest.mark.parametrize("k", [2, 4, 7])
@pytest.mark.parametrize("power", [1, 3])
def test_kmeans_of_scikit_learn_is_never_better(k, power):
    weights = {"w": draw({"w": (300,)}, torch.float64)["w"] ** power}
    rival = KMeans(k, n_init=10, random_state=0).fit(weights["w"].reshape(-1, 1))
    found = distortion(AdaptiveQuantization(k).compress(weights, mu=1.0), weights)
    assert found <= rival.inertia_ * (1 + CLOSE)


def test_the_certificate_of_an_exact_quantization_is_zero():
    weights = draw({"a": (50, 10), "b": (30,)})
    excess = AdaptiveQuantization(4).excess(weights)
    assert excess.keys() == weights.keys()
    assert all(0 <= value < 1e-9 for value in excess.values())
    joint = AdaptiveQuantization(4, granularity="joint").excess(weights)
    assert joint["a"] == joint["b"]
    assert AdaptiveQuantization(1).excess({"w": torch.zeros(3)}) == {"w": 0.0}


def as_if_there_were_more_weights(monkeypatch):
    """Let codebooks be found as those of more weights than can be solved exactly."""
    for name, value in ("EXACT_LIMIT", 0), ("_EACH", 5), ("_LEAST", 0):
        monkeypatch.setattr(kmeans, name, value)
    monkeypatch.setattr(kmeans, "_FINE", 20)
    monkeypatch.setattr(kmeans, "_FINEST", 0)


def test_a_certificate_holds_for_all_groups_of_a_weight_together(monkeypatch):
    weights = draw({"w": (3, 500)}, torch.float64)
    scheme = AdaptiveQuantization(4, granularity="channel")
    best = distortion(scheme.compress(weights, mu=1.0), weights)
    as_if_there_were_more_weights(monkeypatch)
    found = distortion(scheme.compress(weights, mu=1.0), weights)
    excess = scheme.excess({"w": weights["w"].requires_grad_()})
    assert excess["w"] > 1e-9
    assert best <= found * (1 + CLOSE)
    assert found * (1 - excess["w"]) <= best * (1 + CLOSE)


@pytest.mark.parametrize(
    ("kappa", "kept"),
    [
        *[(0, 0), (1, 1), (9, 9), (10, 10), (11, 10), (10**9, 10), (np.int64(3), 3)],
        *[(0.0, 0), (0.04, 1), (0.06, 1), (0.24, 2), (0.26, 3), (0.96, 10), (1.0, 10)],
    ],
)
def test_pruning_keeps_the_count_or_the_fraction_it_is_told(kappa, kept):
    weights = draw({"w": (10,)})
    theta = ConstraintL0Pruning(kappa).compress(weights, mu=1.0)
    assert len(theta["w"].values) == kept
    order = weights["w"].abs().argsort(descending=True)
    expected = torch.zeros(10)
    expected[order[:kept]] = weights["w"][order[:kept]]
    assert torch.equal(theta["w"].dense(), expected)


def test_of_ties_pruning_keeps_the_first():
    weights = {"a": torch.tensor([1.0, -2.0, 2.0]), "b": torch.tensor([2.0, 3.0])}
    theta = ConstraintL0Pruning(kappa=3).compress(weights, mu=1.0)
    assert theta["a"].dense().tolist() == [0.0, -2.0, 2.0]
    assert theta["b"].dense().tolist() == [0.0, 3.0]


def test_each_channel_keeps_its_own_budget_when_another_is_zero():
    weights = {"w": torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])}
    scheme = ConstraintL0Pruning(kappa=2, granularity="channel")
    dense = scheme.compress(weights, mu=1.0)["w"].dense()
    assert dense.tolist() == [[0.0, 0.0, 0.0], [1.0, 1.0, 0.0]]


@pytest.mark.parametrize("kappa", [0, 0.0])
def test_a_budget_of_nothing_prunes_all(kappa):
    weights = draw({"w": (3, 4)})
    for scheme in (ConstraintL0Pruning(kappa), ConstraintL1Pruning(kappa)):
        code = scheme.compress(weights, mu=1.0)["w"]
        assert torch.equal(code.dense(), torch.zeros(3, 4))
        assert len(code.values) == 0


def test_weights_within_the_l1_ball_stay_as_they_are():
    weights = draw({"w": (3, 4)})
    radius = float(weights["w"].double().abs().sum())
    dense = ConstraintL1Pruning(radius).compress(weights, mu=1.0)["w"].dense()
    assert torch.equal(dense, weights["w"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_l1_norm_is_kept_up_to_four_units_of_rounding(dtype):
    weights = draw({"w": (200, 50)}, dtype)
    dense = ConstraintL1Pruning(123.0).compress(weights, mu=1.0)["w"].dense()
    norm = float(dense.double().abs().sum())
    assert norm == pytest.approx(123.0, rel=4 * torch.finfo(dtype).eps)


def test_a_small_l1_ball_is_kept_although_its_threshold_is_rounded():
    weight = 0.9 + draw({"w": (50,)}, torch.float64)["w"] * 1e-13
    for kappa in (1e-13, 3e-13, 1e-12):
        dense = ConstraintL1Pruning(kappa).compress({"w": weight}, mu=1.0)["w"].dense()
        norm = math.fsum(dense.abs().tolist())
        assert 0 < norm <= kappa * (1 + 4 * torch.finfo(torch.float64).eps)


def test_the_l1_ball_ends_at_four_units_of_rounding():
    eps = torch.finfo(torch.float64).eps
    inside, outside = (
        {"w": Dense(torch.tensor([1 + n * eps], dtype=torch.float64))} for n in (4, 5)
    )
    assert ConstraintL1Pruning(1.0).cost(inside) == 0.0
    assert ConstraintL1Pruning(1.0).cost(outside) == math.inf


def test_l1_norms_may_exceed_the_range_of_the_weights():
    theta = {"w": Dense(torch.full((100,), 1000.0, dtype=torch.float16))}
    assert ConstraintL1Pruning(1e5).cost(theta) == 0.0
    assert PenaltyL1Pruning(0.5).cost(theta) == 5e4


def test_the_thresholds_are_those_of_the_formulas():
    weights = {"w": torch.tensor([1.0, -1.001, 0.999, -3.0], dtype=torch.float64)}
    hard = PenaltyL0Pruning(alpha=2.0).compress(weights, mu=4.0)["w"].dense()
    assert hard.tolist() == [0.0, -1.001, 0.0, -3.0]
    soft = PenaltyL1Pruning(alpha=4.0).compress(weights, mu=4.0)["w"].dense()
    assert soft.tolist() == pytest.approx([0.0, -0.001, 0.0, -2.0], abs=1e-15)


def test_zero_is_quantized_to_the_positive_sign():
    weights = {"w": torch.tensor([0.0, -0.0, -1.0, 4.0])}
    assert BinaryQuantization().compress(weights, 1.0)["w"].dense().tolist() == [
        1.0,
        1.0,
        -1.0,
        1.0,
    ]
    scaled = ScaledBinaryQuantization().compress(weights, 1.0)["w"].dense()
    assert scaled.tolist() == [1.25, 1.25, -1.25, 1.25]


def test_the_ternary_scale_is_the_mean_of_the_best_support():
    # of 2; 2, 2; 2, 2, 1; ...: 2/1, 4/sqrt(2), 5/sqrt(3), 6/sqrt(4) = 3 is the largest
    weights = {"w": torch.tensor([2.0, -2.0, 1.0, -1.0, 0.0])}
    code = ScaledTernaryQuantization().compress(weights, mu=1.0)["w"]
    assert code.dense().tolist() == [1.5, -1.5, 1.5, -1.5, 0.0]
    assert code.scale.tolist() == [1.5]
    assert code.levels == (-1.0, 0.0, 1.0)


def test_a_joint_codebook_is_one_tensor():
    weights = draw({"a": (3, 4), "b": (5,)})
    theta = AdaptiveQuantization(k=2, granularity="joint").compress(weights, mu=1.0)
    assert theta["a"].codebook is theta["b"].codebook
    both = torch.cat([weights["a"].reshape(-1), weights["b"]])
    one = AdaptiveQuantization(k=2).compress({"w": both}, mu=1.0)["w"]
    assert torch.equal(theta["a"].dense(), one.dense()[:12].view(3, 4))
    assert torch.equal(theta["b"].dense(), one.dense()[12:])


def test_channels_have_codebooks_of_one_length():
    weights = {"w": torch.tensor([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]])}
    scheme = AdaptiveQuantization(k=3, granularity="channel")
    code = scheme.compress(weights, mu=1.0)["w"]
    assert isinstance(code, Quantized)
    assert code.codebook.tolist() == [[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]]
    assert torch.equal(code.dense(), weights["w"])
    pinned = AdaptiveQuantization(k=3, zero=True, granularity="channel")
    weights = {"w": torch.tensor([[0.0, 0.0], [-1.0, 2.0]])}
    code = pinned.compress(weights, mu=1.0)["w"]
    assert code.codebook.tolist() == [[0.0, 0.0], [-1.0, 2.0]]
    assert code.index.tolist() == [[0, 0], [1, 2]]


def test_more_values_than_a_byte_counts_get_a_wider_index():
    weights = {"w": torch.arange(300.0)}
    narrow = AdaptiveQuantization(k=256).compress(weights, mu=1.0)["w"]
    wide = AdaptiveQuantization(k=257).compress(weights, mu=1.0)["w"]
    assert (narrow.index.dtype, wide.index.dtype) == (torch.uint8, torch.int16)


def test_a_pinned_zero_counts_among_the_values_of_an_index():
    weights = {"w": torch.arange(1.0, 300.0)}
    narrow = AdaptiveQuantization(k=256, zero=True).compress(weights, mu=1.0)["w"]
    wide = AdaptiveQuantization(k=257, zero=True).compress(weights, mu=1.0)["w"]
    assert (narrow.index.dtype, wide.index.dtype) == (torch.uint8, torch.int16)
    for code in narrow, wide:
        assert (code.dense() - weights["w"]).abs().max() <= 1.0


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("granularity", ["joint", "layer", "channel"])
@pytest.mark.parametrize("k", [1, 3, 16])
def test_a_codebook_is_never_worse_than_the_last(k, granularity, zero, monkeypatch):
    scheme = AdaptiveQuantization(k, granularity=granularity, zero=zero)
    weights = draw({"a": (3, 200), "b": (5, 70)})
    best = scheme.compress(weights, mu=1.0)
    as_if_there_were_more_weights(monkeypatch)
    found = scheme.compress(weights, mu=1.0, theta=best)
    assert distortion(found, weights) <= distortion(best, weights) * (1 + 1e-6)
    fewer = AdaptiveQuantization(1 + zero, granularity=granularity, zero=zero)
    fewer.compress(weights, mu=1.0, theta=best)  # too many values are no start


def test_the_channels_of_a_bias_are_its_entries():
    weights = {"b": torch.tensor([1.0, -2.0, 3.0]), "s": torch.tensor(4.0)}
    theta = AdaptiveQuantization(k=1, granularity="channel").compress(weights, mu=1.0)
    assert theta["b"].dense().tolist() == [1.0, -2.0, 3.0]
    assert theta["s"].dense().item() == 4.0
    whole = AdaptiveQuantization(k=1).compress(weights, mu=1.0)
    assert whole["b"].dense().tolist() == pytest.approx([2 / 3] * 3)
