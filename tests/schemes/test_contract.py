"""Every scheme keeps the contract, for every dtype, device, shape and kind of data."""

import pytest
import torch
from cases import (
    COMPOSITIONS,
    DTYPES,
    GRANULARITIES,
    LEAVES,
    SETTINGS,
    SMALL,
    distortion,
    draw,
    name_of,
    objective,
    uses,
)
from elsewhere import DEVICES, ELSEWHERE

from sklc.codes import decompress
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    BinaryQuantization,
    Blocks,
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    LowRank,
    MatrixScheme,
    PenaltyL0Pruning,
    PenaltyL1Pruning,
    RankSelection,
    ScaledBinaryQuantization,
    ScaledTernaryQuantization,
)
from sklc.testing import check_scheme

#: Learned codebooks take as long as all else: those of layers stand for the others.
QUICK = [
    scheme
    for scheme in SETTINGS
    if not (isinstance(scheme, AdaptiveQuantization) and scheme.granularity != "layer")
]
EVERY = [*LEAVES, *SETTINGS, *COMPOSITIONS]

#: Weights that break what random ones do not.
SPECIAL = {
    "zeros": {name: torch.zeros(shape) for name, shape in SMALL.items()},
    "equal": {name: torch.full(shape, -0.7) for name, shape in SMALL.items()},
    "ties": {name: (2 * w).round() for name, w in draw(SMALL).items()},
    "heavy-tails": {name: w**9 for name, w in draw(SMALL).items()},
    "one-weight": draw({"conv.weight": (1, 1, 1, 1), "fc.weight": (1, 1)}),
}


#: Elsewhere than on the CPU the other dtypes take the same ways as these.
PLACES = [
    pytest.param(
        dtype,
        device,
        id=f"{name_of(dtype)}-{device}",
        marks=[pytest.mark.slow] if dtype == torch.float16 else [],
    )
    for device in DEVICES
    for dtype in DTYPES
    if device != ELSEWHERE or dtype in (torch.float64, torch.bfloat16)
]
in_every_dtype = pytest.mark.parametrize(
    ("dtype", "device"), PLACES, indirect=["device"]
)


@in_every_dtype
@pytest.mark.parametrize("scheme", QUICK, ids=name_of)
def test_schemes_keep_the_contract_in_every_dtype(scheme, dtype, device):
    check_scheme(scheme, weights=draw(SMALL, dtype, device=device))


@pytest.mark.parametrize("scheme", [s for s in SETTINGS if s not in QUICK], ids=name_of)
def test_codebooks_of_other_groups_keep_the_contract(scheme, device):
    check_scheme(scheme, weights=draw(SMALL, device=device))


@pytest.mark.parametrize("scheme", LEAVES, ids=name_of)
def test_schemes_keep_the_contract_with_their_defaults(scheme, device):
    check_scheme(scheme, device=device)


@pytest.mark.parametrize("scheme", COMPOSITIONS, ids=name_of)
def test_compositions_keep_the_contract(scheme, device):
    check_scheme(scheme, weights=draw(SMALL, device=device))


@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("scheme", QUICK, ids=name_of)
def test_schemes_keep_the_contract_on_special_weights(scheme, special):
    check_scheme(scheme, weights=SPECIAL[special])


@pytest.mark.parametrize("special", ["zeros", "ties", "one-weight"])
@pytest.mark.parametrize("scheme", COMPOSITIONS, ids=name_of)
def test_compositions_keep_the_contract_on_special_weights(scheme, special):
    check_scheme(scheme, weights=SPECIAL[special])


def takes_biases(scheme):
    """Whether a scheme needs no axis of inputs."""
    blocks = isinstance(getattr(scheme, "granularity", None), Blocks)
    return not blocks and not isinstance(scheme, MatrixScheme)


@pytest.mark.parametrize("scheme", list(filter(takes_biases, SETTINGS)), ids=name_of)
def test_vector_schemes_keep_the_contract_on_biases_and_scalars(scheme):
    check_scheme(scheme, weights=draw({"fc.bias": (3,), "scale": (), "one": (1,)}))


@pytest.mark.parametrize("shape", [(2, 3, 2), (2, 1, 2, 1, 3)], ids=str)
@pytest.mark.parametrize(
    "scheme", [s for s in SETTINGS if isinstance(s, MatrixScheme)], ids=name_of
)
def test_matrix_schemes_keep_the_contract_on_other_convolutions(scheme, shape):
    check_scheme(scheme, weights=draw({"conv.weight": shape}))


@in_every_dtype
@pytest.mark.parametrize("scheme", COMPOSITIONS, ids=name_of)
def test_compositions_are_feasible_in_every_dtype(scheme, dtype, device):
    weights = draw(SMALL, dtype, device=device)
    theta = scheme.compress(weights, 1e-5)
    assert scheme.cost(theta, weights) < float("inf")
    for name, dense in decompress(theta).items():
        assert dense.dtype == dtype
        assert dense.device == weights[name].device
        assert dense.shape == weights[name].shape


@pytest.mark.parametrize("scheme", EVERY, ids=name_of)
def test_memory_layout_and_gradients_of_the_weights_do_not_matter(scheme):
    plain = draw(SMALL)
    turned = {
        name: weight.transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
        for name, weight in plain.items()
    }
    assert not any(weight.is_contiguous() for weight in turned.values())
    expected = decompress(scheme.compress(plain, 1e-5, layers=uses(plain)))
    theta = scheme.compress(turned, 1e-5, layers=uses(plain))
    for name, dense in decompress(theta).items():
        assert torch.equal(dense, expected[name])
        assert not dense.requires_grad


@pytest.mark.parametrize("scheme", EVERY, ids=name_of)
def test_codes_do_not_share_memory_with_the_weights(scheme):
    weights = draw(SMALL)
    theta = scheme.compress(weights, 1e-5, layers=uses(weights))
    before = decompress(theta)
    for weight in weights.values():
        weight.fill_(7.0)
    after = decompress(theta)
    assert all(torch.equal(before[name], after[name]) for name in before)


def _quantizers_with_fewer_choices(granularity):
    """Pairs: a scheme, and one whose feasible set lies within that of the first."""
    of = {"granularity": granularity}
    two, three = AdaptiveQuantization(2, **of), AdaptiveQuantization(3, **of)
    four = AdaptiveQuantization(4, **of)
    zero = AdaptiveQuantization(3, zero=True, **of)
    pruned = AdaptiveQuantization(3, zero=True, kappa=0.5, **of)
    return [
        (two, ScaledBinaryQuantization(**of)),
        (two, BinaryQuantization()),
        (ScaledBinaryQuantization(**of), BinaryQuantization()),
        (three, two),
        (three, zero),
        (three, ScaledTernaryQuantization(**of)),
        (zero, ScaledTernaryQuantization(**of)),
        (zero, pruned),
        (zero, AdaptiveQuantization(2, zero=True, **of)),
        (four, AdaptiveQuantization(4, zero=True, **of)),
        (AdaptiveQuantization(4, zero=True, **of), three),
        (ConstraintL0Pruning(0.5, **of), pruned),
        (ConstraintL0Pruning(0.5, **of), ConstraintL0Pruning(0.25, **of)),
        (ConstraintL1Pruning(3.0, **of), ConstraintL1Pruning(1.5, **of)),
    ]


FEWER_CHOICES = [
    pair
    for granularity in GRANULARITIES
    for pair in _quantizers_with_fewer_choices(granularity)
] + [
    *[
        (kind("layer"), kind("joint"))
        for kind in (ScaledBinaryQuantization, ScaledTernaryQuantization)
    ],
    *[
        (kind("channel"), kind("layer"))
        for kind in (ScaledBinaryQuantization, ScaledTernaryQuantization)
    ],
    (AdaptiveQuantization(), AdaptiveQuantization(granularity="joint")),
    (AdaptiveQuantization(granularity="channel"), AdaptiveQuantization()),
    (ConstraintL0Pruning(0.25), ConstraintL0Pruning(0.25, granularity="layer")),
    (ConstraintL0Pruning(0.5, "layer"), ConstraintL0Pruning(0.5, "channel")),
    (LowRank(2), LowRank(1)),
    (LowRank(1), LowRank(0)),
    (LowRank(2, "scheme_2"), LowRank(1, "scheme_2")),
]


@pytest.mark.parametrize("pair", FEWER_CHOICES, ids=name_of)
def test_more_choices_are_never_worse(pair):
    free, bound = pair
    shapes = {"conv.weight": (4, 3, 2, 2), "fc.weight": (4, 8)}
    for seed in range(3):
        weights = draw(shapes, torch.float64, seed)
        rival = bound.compress(weights, mu=1.0)
        assert free.cost(rival, weights) == 0.0, "the rival is feasible"
        found = distortion(free.compress(weights, mu=1.0), weights)
        assert found <= distortion(rival, weights) * (1 + 1e-12)


@pytest.mark.parametrize("mu", [1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("criterion", ["storage", "flops"])
def test_no_fixed_rank_beats_rank_selection(criterion, normalize, mu):
    scheme = RankSelection(alpha=1e-6, criterion=criterion, normalize=normalize)
    weights = draw({"conv.weight": (4, 3, 2, 2), "fc.weight": (6, 7)}, torch.float64)
    layers = uses(weights, 3.0)
    found = scheme.compress(weights, mu, layers=layers)
    best = objective(scheme, found, weights, mu, layers)
    for rank in range(7):
        rival = LowRank(rank).compress(weights, mu)
        assert best <= objective(scheme, rival, weights, mu, layers) * (1 + 1e-12)


@pytest.mark.parametrize("mu", [1e-2, 1.0, 1e2])
def test_no_constraint_beats_its_penalty(mu):
    weights = draw(SMALL, torch.float64)
    pairs = [
        (PenaltyL0Pruning(0.3), [ConstraintL0Pruning(k) for k in range(0, 37, 3)]),
        (PenaltyL1Pruning(0.3), [ConstraintL1Pruning(k / 2) for k in range(60)]),
    ]
    for penalty, constraints in pairs:
        best = objective(penalty, penalty.compress(weights, mu), weights, mu)
        for constraint in constraints:
            rival = constraint.compress(weights, mu)
            assert best <= objective(penalty, rival, weights, mu) * (1 + 1e-12)


@pytest.mark.parametrize(
    "terms",
    [
        [AdaptiveQuantization(3), ConstraintL0Pruning(4)],
        [ConstraintL0Pruning(4), AdaptiveQuantization(3)],
        [LowRank(1), ScaledTernaryQuantization(), ConstraintL1Pruning(1.0)],
    ],
    ids=name_of,
)
def test_a_sum_is_never_worse_than_a_term_alone(terms):
    for seed in range(2):
        weights = draw(SMALL, torch.float64, seed)
        scheme = Additive([(f"term{i}", term) for i, term in enumerate(terms)], 5)
        found = distortion(scheme.compress(weights, mu=1.0), weights)
        for term in terms:
            alone = distortion(term.compress(weights, mu=1.0), weights)
            assert found <= alone * (1 + 1e-12)
