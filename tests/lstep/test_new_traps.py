"""Nets of users that the L step in parts once failed on."""

import pytest
import torch
from nets import classifier, compressor, data, started
from skorch.callbacks import LRScheduler

from sklc.lstep import NetLStep
from sklc.lstep.net.optimizers import learning_rate
from sklc.lstep.net.plan import Plan

ADAM = {"optimizer": torch.optim.Adam, "lr": 1e-2}
FADES = LRScheduler(policy="LambdaLR", lr_lambda=lambda epoch: 0.0**epoch)


def pulls(net, **options):
    X, y = data()
    options = {"mu_init": "auto", "mu_factor": "auto", **options}
    found = compressor(net, **options).fit(X, y)
    return [entry["mu"] for entry in found.history_]


@pytest.mark.parametrize("options", [ADAM, {"lr": 0.1}], ids=["adam", "sgd"])
def test_the_pull_does_not_depend_on_where_the_rate_of_the_reference_ended(options):
    plain, fading = (
        pulls(classifier(**options, **more)) for more in ({}, {"callbacks": [FADES]})
    )
    assert fading == plain


@pytest.mark.parametrize("options", [ADAM, {"lr": 0.1}], ids=["adam", "sgd"])
def test_layers_that_stand_still_come_first(options):
    still = {"optimizer__param_groups": [("0.*", {"lr": 0.0})]}
    assert pulls(classifier(**options, **still)) == pulls(classifier(**options))


@pytest.mark.parametrize("options", [ADAM, {}], ids=["adam", "sgd"])
def test_a_rate_of_zero_is_named(options):
    net = classifier(**{**options, "lr": 0.0})
    with pytest.raises(
        ValueError, match=r"learning rate of the net is 0.*NetLStep\(lr"
    ):
        pulls(net)
    assert pulls(net, max_iter=0)  # trains nothing
    assert pulls(net, l_step=NetLStep(lr=0.1, epochs=1))


def test_a_given_rate_replaces_one_of_zero():
    learner = started(classifier(lr=0.0), lr=0.3)
    learner.plan.rate_of(1, 1e-3).prepare(learner.estimator)
    assert learning_rate(learner.estimator) == 0.3


@pytest.mark.parametrize("pull", ["auto", "loss", "decoupled"])
def test_a_sum_over_samples_is_that_many_times_their_mean(pull):
    steps = {"l_step": NetLStep(pull=pull, lr=None, max_update=None, epochs=4)}
    summed = {"criterion__reduction": "sum", "lr": 0.01}  # in batches of 10
    mean, total = (
        compressor(
            classifier(**options),
            **{"mu_init": "auto", "mu_factor": "auto", **steps},
        ).fit(*data())
        for options in ({"lr": 0.1}, summed)
    )
    times = 10 if pull == "decoupled" else 1
    for ours, expected in zip(total.history_, mean.history_, strict=True):
        assert ours["mu"] == pytest.approx(times * expected["mu"])
        assert ours["gap"] == pytest.approx(expected["gap"], rel=1e-3)
        assert ours["loss"] == pytest.approx(expected["loss"], rel=1e-3)


def test_layers_that_stand_still_keep_to_their_share_of_the_rate():
    still = [("0.*", {"lr": 0.0})]
    learner = started(classifier(optimizer__param_groups=still), lr=0.3)
    rate = learner.plan.rate_of(1, 1e-3)
    rate.prepare(learner.estimator)
    groups = learner.estimator.optimizer_.param_groups
    assert [group["lr"] for group in groups] == [0.0, 0.3]


@pytest.mark.parametrize("pull", ["auto", "loss"])
def test_the_rate_is_doubled_only_where_steps_are_limited(pull):
    learner = NetLStep(pull=pull).start(classifier(), *data(), n_steps=1)
    assert learner.plan.lr == {"auto": 0.2, "loss": None}[pull]


def test_line_searches_train_no_longer_than_they_are_asked_to():
    net = classifier(optimizer=torch.optim.LBFGS, batch_size=-1, max_epochs=4)
    learner = started(net, epochs="auto", n_steps=4)
    assert [learner.plan.epochs_of(step) for step in (1, 2, 3, 4)] == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("n_batches", "n_samples", "total"),
    [(1, 100, 2000), (10, 2000, 200), (1, 50_000, 40), (1, 10**9, 10)],
)
def test_few_samples_are_seen_more_often_and_many_are_not(n_batches, n_samples, total):
    assert Plan().scaled_to(5, n_batches, n_samples).total == total
