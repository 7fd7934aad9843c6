"""How a run ends: whatever ends it, what it reached is kept."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from nets import classifier, compressor, data
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from skorch.callbacks import Callback
from torch import nn

from sklc import LCCompressor
from sklc.codes import decompress
from sklc.exceptions import DivergenceError
from sklc.lstep import NetLearner, NetLStep
from sklc.schemes import (
    AdaptiveQuantization,
    ConstraintL0Pruning,
    LowRank,
    PenaltyL0Pruning,
    RankSelection,
)


class Raises(Callback):
    """Raise an error in an epoch; those of the reference are the first three."""

    def __init__(self, error, epoch):
        self.error = error
        self.epoch = epoch

    def on_batch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise self.error


def failing(error, epoch, **options):
    net = classifier(callbacks=[Raises(error, epoch)], iterator_train__shuffle=True)
    return compressor(net, **options)


def usual(**options):
    """Return a run that nothing ends."""
    return failing(None, 0, **options).fit(*data())


def assert_holds(lc, whole, n_iter):
    """Whether a compressor holds what a run of fewer steps finds."""
    shorter = usual(max_iter=n_iter, l_step=NetLStep(epochs=1))
    assert lc.n_iter_ == n_iter
    assert len(lc.history_) == n_iter + 1
    assert lc.best_step_ == shorter.best_step_
    assert [e["loss"] for e in lc.history_] == [
        e["loss"] for e in whole.history_[: n_iter + 1]
    ]
    assert lc.reference_loss_ == whole.reference_loss_
    assert lc.nbits_ == shorter.nbits_
    assert np.array_equal(lc.predict_proba(data()[0]), shorter.predict_proba(data()[0]))
    for name, dense in decompress(lc.theta_).items():
        assert torch.equal(lc.estimator_.module_.get_parameter(name), dense)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_an_interrupt_leaves_the_best_iterate(step):
    lc = failing(KeyboardInterrupt, 3 + step)
    with pytest.warns(
        UserWarning,
        match=rf"^Interrupted after {step - 1} of 3 LC steps: the result is the "
        r"iterate of step \d\.$",
    ) as record:
        assert lc.fit(*data()) is lc
    told = [w for w in record if "Interrupted" in str(w.message)]
    assert [warning.filename for warning in told] == [__file__]
    assert f"of step {lc.best_step_}." in str(told[0].message)
    assert lc.termination_condition_ == "interrupted"
    assert_holds(lc, usual(), step - 1)


def test_an_interrupt_of_fine_tuning_leaves_the_best_iterate():
    lc = failing(KeyboardInterrupt, 3 + 3 + 2, finetune=4)
    with pytest.warns(UserWarning, match="Interrupted after 3 of 3 LC steps"):
        lc.fit(*data())
    assert lc.termination_condition_ == "interrupted"
    assert_holds(lc, usual(), 3)


def test_an_interrupt_before_anything_is_raised_again():
    lc = failing(KeyboardInterrupt, 2)
    with pytest.raises(KeyboardInterrupt):
        lc.fit(*data())
    with pytest.raises(NotFittedError):
        lc.predict(data()[0])


@pytest.mark.parametrize("method", ["layers", "loss", "state_dict"])
def test_an_interrupt_of_the_first_measurement_is_raised_again(method, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    lc = compressor(classifier().fit(*data()).module_)
    monkeypatch.setattr(NetLearner, method, interrupted)
    with pytest.raises(KeyboardInterrupt):
        lc.fit(*data())
    assert not hasattr(lc, "theta_")


@pytest.mark.parametrize("error", [OSError("disk"), MemoryError(), SystemExit(1)])
def test_any_other_error_is_raised_and_leaves_the_best_iterate(error):
    lc = failing(error, 3 + 3)
    with pytest.raises(type(error)) as caught:
        lc.fit(*data())
    assert caught.value.args == error.args
    assert lc.termination_condition_ == "failed"
    assert_holds(lc, usual(), 2)


def test_an_error_of_fine_tuning_fails_too():
    lc = failing(OSError, 3 + 3 + 2, finetune=4)
    with pytest.raises(OSError):
        lc.fit(*data())
    assert lc.termination_condition_ == "failed"
    assert_holds(lc, usual(), 3)


def test_an_error_of_the_reference_leaves_nothing():
    lc = failing(OSError, 1)
    with pytest.raises(OSError):
        lc.fit(*data())
    assert not hasattr(lc, "theta_")


def test_an_error_of_the_scheme_leaves_the_best_iterate():
    class Fails(AdaptiveQuantization):
        def _solve(self, problem, theta):
            if theta and problem.mu > 0.015:  # of the second step
                raise ZeroDivisionError
            return super()._solve(problem, theta)

    lc = compressor(scheme=Fails(k=2))
    with pytest.raises(ZeroDivisionError):
        lc.fit(*data())
    assert (lc.n_iter_, lc.termination_condition_) == (1, "failed")
    assert lc.predict(data()[0]).shape == (40,)


class Explodes(Callback):
    def __init__(self, epoch, value=float("nan")):
        self.epoch = epoch
        self.value = value

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            with torch.no_grad():
                next(net.module_.parameters()).view(-1)[0] = self.value


ADVICE = (
    r"Lower the learning rate \(lr\), clip gradients "
    r"\(skorch\.callbacks\.GradientNormClipping\), or let mu begin lower or grow more "
    r"slowly \(mu_init, mu_factor\)\.$"
)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverging_step_is_told_with_its_mu_and_rate(value):
    net = classifier(callbacks=[Explodes(3 + 3, value)])
    lc = compressor(net, l_step=NetLStep(epochs=1, lr=None, lr_decay=0.5))
    with pytest.raises(
        DivergenceError,
        match=r"^L step 3 with mu=0\.04, lr=0\.025, diverged: a weight is not finite\. "
        + ADVICE,
    ):
        lc.fit(*data())
    assert lc.termination_condition_ == "diverged"
    assert lc.n_iter_ == 2
    assert len(lc.history_) == 3
    assert all(w.isfinite().all() for w in lc.estimator_.module_.parameters())
    loss = lc.history_[lc.best_step_]["loss"]
    assert loss == min(entry["loss"] for entry in lc.history_)


def test_a_loss_that_is_not_finite_is_told():
    class Overflows(nn.CrossEntropyLoss):
        def forward(self, output, target):
            loss = super().forward(output, target)
            number = next(counter)
            return loss if number < 3 * 4 + 1 else loss + float("inf")

    counter = itertools.count()
    net = classifier(criterion=Overflows)
    with pytest.raises(DivergenceError, match="diverged: the loss is inf"):
        compressor(net).fit(*data())


def test_a_diverging_reference_is_told():
    lc = compressor(classifier(callbacks=[Explodes(2)]))
    with pytest.raises(
        DivergenceError,
        match=r"^Training the reference diverged: a weight is not finite\. " + ADVICE,
    ):
        lc.fit(*data())
    assert not hasattr(lc, "theta_")


def test_diverging_fine_tuning_is_told_and_not_kept():
    class ExplodesBias(Explodes):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == self.epoch:
                with torch.no_grad():
                    net.module_[0].bias[0] = self.value

    net = classifier(callbacks=[ExplodesBias(3 + 3 + 2)])
    lc = compressor(net, finetune=3, keep="last")
    with pytest.warns(
        UserWarning,
        match=r"Fine-tuning diverged: a weight is.* The result is that before fine-",
    ):
        lc.fit(*data())
    assert lc.termination_condition_ == "max_iter"
    assert len(lc.history_) == 4
    assert all(w.isfinite().all() for w in lc.estimator_.module_.parameters())


def test_a_later_fit_begins_anew():
    lc = failing(KeyboardInterrupt, 3 + 2)
    with pytest.warns(UserWarning, match="Interrupted"):
        lc.fit(*data())
    lc.set_params(estimator=classifier()).fit(*data())
    assert lc.termination_condition_ == "max_iter"
    assert len(lc.history_) == 4


def test_the_sizes_are_those_of_the_result():
    """Of a penalty, each step has a size of its own."""
    lc = compressor(
        classifier(), PenaltyL0Pruning(alpha=1e-3), keep="last", finetune=1
    ).fit(*data())
    kept = lc.history_[lc.best_step_]
    biases = 4 + 3
    assert lc.nbits_ == kept["nbits"] + 32 * biases
    assert lc.compression_ratio_ == 32 * (20 + 12 + biases) / lc.nbits_


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "scheme", [AdaptiveQuantization(k=2), ConstraintL0Pruning(kappa=3), LowRank(rank=1)]
)
def test_a_linear_model_is_never_worse_than_direct_compression_and_a_refit(
    scheme, seed, tmp_path
):
    """Even if its steps lead nowhere; and so if it goes on from a file."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((50, 8)) @ rng.standard_normal((8, 8))
    Y = X @ rng.standard_normal((8, 3)) + rng.standard_normal((50, 3))
    options = {"finetune": 1, "mu_init": 1.0}
    model = LinearRegression()
    direct = LCCompressor(model, scheme, max_iter=0, **options).fit(X, Y)
    steps = {"mu_factor": 3.0, "max_iter": 4}
    for keep in "last", "best":
        path = tmp_path / keep
        lc = LCCompressor(model, scheme, keep=keep, checkpoint=path, **options, **steps)
        for _ in range(2):
            lc.fit(X, Y)
            kept = lc.history_[lc.best_step_]["loss"]
            assert kept <= direct.history_[-1]["loss"] * (1 + 1e-9)
            assert len(lc.history_) == lc.n_iter_ + 2


@pytest.mark.parametrize("scheme", [PenaltyL0Pruning(1e-4), RankSelection(1e-6)])
@pytest.mark.parametrize("kind", ["net", "linear"])
def test_direct_compression_alone_is_at_a_pull_that_pays_small_prices(scheme, kind):
    """No step is to come at which weights could still become worth their price."""
    X, y = data()
    model = classifier() if kind == "net" else LinearRegression()
    y = y if kind == "net" else X @ np.arange(15.0).reshape(5, 3)
    options = {"mu_init": "auto", "mu_factor": "auto", "random_state": 0}
    options["finetune"] = False
    alone = LCCompressor(model, scheme, max_iter=0, **options).fit(X, y)
    steps = LCCompressor(model, scheme, max_iter=4, **options).fit(X, y)
    *_, before, last = [entry["mu"] for entry in steps.history_]
    assert alone.history_[0]["mu"] == pytest.approx(last * last / before)
    assert all(dense.any() for dense in decompress(alone.theta_).values())
    given = LCCompressor(model, scheme, max_iter=0, mu_init=1e-9, finetune=0).fit
    with pytest.warns(UserWarning, match="no better than a constant"):
        assert not any(w.any() for w in decompress(given(X, y).theta_).values())


class AsWide(ConstraintL0Pruning):
    """Few weights, whose absolute values add up to three for each use at most."""

    @property
    def keeps_feasible(self):
        return False

    def _feasible(self, theta, problem):
        return all(
            code.dense().abs().sum() <= 3 * problem.layers[name].uses + 1e-6
            for name, code in theta.items()
        )

    def _project(self, theta, problem):
        shares = {
            name: 3 * problem.layers[name].uses / float(code.dense().abs().sum())
            for name, code in theta.items()
        }
        return {
            name: replace(code, values=code.values * min(1.0, shares[name]))
            for name, code in theta.items()
        }


def test_fine_tuning_keeps_a_constraint_that_depends_on_the_layers():
    lc = compressor(classifier(), AsWide(kappa=6), finetune=20)
    X, _ = data()
    lc.fit(X, (X[:, 0] > 0) + (X[:, 1] > 0))
    assert lc.best_step_ == lc.n_iter_ + 1
    for dense in decompress(lc.theta_).values():
        assert 0 < dense.abs().sum() <= 3 + 1e-6


def test_a_list_of_pulls_is_the_schedule_and_stays_at_its_last():
    X, y = np.random.default_rng(0).standard_normal((30, 4)), np.arange(30.0)
    scheme, mus = ConstraintL0Pruning(kappa=2), [0.1, 0.2, 0.4]
    lc = LCCompressor(LinearRegression(), scheme, mu_init=mus, max_iter=4, tol=0.0)
    lc.set_params(finetune=False).fit(X, y)
    assert [entry["mu"] for entry in lc.history_] == [0.1, 0.2, 0.4, 0.4, 0.4]
