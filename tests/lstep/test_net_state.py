"""The state of a net holds all that training changes, wherever it is kept."""

import copy
import json

import numpy as np
import pytest
import torch
from nets import classifier, data, flat, module, started, targets
from skorch.callbacks import EpochScoring
from torch import nn

from sklc import LCCompressor
from sklc.lstep import NetLStep
from sklc.schemes import AdaptiveQuantization

pytestmark = pytest.mark.filterwarnings("ignore:The LC steps did not improve")


class Temperature(nn.Module):
    """A criterion that is trained."""

    def __init__(self):
        super().__init__()
        self.log = nn.Parameter(torch.zeros(()))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, output, target):
        self.calls += self.log.requires_grad
        return nn.functional.cross_entropy(output * self.log.exp(), target)


class Hidden(nn.Module):
    """State of every kind but parameters."""

    def __init__(self):
        super().__init__()
        self.inner = module()
        self.register_buffer("seen", torch.zeros(2), persistent=False)
        self.register_buffer("late", None)
        self.temperature = 1.0
        self.moments = {"mean": torch.zeros(5), "count": 0, "steps": (0, [None])}

    def forward(self, x):
        if self.training:
            self.seen += 1
            self.late = x.detach().sum(0)
            self.temperature *= 0.9
            self.moments["mean"] = 0.5 * self.moments["mean"] + x.detach().mean(0)
            self.moments["count"] += 1
            self.moments["steps"] = (self.moments["steps"][0] + 1, [None])
        return self.inner(x - self.moments["mean"]) / self.temperature

    def get_extra_state(self):
        return self.moments

    def set_extra_state(self, state):
        assert isinstance(state["steps"], tuple)
        self.moments = state


class Overridden(nn.Module):
    """A state_dict of a form of its own."""

    def __init__(self):
        super().__init__()
        self.inner = module()
        self.mean = torch.zeros(5)

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return self.inner(x - self.mean)

    def state_dict(self, *args, **kwargs):
        return {"inner": self.inner.state_dict(), "mean": self.mean}

    def load_state_dict(self, state, strict=True):
        self.inner.load_state_dict(state["inner"], strict)
        self.mean = state["mean"]


NETS = {
    "criterion": {"criterion": Temperature},
    "hidden": {"module": Hidden},
    "overridden": {"module": Overridden},
    "usual": {},
}


def net_of(name):
    torch.manual_seed(0)
    options = {"iterator_train__shuffle": True, **NETS[name]}
    return classifier(**options)


def through_a_file(state):
    """Return what a file of tensors and JSON makes of a state."""
    rest = {n: v for n, v in state.items() if not isinstance(v, torch.Tensor)}
    tensors = {n: v.clone() for n, v in state.items() if n not in rest}
    return json.loads(json.dumps(rest)) | tensors


@pytest.mark.parametrize("copied", [lambda state: state, through_a_file])
@pytest.mark.parametrize("name", NETS)
def test_training_goes_on_from_a_state_as_if_nothing_had_happened(name, copied):
    results = []
    for disturbed in False, True:
        torch.manual_seed(0)
        learner = started(net_of(name), epochs=1)
        learner.train_reference()
        state = copied(learner.state_dict())
        before = copy.deepcopy(state)
        if disturbed:
            learner.learn(targets(learner, 5.0), 10.0, 1)
            learner.substitute({k: w * 0 for k, w in learner.weights().items()})
            learner.load_state_dict(state)
        learner.learn(targets(learner), 0.5, 2)
        results.append((flat(learner), learner.loss(), len(learner.estimator.history)))
        for key, value in before.items():  # nothing in it is live
            same = (
                torch.equal if isinstance(value, torch.Tensor) else lambda a, b: a == b
            )
            assert same(state[key], value)
    (weights, *rest), (expected, *others) = results
    assert torch.equal(weights, expected)
    assert rest == others


@pytest.mark.parametrize("name", NETS)
def test_another_process_goes_on_as_this_one(name):
    first, second = started(net_of(name), epochs=1), started(net_of(name), epochs=1)
    first.train_reference()
    second.load_state_dict(through_a_file(first.state_dict()))
    second.train_reference()  # it is trained
    assert second.loss() == first.loss()
    found = []
    for learner in first, second:
        torch.manual_seed(3)
        learner.learn(targets(learner), 0.5, 1)
        found.append((flat(learner), len(learner.estimator.history)))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("name", NETS)
def test_a_reference_from_the_cache_is_the_reference(name, tmp_path):
    def fitted():
        lc = LCCompressor(
            net_of(name),
            AdaptiveQuantization(k=2),
            l_step=NetLStep(epochs=1),
            max_iter=2,
            memory=str(tmp_path),
            random_state=0,
        )
        return lc.fit(*data())

    one, other = fitted(), fitted()
    assert one.reference_loss_ == other.reference_loss_
    assert [e["loss"] for e in one.history_] == [e["loss"] for e in other.history_]


@pytest.mark.parametrize("name", NETS)
def test_a_run_that_stopped_goes_on_as_if_it_had_not(name, tmp_path):
    def fitted(max_iter, path=None):
        lc = LCCompressor(
            net_of(name),
            AdaptiveQuantization(k=2),
            l_step=NetLStep(epochs=1),
            max_iter=max_iter,
            mu_init=0.1,
            mu_factor=1.5,
            checkpoint=path,
            random_state=0,
        )
        return lc.fit(*data())

    fitted(1, tmp_path / "run")
    resumed, whole = fitted(3, tmp_path / "run"), fitted(3)
    losses = [[e["loss"] for e in lc.history_] for lc in (resumed, whole)]
    assert losses[0] == losses[1]
    X, _ = data()
    assert np.array_equal(resumed.predict_proba(X), whole.predict_proba(X))


@pytest.mark.parametrize("name", NETS)
def test_the_iterate_that_is_kept_is_kept_with_all_of_its_state(name):
    lc = LCCompressor(
        net_of(name),
        AdaptiveQuantization(k=2),
        l_step=NetLStep(epochs=1, lr=3.0, clip_lr=False),  # which spoils the net
        max_iter=3,
        mu_init=1e-3,
        random_state=0,
    ).fit(*data())
    net = lc.estimator_
    X, y = map(torch.as_tensor, data())
    with torch.no_grad():
        net._set_training(False)
        loss = net.get_loss(net.infer(X), y).item()
    assert loss == pytest.approx(lc.history_[lc.best_step_]["loss"], rel=1e-5)


def test_what_cannot_be_stored_is_refused_by_name():
    class Odd(Hidden):
        def get_extra_state(self):
            return {"opened": object()}

    with pytest.raises(
        TypeError,
        match=r"get_extra_state\(\) of the layer '0' \(Odd\) returns an? object, which "
        "is neither tensors nor plain values",
    ):
        started(classifier(module=nn.Sequential(Odd())))


def test_the_generators_may_be_left_alone():
    learner = started(classifier(iterator_train__shuffle=True))
    state = learner.state_dict()
    torch.manual_seed(5)
    now = torch.get_rng_state()
    learner.load_state_dict(state, generators=False)
    assert torch.equal(torch.get_rng_state(), now)
    learner.load_state_dict(state)
    assert not torch.equal(torch.get_rng_state(), now)


def test_the_history_keeps_its_batches_where_it_goes_on():
    scoring = EpochScoring("accuracy", name="accuracy")
    learner = started(classifier(callbacks=[scoring]), epochs=2)
    learner.train_reference()
    state = learner.state_dict()
    learner.learn(targets(learner), 0.5, 1)
    learner.load_state_dict(state)
    history = learner.estimator.history
    assert len(history) == 3
    assert all(len(epoch["batches"]) == 4 for epoch in history)


class Constant(nn.Module):
    """Numbers that are made anew with the module."""

    def __init__(self):
        super().__init__()
        self.register_buffer("positions", torch.zeros(3), persistent=False)

    def forward(self, x):
        return x + self.positions


def test_buffers_are_those_that_predictions_need():
    layers = nn.BatchNorm1d(5), *module(), Constant()
    learner = started(classifier(module=nn.Sequential(*layers)))
    assert set(learner.buffers()) == {"0.running_mean", "0.running_var"}
