"""What holds for any weights, tried on weights that hypothesis invents."""

import math
from itertools import pairwise

import pytest
import torch
from cases import distortion, draw, name_of, objective
from hypothesis import given, settings
from hypothesis import strategies as st

from sklc.codes import Dense, decompress, pack
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    BinaryQuantization,
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    LowRank,
    Mixed,
    PenaltyL0Pruning,
    PenaltyL1Pruning,
    RankSelection,
    ScaledBinaryQuantization,
    ScaledTernaryQuantization,
)

tries = settings(
    derandomize=True, max_examples=12, deadline=None, database=None, print_blob=False
)

ROUNDING = 1e-12  # relative, in double precision

numbers = st.floats(-10, 10, allow_subnormal=False, width=32)
lists = st.lists(numbers, min_size=1, max_size=9)
distinct = st.lists(
    numbers.filter(lambda x: abs(x) > 1e-3), min_size=2, max_size=9, unique_by=abs
)
mus = st.floats(0.01, 100.0)
seeds = st.integers(0, 2**31)

VECTOR = [
    AdaptiveQuantization(2),
    AdaptiveQuantization(3, zero=True),
    AdaptiveQuantization(3, zero=True, kappa=2),
    BinaryQuantization(),
    ScaledBinaryQuantization(),
    ScaledTernaryQuantization(),
    ConstraintL0Pruning(2),
    ConstraintL1Pruning(3.0),
    PenaltyL0Pruning(0.5),
    PenaltyL1Pruning(0.5),
]
MATRIX = [LowRank(1), LowRank(0.6), RankSelection(0.3)]
PENALTIES = (PenaltyL0Pruning, PenaltyL1Pruning, RankSelection)
CONSTRAINTS = [s for s in [*VECTOR, *MATRIX] if not isinstance(s, PENALTIES)]


def column(values):
    """Make a weight that vector schemes and matrix schemes compress: 2 x n."""
    row = torch.tensor(values, dtype=torch.float64)
    return {"fc.weight": torch.stack([row, row.flip(0) / 2])}


def same(a, b, scale):
    return torch.allclose(a, b, rtol=0.0, atol=ROUNDING * max(scale, 1e-300))


@pytest.mark.parametrize("scheme", [*VECTOR, *MATRIX], ids=name_of)
@tries
@given(values=lists, mu=mus)
def test_results_are_feasible(scheme, values, mu):
    theta = scheme.compress(column(values), mu)
    assert 0.0 <= scheme.cost(theta) < math.inf


@pytest.mark.parametrize("scheme", CONSTRAINTS, ids=name_of)
@tries
@given(values=lists)
def test_what_is_compressed_stays_as_it_is(scheme, values):
    once = decompress(scheme.compress(column(values), mu=1.0))
    assert scheme.cost({n: Dense(w) for n, w in once.items()}) == 0.0
    twice = decompress(scheme.compress(once, mu=1.0))
    scale = float(once["fc.weight"].abs().max())
    assert same(once["fc.weight"], twice["fc.weight"], scale)


@pytest.mark.parametrize("scheme", [*VECTOR, *MATRIX], ids=name_of)
@tries
@given(values=lists, others=lists, mu=mus)
def test_the_same_arguments_give_the_same_bits(scheme, values, others, mu):
    def bits():
        header, arrays = pack(scheme.compress(column(values), mu))
        return header, {name: array.tobytes() for name, array in arrays.items()}

    first = bits()
    scheme.compress(column(others), mu)
    assert bits() == first


def random_codebook(scheme, n, generator):
    values = torch.randn(scheme.k, generator=generator, dtype=torch.float64) * 3
    if scheme.zero:
        values[0] = 0.0
    dense = values[torch.randint(scheme.k, (n,), generator=generator)]
    if scheme.kappa is not None:
        dense[torch.randperm(n, generator=generator)[scheme.kappa :]] = 0.0
    return dense


def random_feasible(scheme, n, generator):
    """Return n random numbers that keep the constraint, without using the scheme."""
    dense = torch.randn(n, generator=generator, dtype=torch.float64) * 3
    order = torch.randperm(n, generator=generator)
    match scheme:
        case AdaptiveQuantization():
            return random_codebook(scheme, n, generator)
        case BinaryQuantization():
            return dense.sign()
        case ScaledBinaryQuantization():
            return dense.sign() * dense[0].abs()
        case ScaledTernaryQuantization():
            return dense.sign() * dense[0].abs() * (dense > -1)
        case ConstraintL0Pruning():
            dense[order[scheme.kappa :]] = 0.0
        case ConstraintL1Pruning():
            dense *= scheme.kappa / max(float(dense.abs().sum()), scheme.kappa)
        case PenaltyL0Pruning() | PenaltyL1Pruning():
            dense[order[int(order[0]) :]] = 0.0
    return dense


@pytest.mark.parametrize("scheme", VECTOR, ids=name_of)
@tries
@given(values=lists, mu=mus, seed=seeds)
def test_no_random_feasible_point_is_better(scheme, values, mu, seed):
    weights = {"w": torch.tensor(values, dtype=torch.float64)}
    best = objective(scheme, scheme.compress(weights, mu), weights, mu)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(8):
        dense = random_feasible(scheme, len(values), generator)
        rival = objective(scheme, {"w": Dense(dense)}, weights, mu)
        assert rival < math.inf, "the rival is feasible"
        assert best <= rival * (1 + ROUNDING)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@tries
@given(seed=seeds, mu=mus)
def test_no_random_product_of_matrices_is_better(rank, seed, mu):
    generator = torch.Generator().manual_seed(seed)
    weights = draw({"w": (4, 5)}, torch.float64, seed)
    left = torch.randn(4, rank, generator=generator, dtype=torch.float64)
    # the best right factor for this left one
    right = torch.linalg.pinv(left) @ weights["w"] if rank else left.new_zeros(0, 5)
    for scheme in (LowRank(rank), RankSelection(alpha=0.1)):
        best = objective(scheme, scheme.compress(weights, mu), weights, mu)
        rival = objective(scheme, {"w": Dense(left @ right)}, weights, mu)
        assert best <= rival * (1 + ROUNDING)


@pytest.mark.parametrize("scheme", VECTOR, ids=name_of)
@tries
@given(values=distinct, seed=seeds)
def test_permuting_the_weights_permutes_the_result(scheme, values, seed):
    w = torch.tensor(values, dtype=torch.float64)
    order = torch.randperm(len(w), generator=torch.Generator().manual_seed(seed))
    plain = scheme.compress({"w": w}, mu=1.0)["w"].dense()
    turned = scheme.compress({"w": w[order]}, mu=1.0)["w"].dense()
    gap = float((w - plain).square().sum()), float((w[order] - turned).square().sum())
    assert gap[0] == pytest.approx(gap[1], rel=1e-9, abs=1e-13)
    if not isinstance(scheme, AdaptiveQuantization):  # several codebooks may tie
        assert same(plain[order], turned, 10.0)


@pytest.mark.parametrize(
    "scheme",
    [s for s in CONSTRAINTS if not isinstance(s, BinaryQuantization)],
    ids=name_of,
)
@tries
@given(values=distinct, power=st.integers(-3, 3))
def test_constraints_scale_with_the_weights(scheme, values, power):
    factor = 4.0**power
    weights = column(values)
    scaled = {name: weight * factor for name, weight in weights.items()}
    wide = scheme
    if isinstance(scheme, ConstraintL1Pruning):
        wide = ConstraintL1Pruning(scheme.kappa * factor)
    expected = distortion(scheme.compress(weights, mu=1.0), weights) * factor**2
    found = distortion(wide.compress(scaled, mu=1.0), scaled)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12 * factor**2)


@pytest.mark.parametrize("scheme", VECTOR[1:], ids=name_of)
@tries
@given(values=distinct, mu=mus)
def test_changing_all_signs_changes_those_of_the_result(scheme, values, mu):
    w = torch.tensor(values, dtype=torch.float64)
    plain = {"w": w}
    turned = {"w": -w}
    found = objective(scheme, scheme.compress(plain, mu), plain, mu)
    expected = objective(scheme, scheme.compress(turned, mu), turned, mu)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-13)


SUMS = [
    [("codes", AdaptiveQuantization(2)), ("rest", ConstraintL0Pruning(2))],
    [("signs", ScaledTernaryQuantization("channel")), ("low", LowRank(1))],
    [("ranks", RankSelection(0.1)), ("few", PenaltyL0Pruning(0.2))],
    [
        ("low", LowRank(1)),
        ("some", Mixed([("few", ConstraintL1Pruning(1.0), "fc*")])),
        ("shrunk", PenaltyL1Pruning(0.1)),
    ],
]


@pytest.mark.parametrize("terms", SUMS, ids=name_of)
@settings(tries, max_examples=4)
@given(seed=seeds, mu=mus)
def test_no_sweep_over_a_sum_raises_its_objective(terms, seed, mu):
    weights = draw({"conv.weight": (2, 3, 2), "fc.weight": (3, 5)}, seed=seed)
    found = []
    for sweeps in (1, 2, 3, 6):
        scheme = Additive(terms, max_sweeps=sweeps, tol=0.0)
        found.append(objective(scheme, scheme.compress(weights, mu), weights, mu))
    rounding = 1 + 4 * torch.finfo(torch.float32).eps
    assert all(b <= a * rounding for a, b in pairwise(found))


@pytest.mark.parametrize("terms", SUMS, ids=name_of)
@settings(tries, max_examples=4)
@given(seed=seeds, mu=mus)
def test_a_sum_is_never_worse_than_its_warm_start(terms, seed, mu):
    shapes = {"conv.weight": (2, 3, 2), "fc.weight": (3, 5)}
    weights, others = (draw(shapes, torch.float64, seed + i) for i in range(2))
    scheme = Additive(terms, max_sweeps=1)
    near = {name: weights[name] + 0.01 * others[name] for name in weights}
    for start in (near, others):
        theta = scheme.compress(start, mu)
        before = objective(scheme, theta, weights, mu)
        found = scheme.compress(weights, mu, theta)
        assert objective(scheme, found, weights, mu) <= before * (1 + ROUNDING)


@pytest.mark.parametrize("scheme", VECTOR[:3], ids=name_of)
@tries
@given(values=lists, others=lists)
def test_quantization_is_never_worse_than_its_warm_start(scheme, values, others):
    weights = {"w": torch.tensor(values, dtype=torch.float64)}
    start = scheme.compress({"w": torch.tensor(others, dtype=torch.float64)}, 1.0)
    found = scheme.compress(weights, 1.0, start)
    cold = scheme.compress(weights, 1.0)
    assert distortion(found, weights) == pytest.approx(
        distortion(cold, weights), rel=1e-9, abs=1e-13
    )
