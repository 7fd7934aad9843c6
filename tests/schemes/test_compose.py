"""Schemes made of schemes: which weights, which parameters, which sums."""

import itertools
import pickle

import pytest
import torch
from cases import SMALL, distortion, draw, objective, uses
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import ParameterGrid

from sklc.codes import Dense, Sum, decompress
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    LowRank,
    Mixed,
    PenaltyL0Pruning,
    PenaltyL1Pruning,
    RankSelection,
    ScaledBinaryQuantization,
    ScaledTernaryQuantization,
    Scheme,
    VectorScheme,
    all_schemes,
)
from sklc.selection import default, select

NET = {
    "conv.weight": torch.ones(4, 2, 3, 3),
    "conv.bias": torch.ones(4),
    "norm.weight": torch.ones(4),
    "norm.bias": torch.ones(4),
    "block.fc1.weight": torch.ones(5, 4),
    "block.fc1.bias": torch.ones(5),
    "block.fc2.weight": torch.ones(3, 5),
    "block.fc2.bias": torch.ones(3),
    "scale": torch.ones(()),
    "table": torch.ones(2, 2),
}


# which parameters: selection


def test_by_default_parameters_of_two_or_more_dimensions_are_compressed():
    matrices = ["conv.weight", "block.fc1.weight", "block.fc2.weight", "table"]
    assert default(NET) == matrices
    assert LowRank().covers(NET) == matrices
    assert ConstraintL0Pruning().covers(NET, selected=False) == matrices
    assert LowRank().covers(NET, selected=True) == list(NET)


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("conv", ["conv.weight"]),
        ("conv*", ["conv.weight"]),
        ("block.fc1", ["block.fc1.weight"]),
        ("block.*", ["block.fc1.weight", "block.fc2.weight"]),
        ("*fc?", ["block.fc1.weight", "block.fc2.weight"]),
        ("block.fc[2-9]", ["block.fc2.weight"]),
        ("*", ["conv.weight", "block.fc1.weight", "block.fc2.weight", "table"]),
        # a module without such a weight, and what belongs to no module: by full names
        ("norm*", ["norm.weight", "norm.bias"]),
        ("conv.bias", ["conv.bias"]),
        ("*.fc?.bias", ["block.fc1.bias", "block.fc2.bias"]),
        ("scale", ["scale"]),
        ("table", ["table"]),
        (["table", "conv"], ["conv.weight", "table"]),
        (("conv", "conv.bias"), ["conv.weight", "conv.bias"]),
        (["conv*", "conv"], ["conv.weight"]),
        (lambda name, weight: weight.ndim == 0, ["scale"]),
        (lambda name, weight: name.startswith("norm"), ["norm.weight", "norm.bias"]),
    ],
)
def test_selectors_pick_weights_of_modules_or_parameters(selector, names):
    assert select(selector, NET) == names


def test_patterns_mind_the_case():
    with pytest.raises(ValueError, match="'CONV' matches no weight"):
        select("CONV", NET)


def test_names_come_in_the_order_of_the_weights():
    backwards = dict(reversed(NET.items()))
    assert select(["conv", "table"], backwards) == ["table", "conv.weight"]
    scheme = Mixed([("a", LowRank(1), "block.fc2"), ("b", LowRank(1), "conv")])
    assert scheme.covers(NET) == ["conv.weight", "block.fc2.weight"]
    assert list(scheme.compress(NET, mu=1.0)) == ["conv.weight", "block.fc2.weight"]


def test_a_selection_that_need_not_match_may_be_empty():
    assert select("nothing", NET, strict=False) == []
    assert select(["nothing", "conv"], NET, strict=False) == ["conv.weight"]
    assert select(lambda name, weight: False, NET, strict=False) == []


def test_combinators_cover_what_their_parts_cover():
    inner = Mixed([("b", LowRank(1), "conv"), ("c", ConstraintL0Pruning(1), "*.bias")])
    biases = [name for name in NET if name.endswith("bias")]
    covered = [name for name in NET if name in {"conv.weight", *biases}]
    assert inner.covers(NET) == covered
    assert Additive([("in", inner)]).covers(NET) == covered
    both = Additive([("in", inner), ("all", LowRank(1))])
    assert both.covers(NET) == [n for n in NET if n in {*covered, *default(NET)}]
    assert both.covers(NET, selected=True) == list(NET)
    outer = Mixed([("x", inner, ["conv", "*.bias", "table"])])
    assert outer.covers(NET) == covered


# parts compress their own weights


def test_mixed_gives_each_weight_to_its_scheme():
    weights = draw(SMALL)
    prune, codes = ConstraintL0Pruning(3), AdaptiveQuantization(2)
    scheme = Mixed([("codes", codes, "fc"), ("prune", prune, "conv")])
    theta = scheme.compress(weights, mu=1.0)
    for name, part in ("conv.weight", prune), ("fc.weight", codes):
        alone = part.compress({name: weights[name]}, mu=1.0)[name]
        assert torch.equal(theta[name].dense(), alone.dense())


def test_a_joint_budget_spans_the_layers_of_a_part_only():
    weights = {"a.weight": torch.tensor([[9.0, 8.0]]), "b.weight": torch.ones(1, 2)}
    weights["c.weight"] = torch.full((1, 2), 5.0)
    scheme = Mixed(
        [
            ("one", ConstraintL0Pruning(2), ["a", "b"]),
            ("two", ConstraintL0Pruning(1), "c"),
        ]
    )
    dense = decompress(scheme.compress(weights, mu=1.0))
    assert {name: int(w.count_nonzero()) for name, w in dense.items()} == {
        "a.weight": 2,
        "b.weight": 0,
        "c.weight": 1,
    }


def test_weights_that_no_part_selects_are_left_alone():
    weights = draw(SMALL)
    scheme = Mixed([("codes", AdaptiveQuantization(2), "fc")])
    theta = scheme.compress(weights, mu=1.0)
    assert list(theta) == ["fc.weight"]
    assert scheme.cost(theta, weights) == 0.0


def test_a_part_may_leave_some_of_its_weights_alone():
    inner = Mixed([("codes", ConstraintL0Pruning(2), "fc")])
    scheme = Mixed([("all", inner, ["fc", "conv"])])
    weights = draw(SMALL)
    theta = scheme.compress(weights, mu=1.0)
    assert list(theta) == ["fc.weight"]
    assert scheme.cost(theta, weights) == 0.0
    broken = {"fc.weight": Dense(weights["fc.weight"])}
    assert scheme.cost(broken, weights) == float("inf")


class Stays(VectorScheme):
    """A scheme that returns its warm start, if it is given one."""

    exact = False

    def _compress(self, rows, mu, warm):
        return warm if warm is not None else Dense(rows.round())


def test_combinators_hand_warm_starts_down():
    weights = draw(SMALL)
    start = {name: Dense(torch.ones(shape)) for name, shape in SMALL.items()}
    mixed = Mixed([("stays", Stays(), "fc"), ("few", ConstraintL0Pruning(1), "conv")])
    found = mixed.compress(weights, 1.0, start)["fc.weight"]
    assert torch.equal(found.dense(), start["fc.weight"].dense())
    summed = Additive([("stays", Stays())], max_sweeps=1)
    sums = {name: Sum({"stays": code}) for name, code in start.items()}
    dense = decompress(summed.compress(weights, 1.0, sums))
    assert all(torch.equal(dense[name], start[name].dense()) for name in SMALL)


def test_a_codebook_that_does_not_fit_is_no_warm_start():
    weights, others = draw({"w": (4, 6)}), draw({"w": (4, 6)}, seed=1)

    def start(**params):
        return AdaptiveQuantization(**params).compress(others, 1.0)

    plain, pinned = start(k=3), start(k=3, zero=True)
    channels = start(k=3, granularity="channel")
    # too many values, a zero that is not there, other rows, another kind of code
    for misfit, params in [
        (plain, {"k": 2}),
        (plain, {"k": 3, "zero": True}),
        (pinned, {"k": 3}),
        (pinned, {"k": 2, "zero": True}),
        (channels, {"k": 3}),
        (plain, {"k": 3, "granularity": "channel"}),
        (LowRank(1).compress(weights, 1.0), {"k": 3}),
        ({"another": plain["w"]}, {"k": 3}),
        ({}, {"k": 3}),
    ]:
        scheme = AdaptiveQuantization(**params)
        cold = scheme.compress(weights, 1.0)["w"].dense()
        assert torch.equal(scheme.compress(weights, 1.0, misfit)["w"].dense(), cold)


# parameters of parts


@pytest.fixture
def nested():
    return Mixed(
        [
            ("conv", LowRank(rank=1), "conv"),
            (
                "rest",
                Additive(
                    [
                        ("codes", AdaptiveQuantization(k=2)),
                        ("few", ConstraintL0Pruning(kappa=3)),
                    ],
                    max_sweeps=5,
                ),
                "fc*",
            ),
        ]
    )


class Holder(BaseEstimator):
    """A meta-estimator that holds a scheme, as LCCompressor does."""

    def __init__(self, scheme=None):
        self.scheme = scheme


def test_parameters_are_named_at_any_depth(nested):
    assert set(nested.get_params()) == {
        "schemes",
        "conv",
        "conv__rank",
        "conv__conv_scheme",
        "rest",
        "rest__schemes",
        "rest__max_sweeps",
        "rest__tol",
        "rest__codes",
        "rest__codes__k",
        "rest__codes__zero",
        "rest__codes__kappa",
        "rest__codes__granularity",
        "rest__few",
        "rest__few__kappa",
        "rest__few__granularity",
    }
    assert set(nested.get_params(deep=False)) == {"schemes"}
    assert nested.get_params()["rest__codes__k"] == 2
    assert nested.get_params()["schemes"] is nested.schemes


def test_parameters_are_set_at_any_depth(nested):
    assert nested.set_params(conv__rank=2, rest__codes__k=4, rest__tol=0.1) is nested
    assert nested.schemes[0][1].rank == 2
    assert nested.schemes[1][1].schemes[0][1].k == 4
    assert nested.schemes[1][1].tol == 0.1
    assert [part[2] for part in nested.schemes] == ["conv", "fc*"]


def test_whole_schemes_are_replaced(nested):
    nested.set_params(rest__codes=ScaledBinaryQuantization(), conv=LowRank(rank=0))
    assert nested.schemes[0] == ("conv", nested.get_params()["conv"], "conv")
    assert nested.get_params()["conv__rank"] == 0
    terms = nested.schemes[1][1].schemes
    assert [type(scheme) for _, scheme in terms] == [
        ScaledBinaryQuantization,
        ConstraintL0Pruning,
    ]
    nested.set_params(schemes=[("only", LowRank(3), "fc")], only__rank=1)
    assert len(nested.schemes) == 1
    assert nested.schemes[0][1].rank == 1


def test_a_scheme_is_replaced_and_then_set(nested):
    nested.set_params(conv=AdaptiveQuantization(), conv__k=7)
    assert nested.schemes[0][1].k == 7


def test_unknown_parameters_are_refused(nested):
    with pytest.raises(ValueError, match="Invalid parameter 'width' for estimator"):
        nested.set_params(conv__width=3)
    with pytest.raises(ValueError, match="Invalid parameter 'nobody' for estimator"):
        nested.set_params(nobody=LowRank())


def test_a_grid_search_reaches_the_parameters_through_a_holder(nested):
    grid = ParameterGrid(
        {"scheme__conv__rank": [1, 2], "scheme__rest__codes__k": [2, 4]}
    )
    weights = draw({"conv.weight": (4, 3, 2, 2), "fc.weight": (4, 6)})
    sizes = []
    for params in grid:
        scheme = clone(Holder(nested)).set_params(**params).scheme
        theta = scheme.compress(weights, mu=1.0)
        codes = theta["fc.weight"].terms["codes"]
        sizes.append((theta["conv.weight"].rank, codes.codebook.shape[1]))
    assert sizes == [(1, 2), (1, 4), (2, 2), (2, 4)]
    assert nested.get_params()["conv__rank"] == 1, "the original is untouched"
    swapped = clone(Holder(nested)).set_params(scheme__rest=PenaltyL0Pruning(0.5))
    assert swapped.scheme.schemes[1][1].alpha == 0.5


def test_a_clone_shares_nothing_with_its_original(nested):
    copied = clone(nested)
    copied.set_params(rest__codes__k=9, conv__rank=9, rest__few=LowRank())
    assert nested.get_params()["rest__codes__k"] == 2
    assert nested.get_params()["conv__rank"] == 1
    assert nested.get_params()["rest__few__kappa"] == 3


def test_compositions_survive_pickle(nested):
    weights = draw(SMALL)
    copied = pickle.loads(pickle.dumps(nested))
    one, two = (decompress(s.compress(weights, 1.0)) for s in (nested, copied))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_compositions_print_their_parts(nested):
    assert " ".join(repr(nested).split()) == (
        "Mixed(schemes=[('conv', LowRank(rank=1), 'conv'), ('rest', "
        "Additive(max_sweeps=5, schemes=[('codes', AdaptiveQuantization()), ('few', "
        "ConstraintL0Pruning(kappa=3))]), 'fc*')])"
    )
    assert repr(Mixed()) == "Mixed()"


def test_parameters_of_an_invalid_composition_can_be_read():
    for schemes in (None, 3, [1], [("a",)], [("a", LowRank)]):
        assert Additive(schemes).get_params(deep=False)["schemes"] is schemes
        assert Additive(schemes).get_params()["max_sweeps"] == 50


def test_all_schemes_can_be_made_without_arguments():
    kinds = [kind for kind in all_schemes() if kind.__module__.startswith("sklc.")]
    assert [kind.__name__ for kind in kinds] == [
        "AdaptiveQuantization",
        "Additive",
        "BinaryQuantization",
        "ConstraintL0Pruning",
        "ConstraintL1Pruning",
        "LowRank",
        "Mixed",
        "PenaltyL0Pruning",
        "PenaltyL1Pruning",
        "RankSelection",
        "ScaledBinaryQuantization",
        "ScaledTernaryQuantization",
    ]
    defaults = {kind.__name__: kind().get_params(deep=False) for kind in kinds}
    assert defaults == {
        "AdaptiveQuantization": {
            "k": 2,
            "zero": False,
            "kappa": None,
            "granularity": "layer",
        },
        "Additive": {"schemes": (), "max_sweeps": 50, "tol": 1e-4},
        "BinaryQuantization": {},
        "ConstraintL0Pruning": {"kappa": 0.05, "granularity": "joint"},
        "ConstraintL1Pruning": {"kappa": 100.0, "granularity": "joint"},
        "LowRank": {"rank": 0.1, "conv_scheme": "scheme_1"},
        "Mixed": {"schemes": ()},
        "PenaltyL0Pruning": {"alpha": 1e-6},
        "PenaltyL1Pruning": {"alpha": 1e-6},
        "RankSelection": {
            "alpha": 1e-6,
            "criterion": "storage",
            "normalize": False,
            "conv_scheme": "scheme_1",
        },
        "ScaledBinaryQuantization": {"granularity": "layer"},
        "ScaledTernaryQuantization": {"granularity": "layer"},
    }


def test_all_schemes_finds_those_of_users_however_derived():
    class Mine(LowRank):
        pass

    class Mines(Mine):
        pass

    found = all_schemes()
    assert Mine in found
    assert Mines in found
    assert [kind.__name__ for kind in found] == sorted(k.__name__ for k in found)


# costs


def test_the_cost_of_mixed_is_the_sum_of_those_of_its_parts():
    weights = {"a.weight": torch.tensor([[3.0, 0.1]]), "b.weight": torch.ones(1, 2)}
    scheme = Mixed(
        [("l0", PenaltyL0Pruning(2.0), "a"), ("l1", PenaltyL1Pruning(0.5), "b")]
    )
    theta = scheme.compress(weights, mu=1.0)
    assert theta["a.weight"].dense().tolist() == [[3.0, 0.0]]
    assert theta["b.weight"].dense().tolist() == [[0.5, 0.5]]
    assert scheme.cost(theta, weights) == 2.0 + 0.5 * 1.0
    theta["b.weight"] = Dense(torch.tensor([[-4.0, 1.0]]))
    assert scheme.cost(theta, weights) == 2.0 + 0.5 * 5.0


def test_the_cost_of_a_sum_is_the_sum_of_those_of_its_terms():
    scheme = Additive([("l0", PenaltyL0Pruning(2.0)), ("l1", PenaltyL1Pruning(0.5))])
    terms = {
        "l0": Dense(torch.tensor([[0.0, 7.0]])),
        "l1": Dense(torch.tensor([[-3.0, 1.0]])),
    }
    assert scheme.cost({"w": Sum(terms)}) == 2.0 * 1 + 0.5 * 4


def test_the_costs_of_ranks_know_the_layers_and_the_weights():
    weights = draw({"a.weight": (6, 8), "b.weight": (5, 7)}, torch.float64)
    layers = uses(weights, 3.0)
    scheme = RankSelection(alpha=0.5, criterion="flops", normalize=True)
    theta = LowRank(2).compress(weights, mu=1.0)
    square = {name: float(w.square().sum()) for name, w in weights.items()}
    both = 0.5 * 3 * 2 * (14 * square["a.weight"] + 12 * square["b.weight"])
    assert scheme.cost(theta, weights, layers) == pytest.approx(both, rel=1e-12)
    mixed = Mixed([("a", scheme, "a"), ("b", PenaltyL1Pruning(0.0), "b")])
    only = 0.5 * 3 * 2 * 14 * square["a.weight"]
    assert mixed.cost(theta, weights, layers) == pytest.approx(only, rel=1e-12)
    plain = RankSelection(alpha=0.5)
    assert plain.cost(theta) == 0.5 * 2 * (14 + 12)
    assert plain.cost({"a.weight": Dense(weights["a.weight"])}) == 0.5 * 48


def test_the_numerical_rank_forgives_rounding_and_no_more():
    base = torch.ones(6, 8, dtype=torch.float64)
    for size, cost in (1e-14, float("inf")), (1e-16, 0.0):
        other = base.clone()
        other[0, 0] += 100 * size
        assert LowRank(1).cost({"w": Dense(other)}) == cost


@pytest.mark.parametrize(
    ("scheme", "good", "bad"),
    [
        (AdaptiveQuantization(2), [1.0, 2.0, 1.0], [1.0, 2.0, 3.0]),
        (AdaptiveQuantization(2, zero=True), [0.0, 2.0, 2.0], [1.0, 2.0, 2.0]),
        (AdaptiveQuantization(3, zero=True), [0.0, 2.0, 1.0], [3.0, 2.0, 1.0]),
        (AdaptiveQuantization(2, True, 1), [0.0, 2.0, 0.0], [0.0, 2.0, 2.0]),
        (ScaledBinaryQuantization(), [2.0, -2.0, 2.0], [2.0, -2.0, 1.0]),
        (ScaledTernaryQuantization(), [2.0, -2.0, 0.0], [2.0, -1.0, 0.0]),
        (ConstraintL0Pruning(2), [2.0, 0.0, -1.0], [2.0, 1e-9, -1.0]),
        (ConstraintL0Pruning(0), [0.0, 0.0, 0.0], [0.0, 0.0, 1e-9]),
        (ConstraintL0Pruning(0.5), [0.0, 3.0, 3.0], [1.0, 1.0, 1.0]),
        (ConstraintL1Pruning(3.0), [2.0, 0.0, -1.0], [2.0, 1e-5, -1.0]),
        (ConstraintL1Pruning(0), [0.0, 0.0, 0.0], [0.0, 0.0, 1e-5]),
    ],
)
def test_a_broken_constraint_costs_infinity(scheme, good, bad):
    assert scheme.cost({"w": Dense(torch.tensor(good))}) == 0.0
    assert scheme.cost({"w": Dense(torch.tensor(bad))}) == float("inf")
    summed = Additive([("only", scheme)])
    assert summed.cost({"w": Sum({"only": Dense(torch.tensor(good))})}) == 0.0
    assert summed.cost({"w": Sum({"only": Dense(torch.tensor(bad))})}) == float("inf")


@pytest.mark.parametrize("granularity", ["joint", "layer", "channel"])
def test_constraints_hold_for_each_group(granularity):
    theta = {
        "a": Dense(torch.tensor([[1.0, 1.0], [2.0, 2.0]])),
        "b": Dense(torch.tensor([[3.0, 3.0], [3.0, 3.0]])),
    }
    values = {"joint": 3, "layer": 2, "channel": 1}[granularity]
    nonzeros = {"joint": 8, "layer": 4, "channel": 2}[granularity]
    norm = {"joint": 18.0, "layer": 12.0, "channel": 6.0}[granularity]
    for kind, least in [
        (AdaptiveQuantization, values),
        (ConstraintL0Pruning, nonzeros),
        (ConstraintL1Pruning, norm),
    ]:
        enough, less = (
            kind(number, granularity=granularity) for number in (least, least - 0.5)
        )
        assert enough.cost(theta) == 0.0
        if kind is ConstraintL1Pruning:
            assert less.cost(theta) == float("inf")
        elif least > 1:
            fewer = kind(least - 1, granularity=granularity)
            assert fewer.cost(theta) == float("inf")


def test_a_weight_of_zeros_has_rank_0():
    zero = {"w": Dense(torch.zeros(5, 7))}
    assert LowRank(rank=0).cost(zero) == 0.0
    assert LowRank(rank=0).cost({"w": Dense(torch.eye(5, 7))}) == float("inf")


def test_low_rank_is_feasible_up_to_its_rank():
    outer = torch.ones(4, 1) @ torch.ones(1, 6)
    two = outer.clone()
    two[0, 0] = 5.0
    assert LowRank(1).cost({"w": Dense(outer)}) == 0.0
    assert LowRank(1).cost({"w": Dense(two)}) == float("inf")
    assert LowRank(2).cost({"w": Dense(two)}) == 0.0
    assert LowRank(0.5).cost({"w": Dense(two)}) == 0.0
    assert LowRank(0.25).cost({"w": Dense(two)}) == float("inf")


# sums


def test_terms_carry_their_names_in_their_order():
    scheme = Additive([("b", LowRank(1)), ("a", ConstraintL0Pruning(2))])
    code = scheme.compress(draw({"w": (4, 6)}), mu=1.0)["w"]
    assert list(code.terms) == ["b", "a"]


def test_a_sum_of_one_term_is_that_term():
    weights = draw(SMALL)
    for scheme in (AdaptiveQuantization(3), LowRank(1), PenaltyL1Pruning(0.1)):
        alone = decompress(scheme.compress(weights, mu=1.0))
        summed = decompress(Additive([("only", scheme)]).compress(weights, mu=1.0))
        for name in alone:
            assert torch.allclose(alone[name], summed[name], rtol=0, atol=1e-6)


def test_terms_may_share_only_some_weights():
    weights = draw(SMALL)
    scheme = Additive(
        [
            ("all", ScaledBinaryQuantization()),
            ("some", Mixed([("few", ConstraintL0Pruning(2), "fc")])),
        ]
    )
    theta = scheme.compress(weights, mu=1.0)
    assert list(theta) == list(weights)
    assert list(theta["conv.weight"].terms) == ["all"]
    assert list(theta["fc.weight"].terms) == ["all", "some"]
    assert scheme.cost(theta) == 0.0


def test_a_sum_finds_what_it_is_made_of():
    base = torch.where(torch.arange(40.0) < 20, -1.0, 1.0).reshape(5, 8)
    weights = {"w": base.clone()}
    weights["w"][2, 3] += 50.0
    for order in ([0, 1], [1, 0]):
        parts = [
            ("codes", AdaptiveQuantization(2)),
            ("few", ConstraintL0Pruning(1)),
        ]
        scheme = Additive([parts[i] for i in order])
        terms = scheme.compress(weights, mu=1.0)["w"].terms
        assert torch.allclose(terms["codes"].dense(), base, atol=1e-4)
        assert terms["few"].dense().nonzero().tolist() == [[2, 3]]


def swept(weights, mu=1.0, start=None, **params):
    """Return what a sum of two terms becomes, as its objective."""
    terms = [("few", PenaltyL1Pruning(alpha=0.05)), ("low", LowRank(2))]
    scheme = Additive(terms, **params)
    return objective(scheme, scheme.compress(weights, mu, start), weights, mu)


def test_sweeps_stop_at_the_relative_gain_of_the_whole_objective():
    weights, mu = draw({"w": (8, 10)}, torch.float64), 0.3
    terms = [("few", PenaltyL1Pruning(alpha=0.05)), ("low", LowRank(2))]
    start = Additive(terms, max_sweeps=1).compress(weights, mu)
    found = [swept(weights, mu, start, max_sweeps=n, tol=0.0) for n in (1, 2, 3, 4, 5)]
    assert found == sorted(set(found), reverse=True), "each sweep gains something"
    gains = [(one - two) / one for one, two in itertools.pairwise(found)]
    assert gains == sorted(gains, reverse=True)
    for sweep, gain in enumerate(gains[:-1], start=1):
        for tol, after in (1.001 * gain, sweep), (0.999 * gain, sweep + 1):
            stopped = swept(weights, mu, start, max_sweeps=sweep + 2, tol=tol)
            assert stopped == found[after]


def test_the_gain_of_a_sweep_that_is_too_little_is_kept():
    weights = draw({"w": (8, 10)}, torch.float64)
    two = swept(weights, max_sweeps=2, tol=0.0)
    assert swept(weights, max_sweeps=9, tol=1e9) == two < swept(weights, max_sweeps=1)


@pytest.mark.parametrize(
    ("weight", "tol"),
    [
        (torch.zeros(4, 5), 0.0),  # nothing to gain
        (torch.full((8, 8), 3e4, dtype=torch.float16), 1.0),  # its norm is no float16
    ],
)
def test_sweeps_come_to_an_end(weight, tol):
    scheme = Additive([("few", ConstraintL0Pruning(3))], max_sweeps=10**30, tol=tol)
    found = scheme.compress({"w": weight}, mu=1.0)["w"].dense()
    alone = ConstraintL0Pruning(3).compress({"w": weight}, mu=1.0)["w"].dense()
    assert torch.equal(found, alone)


def test_a_sum_hands_the_layers_and_the_weights_to_its_terms():
    weights = draw({"a.weight": (6, 8)}, torch.float64)
    layers = uses(weights, 3.0)
    ranks = RankSelection(alpha=0.01, criterion="flops")
    scheme = Additive([("ranks", ranks), ("few", ConstraintL0Pruning(2))])
    theta = scheme.compress(weights, 1.0, layers=layers)
    theta = scheme.compress(weights, 1.0, theta, layers)
    terms = {"a.weight": theta["a.weight"].terms["ranks"]}
    assert scheme.cost(theta, weights, layers) == ranks.cost(terms, weights, layers)
    normalized = RankSelection(alpha=0.5, normalize=True)
    sums = {"a.weight": Sum({"ranks": LowRank(1).compress(weights, 1.0)["a.weight"]})}

    class Rescaled(RankSelection):
        """One that a sum does not refuse."""

        rescales_distortion = False

    free = Rescaled(**normalized.get_params(deep=False))
    expected = 0.5 * 14 * float(weights["a.weight"].square().sum())
    cost = Additive([("ranks", free)]).cost(sums, weights)
    assert cost == pytest.approx(expected, rel=1e-12)
    again = Additive([("ranks", free)]).compress(weights, 1.0, sums)
    assert list(again) == ["a.weight"]


def test_a_sum_does_not_depend_on_the_order_of_the_layers():
    weights = draw({"a": (4, 5), "b": (3, 6)}, torch.float64)
    scheme = Additive([("codes", ScaledTernaryQuantization()), ("low", LowRank(1))])
    plain = decompress(scheme.compress(weights, mu=1.0))
    turned = decompress(scheme.compress(dict(reversed(weights.items())), mu=1.0))
    for name in weights:
        assert torch.allclose(plain[name], turned[name], rtol=0, atol=1e-12)


WARM = Additive(
    [("codes", AdaptiveQuantization(2)), ("few", ConstraintL0Pruning(2))], max_sweeps=5
)
LOOSE = Additive(
    [("codes", AdaptiveQuantization(8)), ("few", ConstraintL0Pruning(20))], max_sweeps=2
)


def fitting(dtype=torch.float64, shapes=SMALL):
    return WARM.compress(draw(shapes, dtype, seed=1), mu=1.0)


MISFITS = {
    "not sums": lambda: LowRank(1).compress(draw(SMALL, torch.float64), mu=1.0),
    "other terms": lambda: Additive([("x", LowRank(1))]).compress(draw(SMALL), mu=1.0),
    "other weights": lambda: {"another": fitting()["fc.weight"]},
    "some of the weights": lambda: {"fc.weight": fitting()["fc.weight"]},
    "other shapes": lambda: fitting(
        shapes={"conv.weight": (3, 3, 2, 2), "fc.weight": (2, 7)}
    ),
    "another dtype": lambda: fitting(torch.float32),
    "not feasible": lambda: LOOSE.compress(draw(SMALL, torch.float64), mu=1.0),
    "nothing": dict,
}


@pytest.mark.parametrize("why", MISFITS)
def test_warm_starts_that_do_not_fit_are_ignored(why):
    weights = draw(SMALL, torch.float64)
    cold = decompress(WARM.compress(weights, mu=1.0))
    warm = WARM.compress(weights, 1.0, MISFITS[why]())
    assert WARM.cost(warm) == 0.0
    for name, dense in decompress(warm).items():
        assert torch.equal(dense, cold[name])


def test_a_term_that_covered_other_weights_is_no_warm_start():
    weights = draw(SMALL, torch.float64)
    few = ConstraintL0Pruning(2)
    wide = Additive([("a", LowRank(1)), ("b", Mixed([("x", few, "*")]))])
    narrow = Additive([("a", LowRank(1)), ("b", Mixed([("x", few, "fc")]))])
    theta = narrow.compress(weights, 1.0, wide.compress(weights, 1.0))
    assert list(theta["conv.weight"].terms) == ["a"]
    assert narrow.cost(theta) == 0.0
    expected = LowRank(1).compress({"conv.weight": weights["conv.weight"]}, 1.0)
    found, expected = theta["conv.weight"].dense(), expected["conv.weight"].dense()
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 8), (48,)], ids=str)
def test_a_warm_start_that_fits_is_used(shape):
    # cold, the two terms stop at a worse sum than the one that made these weights
    weights = draw({"w": shape}, torch.float64)
    scheme = Additive(
        [("codes", AdaptiveQuantization(2)), ("few", ConstraintL0Pruning(5))],
        max_sweeps=1,
    )
    theta, found = None, []
    for _ in range(4):
        theta = scheme.compress(weights, 1.0, theta)
        found.append(distortion(theta, weights))
    assert found[3] <= found[2] <= found[1] < found[0]
    longer = scheme.set_params(max_sweeps=4, tol=0.0).compress(weights, 1.0)
    assert distortion(longer, weights) <= found[0]


def test_a_result_may_start_the_next_one_at_another_mu():
    weights = draw(SMALL, torch.float64)
    scheme = Additive([("ranks", RankSelection(0.05)), ("few", PenaltyL0Pruning(0.05))])
    start = scheme.compress(weights, mu=0.1)
    for mu in (0.2, 1.0, 5.0):
        before = objective(scheme, start, weights, mu)
        start = scheme.compress(weights, mu, start)
        assert objective(scheme, start, weights, mu) <= before * (1 + 1e-12)


def test_exactness_is_that_of_the_parts():
    assert AdaptiveQuantization().exact
    assert not Additive([("a", LowRank())]).exact
    assert Mixed([("a", LowRank(), "*")]).exact
    inexact = Additive([("a", LowRank())])
    assert not Mixed([("a", LowRank(), "conv"), ("b", inexact, "fc")]).exact


class Offered(Scheme):
    """A scheme whose C step returns what it is told to."""

    def __init__(self, result=None, penalties=None):
        self.result, self.penalties = result, penalties

    def _solve(self, problem, theta):
        return {"w": self.result}

    def _cost(self, name, code, problem):
        return self.penalties[code is self.result]


@pytest.mark.parametrize(
    ("before", "after", "penalties", "mu", "taken"),
    [
        (1.0, 0.5, (0.0, 0.0), 1.0, True),
        (1.0, 1.5, (0.0, 0.0), 1.0, False),
        (1.0, -1.0, (0.0, 0.0), 1.0, False),  # as good: what is there stays
        (1.0, 1.0, (3.0, 2.5), 1.0, True),
        (1.0, 1.0, (3.0, 3.5), 1.0, False),
        (0.0, 1.0, (3.0, 2.0), 1.9, True),  # 1 of the penalty for mu / 2
        (0.0, 1.0, (3.0, 2.0), 2.0, False),
        (0.0, 1.0, (3.0, 2.0), 2.1, False),
        (1.0, 0.0, (2.0, 3.0), 2.1, True),
        (1.0, 0.0, (2.0, 3.0), 1.9, False),
    ],
)
def test_a_term_is_replaced_by_one_with_a_lower_objective(
    before, after, penalties, mu, taken
):
    target = 5.0
    old, new = (Dense(torch.tensor([target - x])) for x in (before, after))
    scheme = Additive([("t", Offered(new, penalties))], max_sweeps=1)
    start = {"w": Sum({"t": old})}
    found = scheme.compress({"w": torch.tensor([target])}, mu, start)
    assert found["w"].terms["t"] is (new if taken else old)


def test_a_term_that_is_not_there_yet_is_taken():
    new = Dense(torch.tensor([1.0]))
    scheme = Additive([("t", Offered(new, (0.0, 9.0)))], max_sweeps=1)
    found = scheme.compress({"w": torch.tensor([3.0])}, mu=1.0)
    assert found["w"].terms["t"] is new


@pytest.mark.parametrize("inner", [PenaltyL0Pruning(1.0), ConstraintL0Pruning(1)])
def test_what_is_no_sum_is_not_feasible_for_a_sum(inner):
    scheme = Additive([("a", inner), ("b", LowRank(1))])
    theta = {"w": Dense(draw({"w": (4, 6)})["w"])}
    assert scheme.cost(theta) == float("inf")


def test_a_scheme_has_a_cost_if_a_part_has():
    free, priced = ConstraintL0Pruning(1), PenaltyL0Pruning(1.0)
    assert not free.has_cost
    assert priced.has_cost
    assert Additive([("a", free), ("b", priced)]).has_cost
    assert not Mixed([("a", free, "*")]).has_cost
