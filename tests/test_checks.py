"""Hyperparameters of any kind of number work as those of Python, or are refused."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from cases import draw

from sklc.checks import (
    as_float,
    check_bool,
    check_count,
    check_int,
    check_option,
    check_positive,
    check_real,
    shown,
)
from sklc.codes import decompress, pack
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    Blocks,
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    LowRank,
    PenaltyL0Pruning,
    PenaltyL1Pruning,
    RankSelection,
)

HUGE, NAN, INF = 10**400, float("nan"), float("inf")
UNWRITABLE = 10**5000  # Python does not write so many digits


class Owner:
    def __init__(self, value):
        self.value = value


def error_of(check, value, *args):
    with pytest.raises(ValueError, match="value must be") as info:
        check(Owner(value), "value", *args)
    return str(info.value)


@pytest.mark.parametrize(
    ("check", "args", "value", "expected"),
    [
        (check_int, (1,), np.int8(3), 3),
        (check_int, (1,), np.uint64(3), 3),
        (check_int, (1,), HUGE, HUGE),
        (check_int, (1, ("auto",)), "auto", "auto"),
        (check_int, (1, (None,)), None, None),
        (check_real, (0.0,), np.float16(100), 100.0),
        (check_real, (0.0,), np.int64(2), 2.0),
        (check_real, (0.0,), Fraction(1, 4), 0.25),
        (check_real, (0.0,), 0, 0.0),
        (check_positive, (), np.int64(2), 2.0),
        (check_positive, (), np.float32(0.5), 0.5),
        (check_positive, (("auto",),), "auto", "auto"),
        (check_count, (), np.int8(3), 3),
        (check_count, (), np.float16(0.5), 0.5),
        (check_count, (), HUGE, HUGE),
        (check_bool, (), np.True_, True),
        (check_bool, (), False, False),
        (check_option, (("a", None),), "a", "a"),
        (check_option, (("a", None),), None, None),
    ],
)
def test_a_check_returns_a_plain_value_of_python(check, args, value, expected):
    found = check(Owner(value), "value", *args)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("check", "args", "bad"),
    [
        (check_int, (1,), [0, 1.0, "1", None, True, np.True_, np.float64(1), NAN]),
        (check_real, (0.0,), [-1, NAN, INF, HUGE, -HUGE, "1", None, True, 1j,
                              np.float16("inf"), np.ones(1), torch.ones(())]),
        (check_positive, (), [0, -1, NAN, INF, HUGE, None, True, np.float32("nan")]),
        (check_count, (), [-1, -0.1, 1.5, NAN, INF, -HUGE, None, True, np.float16(2)]),
        (check_bool, (), [0, 1, None, "yes", np.int8(1)]),
        (check_option, (("a",),), ["b", None, 1, np.array(["a"])]),
    ],
)  # fmt: skip
def test_a_check_refuses_what_is_none(check, args, bad):
    for value in bad:
        text = error_of(check, value, *args)
        assert text.startswith(f"Owner(value={value!r}): value must be ")


def test_numbers_that_cannot_be_written_are_refused_all_the_same():
    text = error_of(check_real, UNWRITABLE, 0.0)
    assert text == (
        "Owner(value=<int of 16610 bits>): value must be a finite number of at least "
        "0.0."
    )
    assert shown(1.5) == "1.5"
    assert check_int(Owner(UNWRITABLE), "value", 1) == UNWRITABLE


def test_what_is_no_number_is_nan():
    assert as_float(HUGE) == INF
    assert as_float(-HUGE) == -INF
    for value in ("1", None, True, 1j, np.ones(1)):
        assert np.isnan(as_float(value))


NUMBERS = [
    (AdaptiveQuantization, {"k": np.int8(3)}, {"k": 3}),
    (
        AdaptiveQuantization,
        {"k": np.uint8(2), "zero": np.True_},
        {"k": 2, "zero": True},
    ),
    (
        AdaptiveQuantization,
        {"k": 3, "zero": True, "kappa": np.float16(0.25)},
        {"k": 3, "zero": True, "kappa": 0.25},
    ),
    (AdaptiveQuantization, {"k": HUGE}, {"k": 48}),
    (AdaptiveQuantization, {"k": HUGE, "zero": True}, {"k": 49, "zero": True}),
    (ConstraintL0Pruning, {"kappa": np.int8(5)}, {"kappa": 5}),
    (ConstraintL0Pruning, {"kappa": HUGE}, {"kappa": 48}),
    (ConstraintL0Pruning, {"kappa": 2, "granularity": Blocks(np.int8(4))},
     {"kappa": 2, "granularity": Blocks(4)}),
    (ConstraintL1Pruning, {"kappa": np.int8(5)}, {"kappa": 5.0}),
    (ConstraintL1Pruning, {"kappa": np.float16(5)}, {"kappa": 5.0}),
    (PenaltyL0Pruning, {"alpha": np.float16(100)}, {"alpha": 100.0}),
    (PenaltyL1Pruning, {"alpha": np.float16(100)}, {"alpha": 100.0}),
    (PenaltyL1Pruning, {"alpha": np.int8(100)}, {"alpha": 100.0}),
    (LowRank, {"rank": np.int8(2)}, {"rank": 2}),
    (LowRank, {"rank": HUGE}, {"rank": 6}),
    (RankSelection, {"alpha": np.float16(100)}, {"alpha": 100.0}),
    (RankSelection, {"alpha": np.int64(2), "normalize": np.False_}, {"alpha": 2.0}),
]  # fmt: skip


@pytest.mark.parametrize("mu", [1e-5, 1.0, np.float16(100), np.int8(100), 3e5])
@pytest.mark.parametrize(("kind", "given", "plain"), NUMBERS, ids=str)
def test_any_number_is_that_number(kind, given, plain, mu):
    weights = draw({"w": (6, 8)})
    one, other = kind(**given), kind(**plain)
    theta, expected = one.compress(weights, mu), other.compress(weights, float(mu))
    for name, dense in decompress(theta).items():
        assert torch.equal(dense, expected[name].dense())
    header, arrays = pack(theta)
    assert header == pack(expected)[0]
    assert all(np.array_equal(a, pack(expected)[1][n]) for n, a in arrays.items())
    assert one.cost(theta, weights) == other.cost(expected, weights) < INF


BAD_MU = [HUGE, -HUGE, UNWRITABLE, np.float16("inf"), np.True_]


@pytest.mark.parametrize("mu", BAD_MU, ids=lambda mu: type(mu).__name__)
def test_a_penalty_parameter_is_a_number_too(mu):
    with pytest.raises(ValueError, match="mu must be a positive finite number, got"):
        LowRank().compress(draw({"w": (2, 2)}), mu)


def test_sweeps_of_any_number():
    weights = draw({"w": (6, 8)})
    terms = [("few", ConstraintL0Pruning(3)), ("low", LowRank(1))]
    one = Additive(terms, np.int8(3), np.float16(0)).compress(weights, 1.0)
    other = Additive(terms, 3, 0.0).compress(weights, 1.0)
    assert torch.equal(one["w"].dense(), other["w"].dense())


def test_a_little_is_not_nothing():
    weights = draw({"w": (3, 4)})
    assert LowRank().compress(weights, 1.0)["w"].rank == 1
    assert LowRank(1e-9).compress(weights, 1.0)["w"].rank == 1
    assert LowRank(0.0).compress(weights, 1.0)["w"].rank == 0
    for granularity in ("joint", "layer", "channel", Blocks(2)):
        few = ConstraintL0Pruning(1e-9, granularity).compress(weights, 1.0)["w"]
        rows = {"joint": 1, "layer": 1, "channel": 3}.get(str(granularity), 6)
        assert len(few.values) == rows
    scheme = AdaptiveQuantization(2, zero=True, kappa=0.01)
    assert int(scheme.compress(weights, 1.0)["w"].dense().count_nonzero()) == 1
