"""How often a C step waits for its device: not more for more rows or layers."""

import pytest
import torch
from cases import CONV_SCHEMES, GRANULARITIES, draw, name_of, uses
from elsewhere import waiting

from sklc.codes import decompress, nbits, to
from sklc.schemes import (
    AdaptiveQuantization,
    BinaryQuantization,
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

#: With the most times that the host may wait: for the sizes of what is kept, the
#: places where layers end, the ranks, decompositions of matrices of a size (there are
#: three sizes), and whether all weights are finite.
SCHEMES = [
    *[
        case
        for granularity in GRANULARITIES
        for case in [
            (ConstraintL0Pruning(0.2, granularity), 3),
            (ConstraintL1Pruning(2.0, granularity), 3),
            (ScaledBinaryQuantization(granularity), 1),
            (ScaledTernaryQuantization(granularity), 1),
            (AdaptiveQuantization(3, granularity=granularity), 2),
            (AdaptiveQuantization(3, True, granularity=granularity), 2),
            (AdaptiveQuantization(3, True, 0.3, granularity), 2),
        ]
    ],
    (PenaltyL0Pruning(4e-6), 3),
    (PenaltyL1Pruning(4e-6), 3),
    (BinaryQuantization(), 1),
    *[
        case
        for view in CONV_SCHEMES
        for case in [
            (LowRank(2, view), 4),
            (RankSelection(1e-6, conv_scheme=view), 5),
            (RankSelection(1e-6, "flops", True, view), 5),
        ]
    ],
]
every = pytest.mark.parametrize(
    ("scheme", "most"), SCHEMES, ids=[name_of(scheme) for scheme, _ in SCHEMES]
)


def layers(count, rows, device, dtype=torch.float32):
    """Return layers of different lengths."""
    shapes = {f"fc{i}.weight": (rows, 5 + i % 3) for i in range(count)}
    return draw(shapes, dtype, device=device)


def times_waited(function, weights, *args, **kwargs):
    with waiting() as waits:
        function(weights, *args, layers=uses(weights), **kwargs)
    return len(waits)


@every
def test_a_c_step_waits_no_more_for_more_layers_or_rows(scheme, most, elsewhere):
    dtypes = [torch.float32, torch.float64]  # of matrices, which decompose differently
    for dtype in dtypes if isinstance(scheme, MatrixScheme) else dtypes[:1]:
        few = times_waited(scheme.compress, layers(3, 8, elsewhere, dtype), mu=1e-5)
        for count, rows in (20, 8), (3, 40):
            weights = layers(count, rows, elsewhere, dtype)
            assert times_waited(scheme.compress, weights, mu=1e-5) == few
        assert few <= most


@every
def test_a_cost_waits_no_more_for_more_layers_or_rows(scheme, most, elsewhere):
    for count, rows in (3, 8), (20, 8), (3, 40):
        weights = layers(count, rows, elsewhere)
        theta = scheme.compress(weights, mu=1e-5, layers=uses(weights))
        with waiting() as waits:
            scheme.cost(theta, weights, uses(weights))
        assert len(waits) <= 2  # for whether it is feasible, and for the cost


@every
def test_the_size_is_one_look_at_the_device_for_any_theta(scheme, most, elsewhere):
    weights = layers(9, 4, elsewhere)
    theta = scheme.compress(weights, mu=1e-5, layers=uses(weights))
    with waiting() as waits:
        size = nbits(theta)
    assert len(waits) <= 1
    assert size == nbits(to(theta, "cpu"))


@every
def test_a_c_step_finds_the_same_elsewhere(scheme, most, elsewhere):
    weights = layers(4, 6, "cpu")
    weights["fc1.weight"][:] = 0.0
    weights["fc2.weight"][2:] = 1.0  # ties
    here = decompress(scheme.compress(weights, mu=1e-5, layers=uses(weights)))
    moved = {name: weight.to(elsewhere) for name, weight in weights.items()}
    theta = scheme.compress(moved, mu=1e-5, layers=uses(weights))
    assert list(theta) == list(here)
    for name, dense in decompress(theta).items():
        assert dense.device == elsewhere
        torch.testing.assert_close(dense.cpu(), here[name])


def test_what_waits_is_seen(elsewhere):
    x = torch.tensor([1.0, 0.0], device=elsewhere)
    looks = {
        "item": x[0].item,
        "float": lambda: float(x[0]),
        "bool": lambda: bool(x[0] > 0),
        "int": lambda: int(x[0]),
        "tolist": x.tolist,
        "cpu": x.cpu,
        "to": lambda: x.to("cpu"),
        "nonzero": x.nonzero,
        "mask": lambda: x[x > 0],
        "into a mask": lambda: x.__setitem__(x > 0, x[:1]),
        "repeat": lambda: x.repeat_interleave(x.long()),
        "unique": x.unique,
        "equal": lambda: torch.equal(x, x),
    }
    for name, look in looks.items():
        with waiting() as waits:
            look()
        assert len(waits) >= 1, name
    with waiting() as waits:
        (x + 1).cumsum(0).clamp(max=2).sort().values.topk(1)
    assert waits == []
