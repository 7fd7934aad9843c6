"""The learning rates of L steps, and callbacks of the user that end or change them."""

import os
import signal

import pytest
import torch
from nets import Unsized, classifier, compressor, data, started, targets
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.dataset import ValidSplit

from sklc.lstep import NetLStep


class Rates(Callback):
    """Remember the learning rates of every group, batch by batch."""

    def __init__(self):
        self.seen_ = []

    def on_batch_begin(self, net, training, **kwargs):
        if training:
            groups = net.optimizer_.param_groups
            self.seen_.append([group["lr"] for group in groups])


def rates(steps, callbacks=(), mu=1e-6, net_options=None, **options):
    """Return the learning rates of every epoch of every step, of the first group."""
    net = classifier(
        callbacks=[*callbacks, ("rates", Rates())],
        **{"lr": 0.8, "batch_size": -1, **(net_options or {})},
    )
    learner = started(net, **options)
    found = []
    for step in steps:
        spy = dict(learner.estimator.callbacks_)["rates"]
        spy.seen_ = []
        learner.learn(targets(learner), mu, step)
        found.append([first for first, *_ in spy.seen_])
    return found


def approx(steps):
    return [pytest.approx(step) for step in steps]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("step", [[0.8] * 3, [0.4] * 2, [0.2] * 2]),
        ("epoch", [[0.8, 0.4, 0.2], [0.1, 0.05], [0.025, 0.0125]]),
        ("restart", [[0.8, 0.4, 0.2], [0.8, 0.4], [0.8, 0.4]]),
    ],
)
def test_the_rate_is_lowered_as_the_schedule_says(schedule, expected):
    found = rates([1, 2, 3], lr_schedule=schedule, lr_decay=0.5, first_epochs=3)
    assert found == approx(expected)


def test_the_rate_depends_on_the_step_and_not_on_what_was_trained_before():
    for schedule in "step", "epoch", "restart":
        options = {"lr_schedule": schedule, "lr_decay": 0.5, "first_epochs": 3}
        assert rates([3], **options) == rates([1, 2, 3], **options)[2:]


def test_automatic_epochs_count_in_the_schedule():
    options = {"epochs": "auto", "n_steps": 4, "lr_schedule": "epoch", "lr_decay": 0.5}
    net_options = {"iterator_train": Unsized}  # six epochs over four steps
    found = rates([1, 2, 3, 4], net_options=net_options, **options)
    assert found == approx([[0.8, 0.4], [0.2, 0.1], [0.05], [0.025]])


@pytest.mark.parametrize("schedule", ["step", "epoch", "restart"])
def test_the_first_rate_is_that_of_the_l_step(schedule):
    options = {"lr": 0.3, "lr_schedule": schedule}
    assert rates([1, 2], **options) == approx([[0.3, 0.3], [0.3, 0.3]])


def test_the_reference_has_the_rate_of_the_net():
    net = classifier(callbacks=[("rates", Rates())], batch_size=-1)
    learner = started(net, lr=0.3, lr_decay=0.5)
    learner.train_reference()
    assert dict(learner.estimator.callbacks_)["rates"].seen_ == [[0.1]] * 3


@pytest.mark.parametrize(
    ("options", "net_options", "expected"),
    [
        ({}, {}, 0.05),
        ({"lr": 9.0}, {}, 0.05),
        ({}, {"optimizer__momentum": 0.9, "optimizer__nesterov": True}, 0.05),
        ({}, {"lr": 0.01}, 0.01),
        ({"clip_lr": False}, {}, 0.8),
        ({}, {"optimizer": torch.optim.Adam}, 0.8),
        ({}, {"optimizer": torch.optim.RMSprop}, 0.8),
    ],
)
def test_strong_pulls_limit_the_rate_of_sgd(options, net_options, expected):
    assert rates([1], mu=20.0, net_options=net_options, **options) == approx(
        [[expected] * 2]
    )


def test_a_clipped_rate_stays_clipped_as_it_is_lowered():
    found = rates([1], mu=2.5, lr_schedule="epoch", lr_decay=0.7, epochs=4)
    assert found == approx([[0.4, 0.4, 0.392, 0.2744]])


GROUPS = [("0.*", {"lr": 0.2}), ("2.bias", {"lr": 0.1})]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # groups of the patterns first, and last the others
        ({}, [[0.2, 0.1, 0.8], [0.1, 0.05, 0.4]]),
        ({"lr": 0.4}, [[0.4, 0.2, 1.6], [0.2, 0.1, 0.8]]),
        ({"lr_schedule": "epoch"}, [[0.2, 0.1, 0.8], [0.1, 0.05, 0.4]]),
    ],
)
def test_parameter_groups_keep_their_proportions(options, expected):
    net = classifier(
        callbacks=[("rates", Rates())],
        batch_size=-1,
        lr=0.8,
        optimizer__param_groups=GROUPS,
    )
    learner = started(net, epochs=1, lr_decay=0.5, **options)
    for step in 1, 2:
        learner.learn(targets(learner), 1e-6, step)
    seen = dict(learner.estimator.callbacks_)["rates"].seen_
    assert seen == approx(expected)


@pytest.mark.parametrize("schedule", ["step", "restart"])
def test_a_scheduler_of_the_user_acts_in_each_step_and_begins_anew(schedule):
    scheduler = LRScheduler(torch.optim.lr_scheduler.ExponentialLR, gamma=0.1)
    found = rates([1, 2], [("scheduler", scheduler)], lr_schedule=schedule)
    assert found == approx([[0.8, 0.08]] * 2)


def test_a_scheduler_of_the_user_begins_at_the_rate_of_the_step():
    scheduler = LRScheduler(torch.optim.lr_scheduler.ExponentialLR, gamma=0.1)
    found = rates([1, 2], [("scheduler", scheduler)], lr_decay=0.5)
    assert found == approx([[0.8, 0.08], [0.4, 0.04]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"lr": 0},
            r"NetLStep\(lr=0\): lr must be 'auto' or None or a finite number above 0\.",
        ),
        ({"lr": float("inf")}, "lr must be 'auto' or None or a finite number above 0"),
        ({"lr": float("nan")}, "lr must be 'auto' or None or a finite number above 0"),
        ({"lr": "fast"}, "lr must be 'auto' or None or a finite number above 0"),
        ({"first_epochs": 0}, "first_epochs must be None or an int of at least 1"),
        ({"first_epochs": "auto"}, "first_epochs must be None or an int of at least 1"),
        (
            {"lr_schedule": "cosine"},
            "lr_schedule must be one of 'step', 'epoch', 'restart'",
        ),
    ],
)
def test_invalid_rates_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        started(**options)


# ---- ends of a step ----


def stopping(**options):
    """Return a callback that stops at the second epoch: nothing improves so much."""
    return EarlyStopping("train_loss", patience=1, threshold=0.99, **options)


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_early_stopping_ends_the_step_and_not_the_fit():
    net = classifier(callbacks=[("stop", stopping())], max_epochs=10)
    lc = compressor(net, l_step=NetLStep(epochs=7)).fit(*data())
    assert (lc.n_iter_, lc.termination_condition_) == (3, "max_iter")
    assert len(lc.estimator_.history) == 2 * (1 + 3)


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_early_stopping_ends_fine_tuning():
    net = classifier(callbacks=[("stop", stopping())], max_epochs=10)
    lc = compressor(net, max_iter=0, finetune=7).fit(*data())
    assert len(lc.history_) == 2
    assert len(lc.estimator_.history) == 2 * 2


def test_steps_may_stop_by_the_loss_of_held_out_data():
    net = classifier(
        callbacks=[("stop", EarlyStopping(patience=2, threshold=0.99))],
        train_split=ValidSplit(4),
    )
    learner = started(net, epochs=9)
    learner.learn(targets(learner), 1e-3, 1)
    assert len(learner.estimator.history) == 3


def test_early_stopping_that_puts_weights_back_is_refused():
    net = classifier(callbacks=[("stop", stopping(load_best=True))])
    with pytest.raises(
        ValueError, match=r"The callback 'stop', EarlyStopping\(load_best=True\), would"
    ):
        started(net)


@pytest.fixture(autouse=True)
def keyboard():
    """Listen to the keyboard, in a process that runs in the background too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class PressesKeys(Callback):
    """Send this process what Ctrl-C sends it, in an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            os.kill(os.getpid(), signal.SIGINT)


def test_the_keyboard_interrupts_the_reference():
    lc = compressor(classifier(callbacks=[PressesKeys(2)]))
    with pytest.raises(KeyboardInterrupt):
        lc.fit(*data())
    assert not hasattr(lc, "theta_")


def test_the_keyboard_interrupts_a_step():
    lc = compressor(classifier(callbacks=[PressesKeys(5)]))
    with pytest.warns(UserWarning, match="Interrupted after 1 of 3 LC steps"):
        lc.fit(*data())
    assert (lc.n_iter_, lc.termination_condition_) == (1, "interrupted")


def test_the_keyboard_is_not_taken_for_early_stopping():
    callbacks = [("stop", EarlyStopping("train_loss", patience=9)), PressesKeys(5)]
    with pytest.warns(UserWarning, match="Interrupted after 1 of 3 LC steps"):
        compressor(classifier(callbacks=callbacks)).fit(*data())
