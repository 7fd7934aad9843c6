"""Losses are estimated while a run goes on, and settled on all samples in the end."""

import math

import pytest
import torch
from nets import classifier, compressor, module, started
from nets import data as random_data
from sklearn.frozen import FrozenEstimator
from torch import nn

from sklc.codes import decompress
from sklc.lstep import NetLStep
from sklc.lstep.net.learner import NetLearner
from sklc.schemes import AdaptiveQuantization

N = 600  # of which 256 are enough to estimate with


def data():
    X, _ = random_data(N)
    return X, (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)


def net_of(**options):
    settings = {"batch_size": 50, "max_epochs": 5, "lr": 0.2}
    return classifier(**{**settings, **options})


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.BatchNorm1d(5), *module())
    return net_of(module=layers).fit(*data())


def loss_of(net, X, y):
    net.module_.eval()
    with torch.no_grad():
        output = net.module_(torch.as_tensor(X))
    return nn.functional.cross_entropy(output, torch.as_tensor(y)).item()


def fitted(trained, **options):
    settings = {"mu_init": 0.1, "max_iter": 6}
    lc = compressor(FrozenEstimator(trained), **{**settings, **options})
    return lc.fit(*data())


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
@pytest.mark.parametrize("keep", ["best", "last"])
def test_what_is_kept_and_the_last_one_are_measured_on_all_samples(keep, trained):
    lc = fitted(trained, keep=keep)
    settled = [e["step"] for e in lc.history_ if not e["estimated"]]
    assert 0 in settled
    assert {lc.best_step_, 6} <= set(settled)
    assert len(settled) <= 3  # the others cost next to nothing
    entry = lc.history_[lc.best_step_]
    assert entry["loss"] == pytest.approx(loss_of(lc.estimator_, *data()), rel=1e-5)
    for name, dense in decompress(lc.theta_).items():
        assert torch.equal(lc.estimator_.module_.get_parameter(name), dense)
    if keep == "last":
        assert lc.best_step_ == 6
    else:
        measured = [lc.history_[step]["loss"] for step in settled]
        assert entry["loss"] == min(measured)


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_the_last_one_has_the_same_loss_whatever_is_kept(trained):
    best, last = (fitted(trained, keep=keep).history_[-1] for keep in ("best", "last"))
    assert best["loss"] == last["loss"]


def test_estimates_are_over_some_of_the_samples_and_always_the_same(trained):
    learner = started(FrozenEstimator(trained), *data(), start_at="compressed")
    own = {n: w.clone() for n, w in learner.weights().items()}
    first, whole = learner.estimate(own), learner.loss()
    learner.substitute(own)
    exact = learner.loss()
    assert first == learner.estimate(own)
    assert first != exact
    assert math.isclose(first, exact, rel_tol=0.2)
    assert math.isclose(whole, exact, rel_tol=0.2)  # batch norm saw fewer samples


def test_a_few_samples_are_all_measured():
    learner = started(net_of(), *random_data(200), start_at="compressed")
    own = {n: w.clone() for n, w in learner.weights().items()}
    assert learner.estimate(own) == learner.loss()


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_an_estimate_that_flatters_does_not_win(trained, monkeypatch):
    """Direct compression is measured on all samples, and may turn out the better."""
    estimate = NetLearner.estimate
    monkeypatch.setattr(
        NetLearner, "estimate", lambda self, w: estimate(self, w) - 100.0
    )
    ruin = NetLStep(epochs=1, lr=50.0, max_update=None, clip_lr=False)
    lc = fitted(trained, l_step=ruin, mu_init=1e-6, max_iter=2)
    assert lc.best_step_ == 0
    theta = AdaptiveQuantization(k=2).compress(
        {n: p.detach() for n, p in trained.module_.named_parameters() if p.ndim > 1},
        1.0,
    )
    for name, code in theta.items():
        assert torch.equal(lc.theta_[name].dense(), code.dense())
    assert all(entry["loss"] > 0 for entry in lc.history_ if not entry["estimated"])
