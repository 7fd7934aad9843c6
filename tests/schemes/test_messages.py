"""What schemes say when they are used wrongly: what, got, and what to do instead."""

import numpy as np
import pytest
import torch
from cases import LEAVES, draw, name_of, uses
from sklearn.base import clone

from sklc.costs import Storage
from sklc.layers import LayerInfo
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    BinaryQuantization,
    Blocks,
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
from sklc.selection import select

NET = {"conv.weight": torch.ones(2, 2, 3, 3), "fc.weight": torch.ones(2, 3)}
NAMES = "'conv.weight', 'fc.weight'"


def error_of(kind, call, *args, **kwargs):
    """Return the text of the error that a call raises."""
    with pytest.raises(kind) as info:
        call(*args, **kwargs)
    assert info.type is kind
    return str(info.value)


def compress(scheme, weights, mu=1.0, **kwargs):
    return scheme.compress(weights, mu, **kwargs)


# weights and mu, of any scheme

BAD_WEIGHTS = [
    (
        [torch.ones(2, 2)],
        TypeError,
        "weights must be a dict of name to tensor, got list.",
    ),
    (None, TypeError, "weights must be a dict of name to tensor, got NoneType."),
    ({}, ValueError, "weights is empty: there is nothing to compress."),
    (
        {"w": np.ones((2, 2))},
        TypeError,
        "weights['w'] must be a torch.Tensor, got ndarray; torch.as_tensor(...) makes "
        "one.",
    ),
    (
        {"w": torch.ones(2, 2, dtype=torch.int64)},
        TypeError,
        "weights['w'] must be floating point of 16 to 64 bits, got torch.int64; "
        "convert it, or select other layers.",
    ),
    (
        {"w": torch.ones(2, 2).to(torch.float8_e4m3fn)},
        TypeError,
        "weights['w'] must be floating point of 16 to 64 bits, got "
        "torch.float8_e4m3fn; convert it, or select other layers.",
    ),
    (
        {"w": torch.ones(2, 2, device="meta")},
        TypeError,
        "weights['w'] must be a dense tensor with data, but is on the meta device; "
        "to_dense() or to_empty(...) makes one.",
    ),
    (
        {"w": torch.eye(2).to_sparse()},
        TypeError,
        "weights['w'] must be a dense tensor with data, but is torch.sparse_coo; "
        "to_dense() or to_empty(...) makes one.",
    ),
    (
        {"w": torch.ones(2, 2, dtype=torch.complex64)},
        TypeError,
        "weights['w'] must be floating point of 16 to 64 bits, got torch.complex64; "
        "convert it, or select other layers.",
    ),
    (
        {"v": torch.ones(2, 2), "w": torch.ones(3, 0)},
        ValueError,
        "weights['w'] is empty (shape (3, 0)).",
    ),
    *[
        (
            {"v": torch.ones(2, 2), "w": torch.tensor([1.0, bad, 3.0, bad, 2.0])},
            ValueError,
            "weights['w'] has 2 NaN or infinite entries: the training has diverged or "
            "the model was damaged; try a lower learning rate.",
        )
        for bad in (float("nan"), float("inf"), -float("inf"))
    ],
    (
        {"w": torch.tensor([[float("inf"), -float("inf")], [1.0, 2.0]])},
        ValueError,
        "weights['w'] has 2 NaN or infinite entries: the training has diverged or the "
        "model was damaged; try a lower learning rate.",
    ),
]

COMBINATORS = [Mixed([("a", LowRank(1), "*")]), Additive([("a", LowRank(1))])]


@pytest.mark.parametrize(("weights", "kind", "text"), BAD_WEIGHTS, ids=name_of)
@pytest.mark.parametrize("scheme", [*LEAVES, *COMBINATORS], ids=name_of)
def test_weights_must_be_finite_floating_point_tensors(scheme, weights, kind, text):
    assert error_of(kind, compress, scheme, weights) == text


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_finite_weights_may_have_an_infinite_sum(dtype):
    largest = torch.finfo(dtype).max
    weights = {"w": torch.full((4, 4), largest, dtype=dtype)}
    dense = ConstraintL0Pruning(1.0).compress(weights, mu=1.0)["w"].dense()
    assert torch.equal(dense, weights["w"])


@pytest.mark.parametrize("mu", [0, 0.0, -1.0, float("nan"), float("inf"), "1", None])
@pytest.mark.parametrize("scheme", [*LEAVES, *COMBINATORS], ids=name_of)
def test_mu_must_be_positive_and_finite(scheme, mu):
    text = error_of(ValueError, compress, scheme, draw({"w": (2, 2)}), mu)
    assert text == f"mu must be a positive finite number, got {mu!r}."


@pytest.mark.parametrize("mu", [1, 1e-300, np.float32(2.0), np.int64(3)])
def test_mu_may_be_any_positive_number(mu):
    assert "w" in PenaltyL0Pruning().compress(draw({"w": (2, 2)}), mu)


# hyperparameters

OPTION = "granularity must be one of 'joint', 'layer', 'channel'"
ROWS = ", or rows such as Blocks(4)"
AT_LEAST_0 = "must be a finite number of at least 0.0."
COUNT = (
    "must be an int of at least 0 (a count) or a float from 0.0 to 1.0 (a fraction)."
)
NAN, INF = float("nan"), float("inf")

BAD_PARAMETERS = [
    *[
        (AdaptiveQuantization, {"k": k}, f"(k={k!r}): k must be an int of at least 1.")
        for k in (0, -1, 2.0, "2", None, True)
    ],
    *[
        (
            AdaptiveQuantization,
            {"zero": zero},
            f"(zero={zero!r}): zero must be True or False.",
        )
        for zero in (1, 0, None, "yes")
    ],
    *[
        (kind, {"granularity": option}, f"(granularity={option!r}): {OPTION}{more}.")
        for kind, more in (
            (AdaptiveQuantization, ""),
            (ScaledBinaryQuantization, ""),
            (ScaledTernaryQuantization, ""),
            (ConstraintL0Pruning, ROWS),
            (ConstraintL1Pruning, ROWS),
        )
        for option in ("row", None, Blocks)
    ],
    *[
        (kind, {"granularity": Blocks(2)}, f"(granularity=Blocks(m=2)): {OPTION}.")
        for kind in (
            AdaptiveQuantization,
            ScaledBinaryQuantization,
            ScaledTernaryQuantization,
        )
    ],
    *[
        (kind, {**more, name: value}, f"({name}={value!r}): {name} {COUNT}")
        for kind, name, more in (
            (ConstraintL0Pruning, "kappa", {}),
            (AdaptiveQuantization, "kappa", {"zero": True}),
            (LowRank, "rank", {}),
        )
        for value in (-1, -0.1, 1.1, NAN, INF, "1", True, False)
    ],
    *[
        (kind, {"kappa": None}, f"(kappa=None): kappa {wanted}")
        for kind, wanted in (
            (ConstraintL0Pruning, COUNT),
            (ConstraintL1Pruning, AT_LEAST_0),
        )
    ],
    *[
        (kind, {name: value}, f"({name}={value!r}): {name} {AT_LEAST_0}")
        for kind, name in (
            (ConstraintL1Pruning, "kappa"),
            (PenaltyL0Pruning, "alpha"),
            (PenaltyL1Pruning, "alpha"),
            (RankSelection, "alpha"),
        )
        for value in (-1, -1e-9, NAN, INF, "1", True, False, 10**400, np.float16("inf"))
    ],
    *[
        (
            kind,
            {"conv_scheme": option},
            f"(conv_scheme={option!r}): conv_scheme must be one of 'scheme_1', "
            "'scheme_2'.",
        )
        for kind in (LowRank, RankSelection)
        for option in ("scheme_3", 1)
    ],
    *[
        (
            RankSelection,
            {"criterion": criterion},
            f"(criterion={criterion!r}): criterion must be one of 'storage', 'flops', "
            "a cost, or a function of a code and its layer.",
        )
        for criterion in ("time", None, 3, Storage)
    ],
    (
        RankSelection,
        {"normalize": 1},
        "(normalize=1): normalize must be True or False.",
    ),
]


@pytest.mark.parametrize(("kind", "parameters", "text"), BAD_PARAMETERS, ids=name_of)
def test_hyperparameters_must_be_valid(kind, parameters, text):
    scheme, weights = kind(**parameters), draw({"w": (2, 2)})
    expected = kind.__name__ + text
    assert error_of(ValueError, scheme.compress, weights, 1.0) == expected
    assert error_of(ValueError, scheme.validate) == expected
    assert error_of(ValueError, scheme.cost, {}) == expected
    inside = Mixed([("part", Additive([("term", scheme)]), "*")])
    assert error_of(ValueError, inside.compress, weights, 1.0) == expected


@pytest.mark.parametrize("kappa", [0, 3, 0.5])
def test_a_bound_on_the_non_zeros_needs_a_zero(kappa):
    scheme = AdaptiveQuantization(kappa=kappa)
    assert error_of(ValueError, scheme.compress, NET, 1.0) == (
        f"AdaptiveQuantization(kappa={kappa!r}) bounds the number of non-zeros, and "
        "needs a zero: set zero=True."
    )
    assert error_of(ValueError, scheme.excess, NET).startswith("AdaptiveQuantization(")


def test_a_certificate_needs_valid_weights():
    text = error_of(ValueError, AdaptiveQuantization().excess, {})
    assert text == "weights is empty: there is nothing to compress."


VALID = [
    AdaptiveQuantization(np.int64(1)),
    AdaptiveQuantization(2, zero=True, kappa=0),
    AdaptiveQuantization(2, zero=True, kappa=np.float32(0.5)),
    ConstraintL0Pruning(0),
    ConstraintL0Pruning(1.0),
    ConstraintL0Pruning(np.float64(0.5)),
    ConstraintL1Pruning(0),
    ConstraintL1Pruning(np.float32(2.5)),
    PenaltyL0Pruning(0),
    PenaltyL1Pruning(0.0),
    LowRank(0),
    LowRank(0.0),
    RankSelection(0),
    Additive([("a", LowRank())], max_sweeps=1, tol=0),
]


@pytest.mark.parametrize("scheme", VALID, ids=name_of)
def test_hyperparameters_at_their_bounds_and_of_numpy_are_valid(scheme):
    theta = scheme.compress(draw({"w": (3, 4)}), mu=1.0)
    assert scheme.cost(theta) < INF


# what schemes need of weights and layers


def test_a_joint_problem_has_one_dtype():
    weights = {"a": torch.ones(2, dtype=torch.float64), "b": torch.ones(2)}
    kinds = [
        AdaptiveQuantization,
        ScaledBinaryQuantization,
        ScaledTernaryQuantization,
        ConstraintL0Pruning,
        ConstraintL1Pruning,
    ]
    for kind in kinds:
        scheme = kind(granularity="joint")
        assert error_of(ValueError, compress, scheme, weights) == (
            f"{kind.__name__}(granularity='joint') needs weights of one dtype and "
            'device, got ["(torch.float32, device(type=\'cpu\'))", "(torch.float64, '
            "device(type='cpu'))\"]; use 'layer'."
        )
        theta = kind(granularity="layer").compress(weights, mu=1.0)
        assert [theta[name].dense().dtype for name in weights] == [
            torch.float64,
            torch.float32,
        ]


def test_channels_must_be_on_the_first_axis():
    weights = {"up.weight": torch.ones(2, 3, 2, 2), "fc.weight": torch.ones(2, 2)}
    layers = {
        "up.weight": LayerInfo("ConvTranspose2d", output_axis=1),
        "fc.weight": LayerInfo(),
    }
    for kind in (AdaptiveQuantization, ScaledBinaryQuantization, ConstraintL0Pruning):
        scheme = kind(granularity="channel")
        text = error_of(ValueError, compress, scheme, weights, layers=layers)
        assert text == (
            "granularity='channel' needs the outputs on the first axis, but "
            "'up.weight' of ConvTranspose2d has them on axis 1; use 'layer' for it."
        )
        assert "up.weight" in kind(granularity="layer").compress(
            weights, 1.0, None, layers
        )
        # what is not known is taken as it is
        assert "up.weight" in scheme.compress(weights, 1.0)
        known = {"fc.weight": LayerInfo()}
        assert "up.weight" in scheme.compress(weights, 1.0, layers=known)


@pytest.mark.parametrize("scheme", [LowRank(1), RankSelection()], ids=name_of)
@pytest.mark.parametrize("shape", [(), (3,)])
def test_matrix_schemes_need_matrices(scheme, shape):
    weights = {"fc.weight": torch.ones(2, 2), "fc.bias": torch.ones(shape)}
    assert error_of(ValueError, compress, scheme, weights) == (
        f"{type(scheme).__name__} compresses matrices, but 'fc.bias' has shape "
        f"{shape}; select layers of two or more dimensions."
    )


def test_flops_need_layers():
    scheme = RankSelection(criterion="flops")
    theta = LowRank(1).compress(NET, mu=1.0)

    def expected(names):
        return (
            f"RankSelection(criterion='flops') cannot price {names}: nothing is known "
            "of its layer (pass layers=...). Use criterion='storage', or select other "
            "layers with Mixed."
        )

    both = expected("['conv.weight', 'fc.weight']")
    assert error_of(ValueError, compress, scheme, NET) == both
    assert error_of(ValueError, scheme.cost, theta) == both
    some = uses({"fc.weight": NET["fc.weight"]})
    one = expected("['conv.weight']")
    assert error_of(ValueError, compress, scheme, NET, layers=some) == one
    assert error_of(ValueError, scheme.cost, theta, NET, some) == one
    inside = Mixed([("part", Additive([("term", scheme)]), "fc")])
    assert error_of(ValueError, compress, inside, NET) == expected("['fc.weight']")
    assert "fc.weight" in inside.compress(NET, 1.0, layers=some)


def test_the_cost_of_a_normalized_error_needs_weights():
    scheme = RankSelection(normalize=True)
    assert error_of(ValueError, scheme.cost, scheme.compress(NET, 1.0)) == (
        "RankSelection(normalize=True).cost(theta, weights) needs weights."
    )


# selections


@pytest.mark.parametrize(
    ("selector", "kind", "text"),
    [
        (
            "lstm*",
            ValueError,
            "The layers pattern 'lstm*' matches no weight of a module and no "
            f"parameter. The parameters are {NAMES}.",
        ),
        (
            ["conv", "lstm*"],
            ValueError,
            "The layers pattern 'lstm*' matches no weight of a module and no "
            f"parameter. The parameters are {NAMES}.",
        ),
        ([], ValueError, "layers is an empty list: name at least one layer."),
        (
            3,
            TypeError,
            "layers must be a pattern, a list of patterns or a callable f(name, "
            "tensor), got 3.",
        ),
        (
            ["conv", 3],
            TypeError,
            "layers must be a pattern, a list of patterns or a callable f(name, "
            "tensor), got ['conv', 3].",
        ),
        (
            None,
            TypeError,
            "layers must be a pattern, a list of patterns or a callable f(name, "
            "tensor), got None.",
        ),
    ],
    ids=name_of,
)
def test_a_selection_must_pick_something(selector, kind, text):
    assert error_of(kind, select, selector, NET) == text
    scheme = Mixed([("part", LowRank(1), selector)])
    assert error_of(kind, compress, scheme, NET) == text
    assert error_of(kind, scheme.covers, NET) == text


def test_a_callable_must_pick_something():
    def nothing(name, weight):
        return False

    assert error_of(ValueError, select, nothing, NET) == (
        f"The layers callable {nothing!r} picks none of {NAMES}."
    )
    text = error_of(ValueError, select, "fc", {})
    assert text.endswith("The parameters are none at all.")


def test_a_weight_selected_twice_suggests_a_sum():
    scheme = Mixed([("first", LowRank(1), "*"), ("second", LowRank(1), ["fc"])])
    expected = (
        "'fc.weight' is selected by 'first' and by 'second'. Make their layers "
        "disjoint, or use Additive to compress a weight as a sum."
    )
    assert error_of(ValueError, compress, scheme, NET) == expected
    assert error_of(ValueError, scheme.covers, NET) == expected


# compositions

PARTS = "(name, scheme, layers)"
TERMS = "(name, scheme)"


@pytest.mark.parametrize(
    ("scheme", "kind", "text"),
    [
        (Mixed(), ValueError, f"Mixed needs a list of {PARTS}, got ()."),
        (Mixed([]), ValueError, f"Mixed needs a list of {PARTS}, got []."),
        (Additive(None), ValueError, f"Additive needs a list of {TERMS}, got None."),
        (Additive("ab"), ValueError, f"Additive needs a list of {TERMS}, got 'ab'."),
        (
            Mixed([("a", LowRank())]),
            ValueError,
            f"Each part of Mixed must be {PARTS}, got ('a', LowRank()).",
        ),
        (
            Additive([("a", LowRank(), "fc")]),
            ValueError,
            f"Each part of Additive must be {TERMS}, got ('a', LowRank(), 'fc').",
        ),
        (
            Additive([LowRank()]),
            ValueError,
            f"Each part of Additive must be {TERMS}, got LowRank().",
        ),
        (
            Additive([["a", 1]]),
            ValueError,
            f"Each part of Additive must be {TERMS}, got ['a', 1].",
        ),
        (
            Additive([("a", LowRank)]),
            TypeError,
            f"Each part of Additive must be {TERMS} with a str and a Scheme, got "
            f"('a', {LowRank!r}).",
        ),
        (
            Mixed([(1, LowRank(), "fc")]),
            TypeError,
            f"Each part of Mixed must be {PARTS} with a str and a Scheme, got "
            "(1, LowRank(), 'fc').",
        ),
    ],
    ids=name_of,
)
def test_parts_must_be_named_schemes(scheme, kind, text):
    assert error_of(kind, compress, scheme, NET) == text
    assert error_of(kind, scheme.covers, NET) == text
    assert error_of(kind, scheme.cost, {}) == text
    outer = Additive([("inner", scheme)])
    assert error_of(kind, compress, outer, NET) == text


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a", "a"], "Names provided are not unique"),
        (["a", "b__c"], "must not contain __"),
        (["a", "tol"], "conflict with constructor arguments"),
    ],
)
def test_names_must_be_parameters_of_their_own(names, text):
    scheme = Additive([(name, LowRank()) for name in names])
    assert text in error_of(ValueError, compress, scheme, NET)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        *[
            ({"max_sweeps": n}, f"(max_sweeps={n!r}): max_sweeps must be an int of at "
             "least 1.")
            for n in (0, 1.5, True)
        ],
        *[
            ({"tol": tol}, f"(tol={tol!r}): tol {AT_LEAST_0}")
            for tol in (-1e-6, INF, NAN, None)
        ],
    ],
    ids=name_of,
)  # fmt: skip
def test_sweeps_must_be_counted(parameters, text):
    scheme = Additive([("a", LowRank())], **parameters)
    assert error_of(ValueError, compress, scheme, NET) == "Additive" + text


NORMALIZED = RankSelection(normalize=True)


@pytest.mark.parametrize(
    "term",
    [
        NORMALIZED,
        Mixed([("part", NORMALIZED, "*")]),
        Mixed([("x", Mixed([("y", NORMALIZED, "fc"), ("z", LowRank(), "conv")]), "*")]),
    ],
    ids=name_of,
)
def test_a_normalized_error_is_no_term_of_a_sum(term):
    scheme = Additive([("rest", BinaryQuantization()), ("ranks", term)])
    expected = (
        "The term 'ranks' of Additive measures its error in units of its own, "
        "RankSelection(normalize=True); use normalize=False."
    )
    assert error_of(ValueError, compress, scheme, NET) == expected
    assert error_of(ValueError, scheme.covers, NET) == expected
    outer = Mixed([("sum", scheme, "*")])
    assert error_of(ValueError, compress, outer, NET) == expected


def test_an_error_in_units_of_the_loss_is_a_term_of_a_sum():
    scheme = Additive([("ranks", RankSelection(0.1)), ("few", ConstraintL0Pruning(1))])
    assert not scheme.rescales_distortion
    assert not LowRank().rescales_distortion
    assert scheme.cost(scheme.compress(NET, mu=1.0)) < INF
    beside = Mixed(
        [("ranks", NORMALIZED, "fc"), ("few", ConstraintL0Pruning(1), "conv")]
    )
    assert beside.rescales_distortion
    assert "fc.weight" in beside.compress(NET, mu=1.0)


# compositions of themselves


def containing_itself(kind=Mixed, through=None):
    """Return a composition that is a part of its own, or of a part of its own."""
    part = ("*",) if kind is Mixed else ()
    scheme = kind([("a", LowRank(1), *part)])
    inner = scheme if through is None else through([("deep", scheme)])
    scheme.schemes = [("a", LowRank(1), *part), ("b", inner, *part)]
    return scheme


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        (containing_itself(), "Mixed contains itself, as its part 'b'"),
        (containing_itself(Additive), "Additive contains itself, as its part 'b'"),
        (
            containing_itself(Mixed, Additive),
            "Mixed contains itself, as its part 'b__deep'",
        ),
        (
            Additive([("outer", containing_itself())]),
            "Additive has a part that contains itself, 'outer__b'",
        ),
    ],
    ids=["mixed", "additive", "through another", "below"],
)
def test_a_composition_that_contains_itself_is_refused(scheme, text):
    calls = {
        "validate": scheme.validate,
        "compress": lambda: scheme.compress(NET, 1.0),
        "covers": lambda: scheme.covers(NET),
        "cost": lambda: scheme.cost({}),
        "clone": lambda: clone(scheme),
    }
    for name, call in calls.items():
        assert error_of(ValueError, call).startswith(text), name
    assert "schemes" in scheme.get_params()
    assert scheme.get_params() == scheme.get_params(deep=False)
    assert repr(scheme).startswith(type(scheme).__name__)
    assert error_of(ValueError, scheme.set_params, b__a__rank=2)


def test_a_scheme_may_be_two_parts():
    low = LowRank(1)
    scheme = Mixed([("a", low, "conv"), ("b", Mixed([("c", low, "fc")]), "fc")])
    assert list(scheme.compress(NET, 1.0)) == list(NET)
    assert scheme.get_params()["b__c__rank"] == 1


# what is wrong is found without solving


class NeverSolves(ConstraintL0Pruning):
    """One that would say so if it solved anything."""

    def _solve(self, problem, theta):
        raise AssertionError


HALVES = {"a": torch.ones(2, 2), "b": torch.ones(2, 2, dtype=torch.float16)}
TURNED = {"conv.weight": LayerInfo("ConvTranspose2d", output_axis=1)}


@pytest.mark.parametrize(
    ("scheme", "weights", "layers"),
    [
        (ConstraintL0Pruning(-1), NET, None),
        (ConstraintL0Pruning(1), {}, None),
        (ConstraintL0Pruning(1), {"w": torch.full((2, 2), NAN)}, None),
        (ConstraintL0Pruning(1), HALVES, None),
        (ConstraintL0Pruning(1, "channel"), NET, TURNED),
        (ConstraintL0Pruning(1, Blocks(2)), {"b": torch.ones(3)}, None),
        (LowRank(1), {"b": torch.ones(3)}, None),
        (RankSelection(criterion="flops"), NET, None),
        (RankSelection(1.0, "flops", False, "scheme_2"), NET,
         dict.fromkeys(NET, LayerInfo())),
        (Mixed([("a", LowRank(1), "nothing")]), NET, None),
        (Mixed([("a", LowRank(1), "*"), ("b", LowRank(1), "fc")]), NET, None),
        (Mixed([("a", RankSelection(criterion="flops"), "fc")]), NET, None),
        (Additive([("a", ConstraintL0Pruning(1)), ("b", LowRank(1))]), HALVES, None),
        (Additive([("a", NORMALIZED)]), NET, None),
        (Mixed([("a", Additive([("b", ConstraintL0Pruning(1, "channel"))]), "*")]), NET,
         TURNED),
    ],
    ids=name_of,
)  # fmt: skip
def test_what_is_wrong_is_found_without_solving(scheme, weights, layers):
    expected = error_of(ValueError, compress, scheme, weights, layers=layers)
    assert error_of(ValueError, scheme.check, weights, layers) == expected


def test_nothing_is_solved_to_find_nothing_wrong():
    never = NeverSolves(1)
    for scheme in (
        never,
        Additive([("a", never)]),
        Mixed([("a", Additive([("b", never), ("c", LowRank(1))]), "*")]),
    ):
        scheme.check(NET)
        with pytest.raises(AssertionError):
            scheme.compress(NET, 1.0)
