"""`check_scheme` finds what is wrong with a scheme."""

from dataclasses import dataclass

import pytest
import torch
from cases import draw

from sklc.codes import Code, Dense
from sklc.codes.streams import Floats, Stream
from sklc.schemes import (
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    LowRank,
    Mixed,
    PenaltyL0Pruning,
    RankSelection,
    Scheme,
    VectorScheme,
)
from sklc.testing import check_scheme


class Rounded(VectorScheme):
    """A sound scheme: the nearest integers."""

    def _compress(self, rows, mu, warm):
        return Dense(rows.round())

    def _feasible_rows(self, rows):
        return bool((rows == rows.round()).all())


class Casts(Rounded):
    def _compress(self, rows, mu, warm):
        return Dense(rows.round().half())


class Flattens(Rounded):
    def _solve(self, problem, theta):
        found = super()._solve(problem, theta)
        return {name: Dense(code.weight.reshape(-1)) for name, code in found.items()}


class Forgets(Rounded):
    def _solve(self, problem, theta):
        found = super()._solve(problem, theta)
        found.popitem()
        return found


class BreaksItsConstraint(Rounded):
    def _compress(self, rows, mu, warm):
        return Dense(rows)


class Truncates(Rounded):
    def _compress(self, rows, mu, warm):
        return Dense(rows.trunc())


class IgnoresMu(PenaltyL0Pruning):
    def _compress(self, rows, mu, warm):
        return super()._compress(rows, 1.0, warm)


class WrongL1(ConstraintL1Pruning):
    def _compress(self, rows, mu, warm):
        scale = min(1.0, self.kappa / max(float(rows.abs().sum()), 1e-9))
        return Dense(rows * scale)


class LosesItsWarmStart(Rounded):
    exact = False

    def _compress(self, rows, mu, warm):
        return Dense(rows.trunc() if warm else rows.round())


class LosesTrack(Rounded):
    def _improve(self, rows, warm):
        return Dense(rows.trunc())


class LeavesItsConstraint(Rounded):
    def _improve(self, rows, warm):
        return Dense(rows)


class MovesOn(Rounded):
    exact = False

    def _compress(self, rows, mu, warm):
        return Dense(rows.round() + (1 if bool((rows == rows.round()).all()) else 0))


class Remembers(Rounded):
    def _compress(self, rows, mu, warm):
        self.seen_ = rows
        return super()._compress(rows, mu, warm)


class Adapts(ConstraintL0Pruning):
    def _compress(self, rows, mu, warm):
        code = super()._compress(rows, mu, warm)
        self.kappa = 1.0
        return code


class Spoils(Rounded):
    def _compress(self, rows, mu, warm):
        code = super()._compress(rows, mu, warm)
        rows.zero_()
        return code


class SpoilsItsWarmStart(Rounded):
    def _compress(self, rows, mu, warm):
        if warm is not None:
            warm.weight.zero_()
        return super()._compress(rows, mu, warm)


class Guesses(Rounded):
    exact = False
    calls = 0

    def _compress(self, rows, mu, warm):
        type(self).calls += 1
        return Dense((rows + 1e-3 * self.calls).ceil())


class MindsTheOrder(Rounded):
    def _solve(self, problem, theta):
        found = super()._solve(problem, theta)
        first = min(problem.weights)
        if next(iter(problem.weights)) == first:
            return found
        return found | {first: Dense(problem.weights[first].trunc())}


class ChangesItsParameters(LowRank):
    def __init__(self, rank=1, conv_scheme="scheme_1"):
        super().__init__(rank, conv_scheme)

    def get_params(self, deep=True):
        return {"rank": 1, "conv_scheme": self.conv_scheme}


class Overcharges(PenaltyL0Pruning):
    """One whose weights cost more apart than together."""

    def cost_by_weight(self, theta, weights=None, layers=None):
        each = super().cost_by_weight(theta, weights, layers)
        return {name: 1.5 * cost for name, cost in each.items()}


class Boasting(Stream):
    """A stream that says it takes a bit per number."""

    def __init__(self, tensor):
        self.tensor = tensor

    @property
    def nbits(self):
        return self.tensor.numel()

    def pack(self):
        return Floats(self.tensor).pack()

    @staticmethod
    def unpack(header, packed):
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Boastful(Code):
    weight: torch.Tensor

    shape = Dense.shape
    dense = Dense.dense
    split = Dense.split

    def streams(self):
        return {"weight": Boasting(self.weight)}


class Miscounts(Rounded):
    def _compress(self, rows, mu, warm):
        return Boastful(rows.round())


BROKEN = {
    Casts: "Casts() changes the dtype of 'conv.weight': torch.float16, not "
    "torch.float32.",
    Flattens: "Flattens() changes the shape of 'conv.weight': torch.Size([72]), not "
    "torch.Size([4, 3, 3, 2]).",
    Forgets: "Forgets() returns ['conv.weight'], but says that it covers "
    "['conv.weight', 'fc.weight'].",
    BreaksItsConstraint: "BreaksItsConstraint() is not feasible: the cost of Θ is inf.",
    Truncates: "Truncates() is not optimal: its objective is ",
    LosesItsWarmStart: "LosesItsWarmStart() is worse than its warm start: ",
    LosesTrack: "LosesTrack() has an improve() that is worse than its warm start: ",
    LeavesItsConstraint: "LeavesItsConstraint() has an improve() that is worse than "
    "its warm start: inf, from ",
    MovesOn: "MovesOn() changes what it has compressed already: the objective is ",
    Remembers: "Remembers() changes its own attributes.",
    Adapts: "Adapts(kappa=1.0) changes its own attributes.",
    Spoils: "Spoils() changes the weight 'conv.weight' it is given.",
    SpoilsItsWarmStart: "SpoilsItsWarmStart() changes the warm start it is given.",
    Guesses: "Guesses() is not pure: the same arguments give different results.",
    MindsTheOrder: "MindsTheOrder() depends on the order of the layers: the objective",
}


def test_a_sound_scheme_passes():
    check_scheme(Rounded())


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_scheme_is_found_and_named(kind, monkeypatch):
    monkeypatch.setattr(Guesses, "calls", 0)
    with pytest.raises(AssertionError) as info:
        check_scheme(kind())
    assert str(info.value).startswith(BROKEN[kind])


def broken(scheme, **kwargs):
    with pytest.raises(AssertionError) as info:
        check_scheme(scheme, **kwargs)
    return str(info.value)


def test_a_threshold_that_ignores_mu_is_found():
    assert "is not optimal" in broken(IgnoresMu(alpha=1e-6))


def test_a_scaling_is_no_projection():
    assert "is not optimal" in broken(WrongL1(kappa=5.0))


def test_parameters_that_get_lost_are_found():
    assert "differs from its clone in results" in broken(ChangesItsParameters(rank=2))


def test_a_size_that_leaves_out_degrees_of_freedom_is_found():
    assert broken(Miscounts()) == (
        "Miscounts() has a Θ of 112 bits by nbits, but 3584 packed."
    )


def test_costs_that_do_not_add_up_are_found():
    assert "but its weights have" in broken(Overcharges(alpha=1e-6))


def test_the_weights_may_be_given():
    weights = draw({"up.weight": (2, 3)}, torch.float64)
    check_scheme(Mixed([("part", LowRank(1), "up")]), weights=weights)
    text = broken(Casts(), weights=weights)
    assert text == (
        "Casts() changes the dtype of 'up.weight': torch.float16, not torch.float64."
    )


def test_the_layers_are_known_unless_others_are_given():
    scheme = RankSelection(criterion="flops")
    check_scheme(scheme)
    with pytest.raises(ValueError, match="nothing is known of its layer"):
        check_scheme(scheme, layers={})


def test_the_seed_draws_the_weights():
    seen = []

    class Spy(Rounded):
        def _compress(self, rows, mu, warm):
            seen.append(float(rows.sum()))
            return super()._compress(rows, mu, warm)

    for seed in (0, 1, 0):
        check_scheme(Spy(), seed=seed)
    third = len(seen) // 3
    assert seen[:third] == seen[2 * third :] != seen[third : 2 * third]


def test_any_scheme_will_do():
    class Nothing(Scheme):
        """The weights themselves."""

        def _solve(self, problem, theta):
            return {name: Dense(w.clone()) for name, w in problem.weights.items()}

    check_scheme(Nothing())
