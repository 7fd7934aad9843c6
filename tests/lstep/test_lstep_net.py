"""The L step of nets: skorch training, pulled towards the compressed weights."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from nets import Unsized, classifier, compressor, data, module, started, targets
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Lasso
from skorch import (
    NeuralNet,
    NeuralNetBinaryClassifier,
    NeuralNetClassifier,
    NeuralNetRegressor,
)
from skorch.callbacks import Callback, EpochScoring
from torch import nn

from sklc.layers import Grid, LayerInfo
from sklc.lstep import LStep, NetLStep, default_l_step, register
from sklc.lstep.base import _registry
from sklc.lstep.net.pull import Pull
from sklc.schemes import AdaptiveQuantization


class PenaltyInLoss(NeuralNetClassifier):
    """The same L step, with the penalty written into the loss."""

    def get_loss(self, y_pred, y_true, X=None, training=False):
        loss = super().get_loss(y_pred, y_true, X, training)
        if training and self.mu:
            parameters = dict(self.module_.named_parameters())
            for name, target in self.target.items():
                loss = loss + self.mu / 2 * (parameters[name] - target).square().sum()
        return loss


OPTIMIZERS = {
    "sgd": {"optimizer": torch.optim.SGD},
    "nesterov": {
        "optimizer": torch.optim.SGD,
        "optimizer__momentum": 0.9,
        "optimizer__nesterov": True,
    },
    "adam": {"optimizer": torch.optim.Adam, "lr": 0.01},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_pull_equals_a_penalty_in_the_loss(name):
    pulled = started(classifier(**OPTIMIZERS[name]), pull="gradient")
    target = targets(pulled)
    pulled.learn(target, 0.7, 1)

    X, y = data()
    net = clone(classifier(PenaltyInLoss, **OPTIMIZERS[name])).initialize()
    net.mu, net.target = 0.7, target
    net.set_params(max_epochs=2)
    net.partial_fit(X, y)
    for one, other in zip(
        pulled.estimator.module_.parameters(), net.module_.parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_strong_pull_reaches_the_target():
    learner = started(epochs=30)
    target = targets(learner)
    learner.learn(target, 1e4, 1)
    weights = learner.weights()
    for name, value in target.items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-3)


def test_a_parameter_that_the_loss_does_not_use_is_pulled_too():
    unused = nn.Parameter(torch.ones(2))
    Pull([unused], [torch.zeros(2)], mu=3.0).add_to_gradients()
    assert unused.grad.tolist() == [3.0, 3.0]


def test_a_frozen_parameter_goes_where_it_is_pulled():
    net = classifier()
    net.module[0].weight.requires_grad_(False)
    learner = started(net)
    learner.learn(targets(learner), 1.0, 1)
    assert torch.equal(learner.weights()["0.weight"], targets(learner)["0.weight"])


def test_the_recorded_loss_is_the_loss_alone():
    learner = started(classifier(batch_size=40, lr=1e-9), epochs=1)
    expected = learner.loss()
    learner.learn(targets(learner), 5.0, 1)
    recorded = learner.estimator.history[-1, "train_loss"]
    assert recorded == pytest.approx(expected, rel=1e-5)


class Spy(Callback):
    """Remember the gradients that a callback of the user sees."""

    def on_train_begin(self, net, **kwargs):
        self.seen = []

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.seen.append({name: p.grad.clone() for name, p in named_parameters})


def test_the_pull_comes_before_the_callbacks_of_the_user():
    learner = started(classifier(callbacks=[("spy", Spy())], batch_size=40), epochs=1)
    target = {name: w - 1e6 for name, w in learner.weights().items()}
    learner.learn(target, 1.0, 1)
    (seen,) = dict(learner.estimator.callbacks_)["spy"].seen
    for gradient in seen.values():
        torch.testing.assert_close(gradient, torch.full_like(gradient, 1e6))


def test_no_callback_is_left_behind():
    learner = started()
    before = list(learner.estimator.callbacks_)
    learner.learn(targets(learner), 1.0, 1)
    assert learner.estimator.callbacks_ == before


def test_the_pull_is_taken_off_when_training_fails():
    class Fails(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise RuntimeError

    learner = started(classifier(callbacks=[Fails()], verbose=1))
    before = list(learner.estimator.callbacks_)
    with pytest.raises(RuntimeError):
        learner.learn(targets(learner), 1.0, 1)
    assert learner.estimator.callbacks_ == before
    assert learner.estimator.verbose == 1


def test_a_keyboard_interrupt_is_not_swallowed():
    class Interrupts(Callback):
        def on_batch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    learner = started(classifier(callbacks=[Interrupts()]))
    with pytest.raises(KeyboardInterrupt):
        learner.learn(targets(learner), 1.0, 1)


def test_steps_are_quiet(capsys):
    learner = started(classifier(verbose=1))
    learner.learn(targets(learner), 1.0, 1)
    assert capsys.readouterr().out == ""
    assert learner.estimator.verbose == 1


@pytest.mark.parametrize(
    ("options", "optimizer", "step", "mu", "expected"),
    [
        ({"lr_decay": 0.5}, torch.optim.SGD, 1, 1.0, 0.1),
        ({"lr_decay": 0.5}, torch.optim.SGD, 3, 1.0, 0.025),
        ({}, torch.optim.SGD, 1, 20.0, 0.05),
        ({"clip_lr": False}, torch.optim.SGD, 1, 20.0, 0.1),
        ({}, torch.optim.Adam, 1, 20.0, 0.1),
    ],
)
def test_the_learning_rate_decays_and_is_clipped(
    options, optimizer, step, mu, expected
):
    learner = started(classifier(optimizer=optimizer), epochs=1, **options)
    learner.learn(targets(learner), mu, step)
    (group,) = learner.estimator.optimizer_.param_groups
    assert group["lr"] == pytest.approx(expected)


def test_every_step_begins_with_a_fresh_optimizer():
    one, other = (started(classifier(**OPTIMIZERS["adam"])) for _ in range(2))
    target = targets(one)
    one.learn(target, 1.0, 1)
    other.substitute(one.weights())
    one.learn(target, 1.0, 2)
    other.learn(target, 1.0, 2)
    for name, weight in one.weights().items():
        assert torch.equal(weight, other.weights()[name])


@pytest.mark.parametrize(
    ("max_epochs", "n_steps", "epochs"),
    [
        (3, 4, [2, 2, 1, 1]),
        (6, 6, [2] * 6),
        (1, 5, [1] * 5),
        (5, 1, [10]),
    ],
)
def test_automatic_epochs_spread_twice_those_of_the_net(max_epochs, n_steps, epochs):
    net = classifier(max_epochs=max_epochs, iterator_train=Unsized)
    learner = started(net, epochs="auto", n_steps=n_steps)
    done = [0]
    for step in range(1, n_steps + 1):
        learner.learn({}, 1.0, step)
        done.append(len(learner.estimator.history))
    assert [after - before for before, after in pairwise(done)] == epochs


@pytest.mark.parametrize(
    ("n", "batch_size", "max_epochs", "n_steps", "total"),
    [
        (40, 10, 3, 10, 500),  # 2,000 batches
        (40, -1, 3, 10, 2000),
        (40, 15, 3, 10, 667),  # 2,001
        (400, 1, 2, 5, 5),
        (400, 1, 3, 5, 6),  # twice those of the net are more
        (40, 10, 3, 1000, 1000),  # an epoch each is more
    ],
)
def test_automatic_epochs_have_a_floor_of_2000_batches_in_all(
    n, batch_size, max_epochs, n_steps, total
):
    net = classifier(max_epochs=max_epochs, batch_size=batch_size)
    learner = started(net, *data(n), epochs="auto", n_steps=n_steps)
    plan = learner.plan
    assert sum(plan.epochs_of(step) for step in range(1, n_steps + 1)) == total


def test_epochs_that_somebody_asks_for_have_no_floor():
    plan = started(epochs=2, first_epochs=3, n_steps=5).plan
    assert [plan.epochs_of(step) for step in range(1, 6)] == [3, 2, 2, 2, 2]


def test_each_step_trains_its_epochs():
    learner = started(epochs=3)
    learner.learn(targets(learner), 1.0, 1)
    learner.learn(targets(learner), 1.0, 2)
    assert len(learner.estimator.history) == 6


def test_the_reference_is_trained_as_the_net_says():
    X, y = data()
    learner = started()
    learner.train_reference()
    learner.train_reference()  # once only
    alone = clone(classifier()).fit(X, y)
    assert len(learner.estimator.history) == 3
    for one, other in zip(
        learner.weights().values(), alone.module_.parameters(), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_the_loss_is_the_mean_over_the_training_data():
    X, y = data(n=23)  # batches of 10, 10 and 3
    learner = started(X=X, y=y)
    output = learner.estimator.module_(torch.as_tensor(X))
    expected = nn.functional.cross_entropy(output, torch.as_tensor(y)).item()
    assert learner.loss() == pytest.approx(expected, rel=1e-6)


def test_the_loss_is_that_without_dropout():
    learner = started(classifier(module=nn.Sequential(nn.Dropout(0.5), *module())))
    assert learner.loss() == learner.loss()


def test_a_validation_split_is_not_trained_on():
    learner = started(
        classifier(
            train_split=lambda dataset, y, **kwargs: (
                torch.utils.data.Subset(dataset, range(10)),
                dataset,
            )
        )
    )
    X, y = data()
    output = learner.estimator.module_(torch.as_tensor(X[:10]))
    expected = nn.functional.cross_entropy(output, torch.as_tensor(y[:10])).item()
    assert learner.loss() == pytest.approx(expected, rel=1e-6)


def test_weights_are_live_and_can_be_set():
    learner = started()
    weights = learner.weights()
    assert list(weights) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    learner.substitute({"0.bias": torch.full((4,), 7.0)})
    assert weights["0.bias"].tolist() == [7.0] * 4
    assert learner.estimator.module_[0].bias.tolist() == [7.0] * 4
    assert not weights["0.bias"].requires_grad


def test_a_state_holds_parameters_and_buffers():
    first, tanh, last = module()
    learner = started(
        classifier(module=nn.Sequential(first, tanh, nn.BatchNorm1d(4), last))
    )
    learner.train_reference()
    before = learner.state_dict()
    tensors = [name for name in before if name.startswith("module.tensor.")]
    assert "module.tensor.2.running_mean" in tensors
    learner.learn({}, 1.0, 1)
    after = learner.state_dict()
    assert not any(torch.equal(before[name], after[name]) for name in tensors)
    learner.load_state_dict(before)
    restored = learner.state_dict()
    assert all(torch.equal(before[name], restored[name]) for name in tensors)


def test_a_fitted_frozen_net_is_copied_and_not_trained_again():
    X, y = data()
    net = classifier().fit(X, y)
    before = copy.deepcopy(net.module_.state_dict())
    learner = started(FrozenEstimator(net))
    learner.train_reference()
    assert learner.estimator is not net
    for name, weight in learner.weights().items():
        assert torch.equal(weight, before[name])
    learner.learn(targets(learner), 1.0, 1)
    for name, weight in net.module_.state_dict().items():
        assert torch.equal(weight, before[name])
    assert not torch.equal(learner.weights()["0.weight"], before["0.weight"])


def test_a_frozen_net_must_be_fitted():
    with pytest.raises(NotFittedError, match="holds a net that is not fitted: fit it"):
        started(FrozenEstimator(classifier()))


@pytest.mark.parametrize("wrap", [lambda m: m, FrozenEstimator])
def test_a_module_counts_as_trained(wrap):
    trained = module()
    learner = started(wrap(trained))
    learner.train_reference()
    before = copy.deepcopy(trained.state_dict())
    net = learner.estimator
    assert type(net) is NeuralNetClassifier
    assert net.criterion is nn.CrossEntropyLoss
    assert isinstance(net.optimizer_, torch.optim.SGD)
    (group,) = net.optimizer_.param_groups
    assert group["nesterov"]
    assert group["momentum"] == 0.9
    assert net.get_params()["iterator_train__shuffle"] is True
    for name, weight in learner.weights().items():
        assert torch.equal(weight, before[name])
    learner.learn(targets(learner), 1.0, 1)
    for name, weight in trained.state_dict().items():
        assert torch.equal(weight, before[name])


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@pytest.mark.parametrize(
    ("kind", "criterion", "target"),
    [
        (NeuralNetRegressor, nn.MSELoss, lambda y: y[:, None].astype("float32")),
        (
            NeuralNetBinaryClassifier,
            nn.BCEWithLogitsLoss,
            lambda y: (y > 0).astype(float),
        ),
        (NeuralNet, nn.MSELoss, lambda y: y[:, None].astype("float32")),
    ],
)
def test_other_nets_learn_too(kind, criterion, target):
    X, y = data()
    net = kind(
        module(n_out=1), criterion=criterion, lr=0.05, train_split=None, verbose=0
    )
    learner = started(net, X, target(y), epochs=20)
    before = learner.loss()
    learner.learn({}, 1.0, 1)
    assert learner.loss() < before


def test_a_scoring_callback_does_not_mind():
    callbacks = [EpochScoring("accuracy", on_train=True, name="acc")]
    learner = started(classifier(callbacks=callbacks))
    learner.learn(targets(learner), 1.0, 1)
    assert "acc" in learner.estimator.history[-1]


class Convolutional(nn.Module):
    """Layers that use a weight once, many times and twice per sample."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, groups=2)
        self.up = nn.ConvTranspose2d(4, 2, 2)
        self.fc = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        x = self.up(self.conv(x)).mean((2, 3))
        return self.fc(self.fc(x)) * self.scale


def test_layers_say_how_often_a_weight_is_used():
    net = NeuralNetClassifier(
        Convolutional, criterion=nn.CrossEntropyLoss, train_split=None, verbose=0
    )
    X = torch.randn(7, 2, 6, 5)
    learner = NetLStep().start(net, X, torch.zeros(7, dtype=int), n_steps=1)
    layers = learner.layers()
    small, large = (4, 3), (5, 4)
    assert layers["conv.weight"] == LayerInfo(
        "Conv2d", 2, 0, 4 * 3, (Grid((6, 5), small),)
    )
    assert layers["up.weight"] == LayerInfo(
        "ConvTranspose2d", 1, 1, 4 * 3, (Grid(small, large),)
    )
    assert layers["fc.weight"] == LayerInfo("Linear", 1, 0, 2.0)
    assert layers["fc.bias"] == LayerInfo("Linear", uses=None)
    assert layers["scale"] == LayerInfo("Convolutional", uses=None)
    assert not any(m._forward_hooks for m in learner.estimator.module_.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"epochs": 0},
            r"NetLStep\(epochs=0\): epochs must be 'auto' or an int of at least 1",
        ),
        ({"clip_lr": 0}, r"clip_lr must be True or False\."),
        ({"reestimate_batch_norm": "no"}, "reestimate_batch_norm must be True or Fal"),
        (
            {"pull": np.ones(2)},
            "pull must be one of 'auto', 'gradient', 'decoupled', 'loss'",
        ),
        ({"epochs": np.ones(2)}, "epochs must be 'auto' or an int of at least 1"),
        ({"epochs": 1.5}, "epochs must be 'auto' or an int of at least 1"),
        ({"epochs": True}, "epochs must be 'auto' or an int of at least 1"),
        ({"epochs": "many"}, "epochs must be 'auto' or an int of at least 1"),
        (
            {"lr_decay": 0},
            r"NetLStep\(lr_decay=0\): lr_decay must be above 0.0 and at ",
        ),
        ({"lr_decay": 1.1}, "lr_decay must be above 0.0 and at most 1.0"),
        ({"lr_decay": "x"}, "lr_decay must be above 0.0 and at most 1.0"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        started(**options)


def test_nets_and_modules_have_a_default():
    for estimator in classifier(), module(), FrozenEstimator(classifier()):
        assert isinstance(default_l_step(estimator), NetLStep)


def test_an_unknown_estimator_is_refused():
    with pytest.raises(
        TypeError,
        match=r"No L step is known for Lasso\. Known are LinearRegression, "
        r"LogisticRegression, Module, NeuralNet, Pipeline, Ridge; pass l_step=\.\.\., "
        r"or teach sklc one with sklc\.lstep\.register\.",
    ):
        default_l_step(Lasso())


class Mine(LStep):
    """An L step of a user."""

    def start(self, estimator, X, y, *, n_steps, **fit_params):
        raise NotImplementedError


@pytest.mark.parametrize("subclasses", [True, False])
def test_an_l_step_can_be_registered(subclasses):
    class Derived(Lasso):
        pass

    register(Lasso, Mine, subclasses=subclasses)
    try:
        assert isinstance(default_l_step(Lasso()), Mine)
        if subclasses:
            assert isinstance(default_l_step(Derived()), Mine)
        else:
            with pytest.raises(TypeError, match="No L step is known for Derived"):
                default_l_step(Derived())
    finally:
        del _registry[Lasso]


def test_the_steps_of_a_net_are_reproducible():
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        learner = started(classifier(iterator_train__shuffle=True))
        learner.learn(targets(learner), 1.0, 1)
        runs.append(torch.cat([w.flatten() for w in learner.weights().values()]))
    for one, other in pairwise(runs):
        assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_weights_that_do_not_train_are_compressed_at_once():
    """They stay at the best codes there are for them, while the others adapt."""
    X, y = data()
    net = classifier(module=module()).fit(X, y)
    frozen = net.module_[0].weight.requires_grad_(False)
    before = frozen.clone()
    scheme = AdaptiveQuantization(k=2)
    lc = compressor(FrozenEstimator(net), scheme, max_iter=8, keep="last").fit(X, y)
    best = scheme.compress({"w": before}, 1.0)["w"].dense()
    assert torch.equal(lc.theta_["0.weight"].dense(), best)
    assert lc.history_[-1]["gap"] < 0.5 * lc.history_[0]["gap"]
    assert torch.equal(frozen, before)


def test_a_device_that_is_none_is_refused():
    with pytest.raises(ValueError, match="device must be None, 'auto' or a device of"):
        started(device="nope")
