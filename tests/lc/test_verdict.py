"""A result that is of no use is said to be so, once, with what to do."""

import math
import re
import warnings

import numpy as np
import pytest
import torch
from nets import classifier, compressor, data
from sklearn.datasets import load_breast_cancer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetBinaryClassifier, NeuralNetRegressor
from skorch.callbacks import Callback
from torch import nn

from sklc import LCCompressor
from sklc.exceptions import UselessResultWarning
from sklc.lc import verdict
from sklc.lstep import NetLearner, NetLStep
from sklc.schemes import (
    AdaptiveQuantization,
    BinaryQuantization,
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    LowRank,
    PenaltyL0Pruning,
    PenaltyL1Pruning,
    RankSelection,
)


def said(lc, X, y):
    """Return what a fit warns of, in one warning at most, of the caller's line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lc.fit(X, y)
    told = [w for w in caught if w.category is UselessResultWarning]
    assert len(told) <= 1
    assert all(w.filename == __file__ for w in told)
    return "".join(str(w.message) for w in told)


def linear(n=200, p=40, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    return X, X @ rng.standard_normal(p) + 0.1 * rng.standard_normal(n)


def test_a_good_result_is_not_spoken_of():
    X, y = linear()
    lc = LCCompressor(LinearRegression(), AdaptiveQuantization(k=4), max_iter=100)
    assert said(lc, X, y) == ""


# ---- hardly smaller ----


@pytest.mark.parametrize(
    ("scheme", "advice"),
    [
        (RankSelection(alpha=1e-9), "Raise the price of what is stored (alpha)."),
        (LowRank(rank=1.0), "Choose a stronger compression (fewer values, weights"),
        (ConstraintL0Pruning(kappa=1.0), "Choose a stronger compression (fewer val"),
    ],
)
@pytest.mark.parametrize("max_iter", [0, 3])
def test_what_is_hardly_smaller_is_told(scheme, advice, max_iter):
    X, y = linear()
    lc = LCCompressor(LinearRegression(), scheme, mu_init=1.0, max_iter=max_iter)
    message = said(lc, X, y)
    ratio = f"the compression ratio is {lc.compression_ratio_:.2f}"
    assert f"It is hardly smaller: {ratio}. {advice}" in message


# ---- an open gap ----


def test_an_open_gap_is_told_with_the_way_to_close_it():
    X, y = linear()
    lc = LCCompressor(
        LinearRegression(), BinaryQuantization(), mu_init=1e-3, mu_factor=1.0
    )
    lc.set_params(finetune=False)
    message = said(lc, X, y)
    gap = lc.history_[-1]["gap"]
    assert gap > 0.2
    assert (
        f"The gap is still open after 40 steps (||w - Δ(Θ)|| / ||w|| = {gap:.2g}). "
        "Give more steps (max_iter), or a larger mu_factor or mu_init." in message
    )
    assert "smaller mu_init" not in message
    stronger = LCCompressor(LinearRegression(), BinaryQuantization(), mu_factor=1.5)
    assert "gap" not in said(stronger, X, y)


def test_more_training_closes_the_gap_of_a_net_and_a_stronger_pull_may_not():
    X, y = separable()
    net = classifier(optimizer=torch.optim.Adam, lr=0.05, max_epochs=20).fit(X, y)
    net.set_params(lr=0.002)

    def gap(**options):
        lc = LCCompressor(FrozenEstimator(net), AdaptiveQuantization(k=2))
        lc.set_params(**{"max_iter": 15, "random_state": 0, "finetune": 0, **options})
        message = said(lc, X, y)
        found = lc.history_[-1]["gap"]
        assert ("or with a larger learning rate" in message) == (found > 0.2)
        return found

    assert gap(l_step=as_published()) > 0.2
    assert gap(l_step=as_published(), mu_factor=3.0) > 0.2
    assert gap(l_step=as_published(epochs=3, lr=0.02)) < 0.2


def as_published(**options):
    """Return L steps from w, by the learning rate of the net."""
    usual = {"epochs": 1, "start_at": "weights", "lr": None, "lr_decay": 0.98}
    return NetLStep(**{**usual, "pull": "gradient", "max_update": None, **options})


def separable(n=200):
    X = np.random.default_rng(0).standard_normal((n, 5)).astype("float32")
    return X, (X[:, 0] > X[:, 1]).astype(int) + (X[:, 2] > 0)


@pytest.mark.parametrize(
    "scheme", [AdaptiveQuantization(k=2), ConstraintL0Pruning(kappa=0.5)]
)
@pytest.mark.parametrize("trained", [True, False])
def test_a_gap_does_no_harm_where_the_result_is_as_good_as_before(scheme, trained):
    """As good as a model that was trained: one that was not is no yardstick."""
    X, y = separable()
    net = classifier(max_epochs=2, lr=0.1 if trained else 1e-9)
    net.fit(X, y).set_params(lr=0.1)
    lc = compressor(FrozenEstimator(net), scheme, mu_init=1e-4, max_iter=20)
    lc.set_params(mu_factor=1.0, l_step=as_published())
    message = said(lc, X, y)
    assert lc.history_[-1]["gap"] > 0.2
    assert lc.history_[lc.best_step_]["loss"] < lc.reference_loss_
    assert ("The gap is still open" in message) != trained
    assert bool(message) != trained


def test_a_gap_is_no_fault_of_what_was_fine_tuned():
    """What is kept was trained as Θ: it has no gap."""
    X, y = linear()
    options = {"max_iter": 3, "mu_init": 1e-6, "mu_factor": 1.0}
    lc = LCCompressor(LinearRegression(), AdaptiveQuantization(k=2), **options)
    lc.set_params(finetune=False)
    assert "gap is still open" in said(lc, X, y)
    lc.set_params(finetune=True)
    assert "gap" not in said(lc, X, y)
    assert lc.best_step_ == 4


def test_an_empty_theta_is_told_with_the_way_to_fill_it():
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    lc = LCCompressor(
        LogisticRegression(C=1e4, max_iter=5000),
        PenaltyL1Pruning(alpha=0.01),
        mu_init=1e-9,
        max_iter=3,
        finetune=False,
    )
    message = said(lc, X, y)
    assert lc.history_[-1]["gap"] == pytest.approx(1.0)
    assert re.search(r"too weak \(mu = \S+\) for any weight to be worth its", message)
    assert "a larger mu_factor or mu_init, more steps (max_iter), or a low" in message
    assert "smaller mu_init" not in message


def test_an_interrupted_run_is_not_blamed_for_its_gap():
    class Interrupts(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 5:
                raise KeyboardInterrupt

    lc = compressor(classifier(callbacks=[Interrupts()]), keep="last")
    with pytest.warns(UserWarning, match="Interrupted after 1 of 3 LC steps"):
        message = said_too(lc, *data())
    assert lc.history_[-1]["gap"] > 0.2
    assert "gap" not in message


def said_too(lc, X, y):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lc.fit(X, y)
    for warning in caught:
        warnings.warn_explicit(warning.message, warning.category, __file__, 1)
    return "".join(str(w.message) for w in caught if w.category is UselessResultWarning)


def test_direct_compression_has_no_gap_to_close():
    X, y = linear()
    lc = LCCompressor(LinearRegression(), AdaptiveQuantization(k=2), max_iter=0)
    assert said(lc, X, y) == ""


# ---- no better than a constant ----


@pytest.mark.parametrize("model", [LinearRegression(), LogisticRegression()])
@pytest.mark.parametrize("intercept", [True, False])
def test_a_linear_model_that_predicts_a_constant_is_told(model, intercept):
    X, y = linear()
    y = y if isinstance(model, LinearRegression) else y > 0
    model.set_params(fit_intercept=intercept)
    lc = LCCompressor(model, ConstraintL0Pruning(kappa=0), max_iter=5)
    message = said(lc, X, y)
    assert "It predicts no better than a constant: its loss is" in message
    assert "Choose a weaker compression." in message
    share = np.mean(y)
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    best = np.var(y) if isinstance(model, LinearRegression) else entropy
    assert f"that of the best constant {best:.4g}." in message


def constant(kind, criterion, y, n_out):
    """Return the best constant's loss of a net, as its learner has it."""
    X = np.zeros((len(y), 5), "float32")
    net = classifier(kind, module=nn.Linear(5, n_out), criterion=criterion)
    return NetLStep().start(net, X, y, n_steps=1).constant_loss()


def test_the_best_constant_of_a_net_is_that_of_its_loss():
    y = np.array([0, 1, 1, 2, 2, 2, 2, 2])
    shares = np.bincount(y) / len(y)
    kinds = {"kind": type(classifier()), "y": y, "n_out": 3}
    found = constant(criterion=nn.CrossEntropyLoss, **kinds)
    assert found == pytest.approx(-(shares * np.log(shares)).sum())
    weighted = constant(criterion=nn.CrossEntropyLoss(label_smoothing=0.1), **kinds)
    assert weighted == math.inf
    y = np.random.default_rng(0).standard_normal((20, 2)).astype("float32")
    found = constant(NeuralNetRegressor, nn.MSELoss, y, 2)
    assert found == pytest.approx(np.var(y, axis=0).mean(), rel=1e-6)
    y = np.array([0, 0, 0, 1] * 5)
    found = constant(NeuralNetBinaryClassifier, nn.BCEWithLogitsLoss, y, 1)
    assert found == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))


def test_a_reference_that_predicts_a_constant_is_told():
    X, y = data()
    net = classifier(lr=1e-12).fit(X, y)
    with torch.no_grad():
        for parameter in net.module_.parameters():
            parameter *= 1e-6
    lc = compressor(FrozenEstimator(net), max_iter=0)
    assert "Nor did the model before (1.099): train that longer, or check" in said(
        lc, X, y
    )


# ---- no better than direct compression, fine-tuning ----


def stuck():
    """Return a trained net that will not learn any more."""
    net = classifier(max_epochs=30).fit(*data())
    return FrozenEstimator(net.set_params(lr=1e-12))


def test_steps_without_use_are_told():
    lc = compressor(stuck(), multipliers=False, mu_init=1e3)
    message = said(lc, *data())
    assert "The LC steps did not improve on direct compression: loss + cost is" in (
        message
    )
    assert message.endswith("check the learning rate.")


def test_fine_tuning_without_use_is_told_as_such():
    lc = compressor(stuck(), max_iter=0, finetune=1)
    message = said(lc, *data())
    assert "Fine-tuning did not improve on direct compression: loss + cost" in message
    assert message.endswith("Train longer (finetune), or check the learning rate.")


class Kills(Callback):
    """Make a net dead in some epoch: it predicts a constant."""

    def __init__(self, epoch, bias=0.0):
        self.epoch, self.bias = epoch, bias

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            with torch.no_grad():
                net.module_[0].bias.fill_(-1e3)
                net.module_[-1].bias.copy_(torch.tensor([self.bias, 0.0, 0.0]))


def test_fine_tuning_that_ends_dead_is_not_kept():
    """Even if direct compression is worse than a constant, in numbers."""
    X, y = data()
    module = nn.Sequential(nn.Linear(5, 30), nn.ReLU(), nn.Linear(30, 3))
    net = classifier(module=module, max_epochs=60, lr=0.5, callbacks=[Kills(61)])
    net.fit(X, y)
    with torch.no_grad():
        module[-1].weight *= 10.0
        module[-1].bias *= 10.0
    net.set_params(lr=1e-12)
    lc = compressor(FrozenEstimator(net), max_iter=0, finetune=1)
    message = said(lc, X, y)
    direct, tuned = lc.history_
    shares = np.bincount(y) / len(y)
    entropy = -(shares * np.log(shares)).sum()
    assert entropy * 0.99 < tuned["loss"] < direct["loss"]
    assert lc.best_step_ == 0
    assert (
        "Fine-tuning ended in a model that predicts no better than a const" in message
    )
    assert len(np.unique(lc.predict(X))) > 1


def test_fine_tuning_that_ends_worse_is_told():
    net = classifier(callbacks=[Kills(7, bias=50.0)])
    lc = compressor(net, finetune=1, keep="last")
    message = said(lc, *data())
    assert "Fine-tuning ended" in message
    assert lc.best_step_ == 3
    assert "which is not kept. Lower the learning rate, or train longer" in message


class Shifts(Callback):
    """Make a net somewhat worse in some epoch."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 23:
            with torch.no_grad():
                net.module_[-1].bias += torch.tensor([0.5, 0.0, -0.5])


@pytest.mark.parametrize("epochs", [2, 20])
def test_fine_tuning_that_was_not_needed_is_not_spoken_of(epochs):
    """It is where the result is worse than the model before."""
    X, y = separable()
    net = classifier(max_epochs=epochs, lr=0.1).fit(X, y)
    net.set_params(callbacks=[Shifts()]).initialize_callbacks()
    lc = compressor(FrozenEstimator(net), max_iter=23 - 1 - epochs, finetune=1)
    lc.set_params(l_step=as_published())
    message = said(lc, X, y)
    tuned, kept = lc.history_[-1], lc.history_[lc.best_step_]
    assert math.isinf(tuned["mu"])
    assert kept["loss"] < tuned["loss"]
    good = kept["loss"] <= lc.reference_loss_
    assert good == (epochs == 2)
    assert ("Fine-tuning ended worse than it began" in message) != good


def test_a_constant_that_is_not_known_accuses_nobody(monkeypatch):
    monkeypatch.setattr(NetLearner, "constant_loss", lambda self: math.inf)
    lc = compressor(classifier(), max_iter=0)
    assert "constant" not in said(lc, *data())


def test_penalties_that_keep_all_are_told_to_rise():
    X, y = linear()
    lc = LCCompressor(LinearRegression(), PenaltyL0Pruning(alpha=1e-12), max_iter=3)
    assert "Raise the price" in said(lc, X, y)


# ---- what is solved ----


@pytest.mark.parametrize(
    ("scheme", "parameters"),
    [
        (ConstraintL0Pruning(kappa=1), {"max_iter": 1, "finetune": 0}),
        (LowRank(rank=0), {}),
        (ConstraintL1Pruning(kappa=0.5), {"max_iter": 3, "finetune": 0}),
    ],
)
def test_nobody_is_told_to_train_what_is_solved_longer(scheme, parameters):
    message = said(LCCompressor(LinearRegression(), scheme, **parameters), *linear())
    assert message
    for useless in "learning rate", "epochs", "longer":
        assert useless not in message


@pytest.mark.parametrize("scheme", [PenaltyL1Pruning(0.1), ConstraintL1Pruning(3.0)])
def test_a_refit_that_is_no_gain_is_no_fault(scheme):
    """It frees what was shrunk, which may cost more than it saves."""
    X, y = linear()
    lc = LCCompressor(LinearRegression(), scheme, finetune=1)
    assert "Fine-tuning" not in said(lc, X, y)


@pytest.mark.parametrize("scheme", [LowRank(rank=0), ConstraintL0Pruning(kappa=0)])
def test_what_can_only_be_zero_has_no_gap_to_close(scheme):
    """Relative to the weights it stays at one, however near to zero they are."""
    message = said(LCCompressor(LinearRegression(), scheme), *linear())
    assert "It predicts no better than a constant" in message
    assert "gap" not in message
    assert "did not improve" not in message


@pytest.mark.parametrize(
    ("entry", "other", "expected"),
    [
        ((1.0, 1.0), (1.0, 2.0), False),
        ((1.0, 2.0), (1.0, 1.0), True),
        ((2.0, 0.0), (1.0, 1.0), False),
        ((1.0, 1.0), (1.0, 1.0), False),
        ((1.0, 1.0 + 1e-9), (1.0, 1.0), False),
        ((math.nan, 0.0), (1.0, 1.0), True),
    ],
)
def test_worse_is_more_loss_and_cost_together(entry, other, expected):
    first, second = (
        dict(zip(("loss", "cost"), each, strict=True)) for each in (entry, other)
    )
    assert verdict._worse(first, second) is expected
