"""A cheap C step follows weights that have moved a little, and is never worse."""

import numpy as np
import pytest
import torch
from cases import (
    COMPOSITIONS,
    LEAVES,
    SETTINGS,
    SMALL,
    distortion,
    draw,
    name_of,
    objective,
    uses,
)

from sklc.codes import Dense, decompress, pack
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    BinaryQuantization,
    ConstraintL0Pruning,
    LowRank,
    Mixed,
    PenaltyL0Pruning,
    RankSelection,
    ScaledBinaryQuantization,
    ScaledTernaryQuantization,
)

EVERY = [*LEAVES, *SETTINGS, *COMPOSITIONS]
MU = 1e-5
LARGER = {"conv.weight": (6, 4, 3, 3), "fc.weight": (12, 20)}


def walk(shapes=SMALL, dtype=torch.float64, n_steps=5, size=0.3):
    """Yield weights that move."""
    weights = draw(shapes, dtype)
    for seed in range(n_steps):
        yield weights
        moves = draw(shapes, dtype, seed + 1)
        weights = {name: w + size * moves[name] for name, w in weights.items()}


def packed(theta):
    header, arrays = pack(theta)
    return header, {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("scheme", EVERY, ids=name_of)
def test_it_follows_the_weights_and_is_never_worse_than_it_was(scheme):
    theta = None
    for weights in walk():
        layers = uses(weights)
        if theta is None:
            theta = scheme.compress(weights, MU, layers=layers)
            continue
        given, start = {n: w.clone() for n, w in weights.items()}, packed(theta)
        found = scheme.improve(theta, weights, MU, layers)
        before, after = (
            objective(scheme, each, weights, MU, layers) for each in (theta, found)
        )
        assert after <= before * (1 + 1e-12)  # infinite, if it is not feasible
        assert packed(theta) == start
        assert all(torch.equal(weights[name], given[name]) for name in given)
        for name, dense in decompress(found).items():
            assert (dense.shape, dense.dtype) == (weights[name].shape, torch.float64)
        theta = found


ONE_BY_ONE = [s for s in EVERY if "Additive" not in repr(s)]


@pytest.mark.parametrize("scheme", ONE_BY_ONE, ids=name_of)
def test_without_a_warm_start_that_fits_it_is_a_c_step(scheme):
    weights = draw(SMALL)
    layers = uses(weights)
    expected = packed(scheme.compress(weights, MU, layers=layers))
    for unfit in {}, {name: Dense(w.clone()) for name, w in weights.items()}:
        assert packed(scheme.improve(unfit, weights, MU, layers)) == expected


UNFIT = [
    (AdaptiveQuantization(2), AdaptiveQuantization(3)),
    (AdaptiveQuantization(3), AdaptiveQuantization(3, zero=True)),
    (AdaptiveQuantization(3), AdaptiveQuantization(3, granularity="channel")),
    (AdaptiveQuantization(2), LowRank(1)),
    (ScaledTernaryQuantization(), ScaledBinaryQuantization()),
    (ScaledTernaryQuantization(), ScaledTernaryQuantization("channel")),
    (LowRank(1), LowRank(2)),
    (LowRank(2), LowRank(1)),
    (LowRank(1), LowRank(1, conv_scheme="scheme_2")),
    (LowRank(1), AdaptiveQuantization(2)),
]


@pytest.mark.parametrize("pair", UNFIT, ids=name_of)
def test_what_another_scheme_found_does_not_fit(pair):
    scheme, other = pair
    weights = draw({"conv.weight": (3, 4, 2, 2)})
    expected = packed(scheme.compress(weights, MU))
    assert packed(scheme.improve(other.compress(weights, MU), weights, MU)) == expected


@pytest.mark.parametrize(
    "scheme",
    [
        BinaryQuantization(),
        ScaledBinaryQuantization(),
        ConstraintL0Pruning(5),
        PenaltyL0Pruning(1e-6),
        RankSelection(1e-6),
        LowRank(0),
    ],
    ids=name_of,
)
def test_a_scheme_without_a_cheaper_step_takes_a_whole_one(scheme):
    first, *_, last = walk()
    theta = scheme.compress(first, MU)
    found = scheme.improve(theta, last, MU)
    assert packed(found) == packed(scheme.compress(last, MU, theta))


# ---- Lloyd's algorithm ----


def nearest(w, values):
    return values[np.abs(w[:, None] - values).argmin(1)]


def lloyd(w, values, *, zero):
    """Return numbers after a step of Lloyd's algorithm, and their values."""
    values = np.sort(np.append(values, 0.0)) if zero else np.sort(values)
    group = np.abs(w[:, None] - values).argmin(1)
    means = [
        w[group == g].mean() if (group == g).any() else value
        for g, value in enumerate(values)
    ]
    moved = np.where(zero & (values == 0), 0.0, means)
    return nearest(w, moved)


@pytest.mark.parametrize("zero", [False, True])
def test_codebooks_take_a_step_of_lloyds_algorithm(zero):
    scheme = AdaptiveQuantization(4, zero=zero)
    first, second, *_ = walk(LARGER)
    theta = scheme.compress(first, MU)
    found = decompress(scheme.improve(theta, second, MU))
    for name, weight in second.items():
        values = theta[name].codebook[0].numpy()
        expected = lloyd(weight.flatten().numpy(), values, zero=zero)
        np.testing.assert_allclose(found[name].flatten(), expected, rtol=1e-12)


@pytest.mark.parametrize("granularity", ["joint", "layer", "channel"])
@pytest.mark.parametrize(
    "scheme",
    [
        AdaptiveQuantization(3),
        AdaptiveQuantization(3, zero=True),
        ScaledTernaryQuantization(),
    ],
    ids=name_of,
)
def test_an_optimum_stays_and_repeated_steps_come_to_rest(scheme, granularity):
    scheme = type(scheme)(**{**scheme.get_params(), "granularity": granularity})
    first, second, *_ = walk(LARGER)
    best = scheme.compress(second, MU)
    stays = scheme.improve(best, second, MU)
    for name, dense in decompress(best).items():
        torch.testing.assert_close(stays[name].dense(), dense, rtol=1e-12, atol=0)
    theta = scheme.compress(first, MU)
    for _ in range(100):
        before, theta = theta, scheme.improve(theta, second, MU)
    at_rest, near = (distortion(each, second) for each in (theta, best))
    assert at_rest == pytest.approx(distortion(before, second), rel=1e-14)
    assert near * (1 - 1e-12) <= at_rest < 1.2 * near


def test_the_scale_is_the_mean_magnitude_of_what_is_no_zero():
    scheme = ScaledTernaryQuantization()
    first, second, *_ = walk({"w": (5, 30)})
    theta = scheme.compress(first, MU)
    (code,) = scheme.improve(theta, second, MU).values()
    magnitude = second["w"].abs()
    support = magnitude > theta["w"].scale / 2
    expected = magnitude[support].mean()
    torch.testing.assert_close(code.scale[0], expected, rtol=1e-12, atol=0)
    assert torch.equal(code.dense() != 0, magnitude > expected / 2)


def test_a_value_that_nothing_is_near_to_stays():
    scheme = AdaptiveQuantization(2)
    theta = scheme.compress({"w": torch.tensor([[1.0, 1.0, 5.0, 5.0]])}, MU)
    (code,) = scheme.improve(theta, {"w": torch.full((1, 4), 0.5)}, MU).values()
    assert code.codebook.tolist() == [[0.5, 5.0]]
    ternary = ScaledTernaryQuantization()
    theta = ternary.compress({"w": torch.tensor([[1.0, -3.0]])}, MU)
    (code,) = ternary.improve(theta, {"w": torch.zeros(1, 2)}, MU).values()
    assert code.scale.tolist() == [3.0]


# ---- alternating least squares ----


def test_each_factor_is_the_best_one_for_the_other():
    first, second, *_ = walk(LARGER)
    scheme = LowRank(rank=2)
    theta = scheme.compress(first, MU)
    found = scheme.improve(theta, second, MU)
    for name, weight in second.items():
        w = weight.reshape(len(weight), -1)
        left = torch.linalg.lstsq(theta[name].right.T, w.T).solution.T  # of the old
        right = torch.linalg.lstsq(left, w).solution
        expected = (left @ right).view(weight.shape)
        torch.testing.assert_close(found[name].dense(), expected)


@pytest.mark.parametrize("conv_scheme", ["scheme_1", "scheme_2"])
def test_factors_stay_at_the_optimum_and_come_to_it(conv_scheme):
    first, second, *_ = walk({"fc.weight": (12, 20), "conv.weight": (4, 3, 2, 2)})
    scheme = LowRank(rank=2, conv_scheme=conv_scheme)
    best = scheme.compress(second, MU)
    stays = decompress(scheme.improve(best, second, MU))
    for name, dense in decompress(best).items():
        torch.testing.assert_close(stays[name], dense)
    theta = scheme.compress(first, MU)
    for _ in range(200):
        theta = scheme.improve(theta, second, MU)
    assert distortion(theta, second) == pytest.approx(distortion(best, second))


def test_factors_of_a_weight_of_low_rank_hold_it():
    """Where the products have less than full rank, too."""
    left, right = draw({"left": (6, 1), "right": (1, 8)}, torch.float64).values()
    scheme = LowRank(rank=3)
    theta = scheme.compress(draw({"w": (6, 8)}, torch.float64), MU)
    found = scheme.improve(theta, {"w": left @ right}, MU)
    torch.testing.assert_close(found["w"].dense(), left @ right)
    zeros = {"w": torch.zeros(6, 8, dtype=torch.float64)}
    assert scheme.improve(found, zeros, MU)["w"].dense().abs().max() == 0.0


# ---- what can turn into each other ----


@pytest.mark.parametrize(
    ("scheme", "smooth"),
    [
        (LowRank(2), True),
        (Mixed([("a", LowRank(1), "fc"), ("b", LowRank(2), "conv")]), True),
        (Additive([("a", LowRank(1)), ("b", ConstraintL0Pruning(3))]), False),
        (RankSelection(), False),
        (AdaptiveQuantization(), False),
        (ConstraintL0Pruning(), False),
    ],
    ids=name_of,
)
def test_low_rank_is_smooth_and_decisions_are_not(scheme, smooth):
    assert scheme.smooth is smooth


@pytest.mark.parametrize("granularity", ["layer", "channel", "joint"])
def test_few_values_on_few_weights_end_at_a_fixed_point(granularity):
    scheme = AdaptiveQuantization(3, True, 0.4, granularity)
    first, *_, last = walk(LARGER)
    theta = scheme.compress(first, MU)
    best = distortion(scheme.compress(last, MU), last)
    lost = [distortion(theta, last)]
    for _ in range(30):
        theta = scheme.improve(theta, last, MU)
        assert np.isfinite(objective(scheme, theta, last, MU, uses(last)))
        lost.append(distortion(theta, last))
    assert lost == sorted(lost, reverse=True)
    assert lost[-1] == pytest.approx(lost[-2])
    assert best <= lost[-1] * (1 + 1e-12) < lost[0]
