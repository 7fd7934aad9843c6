"""How a net feels the pull: through its gradients, or through its loss."""

import pytest
import torch
from nets import (
    Accumulating,
    Deaf,
    Halved,
    Scaling,
    classifier,
    compressor,
    data,
    flat,
    started,
    targets,
)
from skorch import NeuralNet, NeuralNetClassifier
from torch import nn

from sklc.lstep.net.pull import Pull, automatic_pull


class Flattened(NeuralNet):
    def get_loss(self, y_pred, y_true, *args, **kwargs):
        wide = torch.cat([y_true, y_true[:, :1]], dim=1).flatten()
        return super().get_loss(y_pred, wide, *args, **kwargs)


class Stepping(NeuralNetClassifier):
    def _step_optimizer(self, step_fn):
        super()._step_optimizer(step_fn)


class Looping(NeuralNetClassifier):
    """A loop of its own over epochs and batches."""

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        dataset, _ = self.get_split_datasets(X, y, **fit_params)
        for _ in range(epochs):
            self.notify("on_epoch_begin", dataset_train=dataset, dataset_valid=None)
            for batch in self.get_iterator(dataset, training=True):
                self.notify("on_batch_begin", batch=batch, training=True)
                step = self.train_step(batch, **fit_params)
                self.history.record_batch("train_loss", step["loss"].item())
                self.history.record_batch("train_batch_size", len(batch[0]))
            self.notify("on_epoch_end", dataset_train=dataset, dataset_valid=None)
        return self


class Accelerated(NeuralNetClassifier):
    """As AccelerateMixin: its training step is its own."""

    def train_step(self, batch, **fit_params):
        return super().train_step(batch, **fit_params)


class LineSearch(torch.optim.LBFGS):
    pass


OPTIMIZERS = {
    "sgd": {},
    "nesterov": {"optimizer__momentum": 0.9, "optimizer__nesterov": True},
    "weight decay": {"optimizer__weight_decay": 0.1},
    "adam": {"optimizer": torch.optim.Adam, "lr": 0.01},
}


def learned(net, mu=0.7, **options):
    learner = started(net, **options)
    learner.learn(targets(learner), mu, 1)
    return learner


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_both_pulls_give_the_same_weights(name, summed):
    options = dict(OPTIMIZERS[name])
    if summed:
        options["criterion__reduction"] = "sum"
        options["lr"] = options.get("lr", 0.1) / 10
    one, other = (
        learned(classifier(batch_size=15, **options), pull=pull)
        for pull in ("gradient", "loss")
    )
    torch.testing.assert_close(flat(one), flat(other), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pull", ["gradient", "loss"])
def test_a_sum_over_samples_steps_as_their_mean_does(pull):
    mean = classifier(lr=0.1, batch_size=10)
    summed = classifier(lr=0.01, batch_size=10, criterion__reduction="sum")
    one, other = (learned(net, pull=pull) for net in (mean, summed))
    torch.testing.assert_close(flat(one), flat(other), rtol=1e-5, atol=1e-6)
    assert other.loss() == pytest.approx(one.loss(), rel=1e-5)


def test_a_sum_counts_the_samples_and_not_the_outputs():
    """A sequence has many outputs, laid end to end."""
    net = {
        "module": nn.Sequential(nn.Linear(5, 6), nn.Flatten(0)),
        "criterion": nn.MSELoss,
        "criterion__reduction": "sum",
        "lr": 0.003,
    }
    X, _ = data()
    found = []
    for pull in "gradient", "loss":
        learner = started(classifier(Flattened, **net), X, X, pull=pull)
        learner.learn(targets(learner), 0.7, 1)
        found.append(flat(learner))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("summed", [False, True])
def test_the_penalty_is_that_of_the_l_step(summed):
    parameter = nn.Parameter(torch.tensor([1.0, 4.0]))
    other = nn.Parameter(torch.tensor(3.0))
    penalty = Pull(
        [parameter, other], [torch.tensor([0.0, 2.0]), torch.tensor(3.0)], mu=0.5
    )
    times = 7.0 if summed else 1.0
    value = penalty(times)
    assert value.item() == times * 0.5 / 2 * (1 + 4)
    value.backward()
    expected = [parameter.grad.clone(), other.grad.clone()]
    parameter.grad, other.grad = None, None
    penalty.add_to_gradients(times)
    assert torch.equal(parameter.grad, expected[0])
    assert torch.equal(other.grad, expected[1])
    assert penalty.n_uses == 2


def test_a_penalty_on_nothing_is_zero():
    penalty = Pull([], [], mu=1.0)
    penalty.add_to_gradients()
    assert penalty().item() == 0.0


def adam(groups, **options):
    return torch.optim.Adam(groups)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        (NeuralNetClassifier, {}, "gradient"),
        (NeuralNetClassifier, {"optimizer": torch.optim.Adam}, "decoupled"),
        (NeuralNetClassifier, {"optimizer": torch.optim.LBFGS}, "loss"),
        (
            NeuralNetClassifier,
            {"optimizer": type("B", (torch.optim.LBFGS,), {})},
            "loss",
        ),
        (NeuralNetClassifier, {"optimizer": adam}, "decoupled"),
        (
            NeuralNetClassifier,
            {"optimizer": type("S", (torch.optim.SGD,), {})},
            "gradient",
        ),
        (Accumulating, {}, "loss"),
        (Scaling, {}, "loss"),
        (Stepping, {}, "loss"),
        (Accelerated, {}, "loss"),
    ],
)
def test_the_pull_is_chosen_by_the_net(kind, options, expected):
    assert automatic_pull(classifier(kind, **options).initialize()) == expected


def test_accelerate_is_pulled_through_the_loss():
    pytest.importorskip("accelerate")
    from skorch.hf import AccelerateMixin

    class Net(AccelerateMixin, NeuralNetClassifier):
        pass

    assert automatic_pull(classifier(Net, accelerator=None)) == "loss"


def test_lbfgs_converges_to_the_solution_of_the_l_step():
    net = classifier(
        optimizer=torch.optim.LBFGS,
        optimizer__line_search_fn="strong_wolfe",
        optimizer__max_iter=100,
        lr=1.0,
        batch_size=-1,
    )
    learner = started(net, epochs=3)
    target = {name: torch.full_like(w, 0.3) for name, w in learner.weights().items()}
    learner.learn(target, 5.0, 1)
    X, y = map(torch.as_tensor, data())
    module = learner.estimator.module_
    module.zero_grad()
    loss = nn.functional.cross_entropy(module(X), y)
    for parameter in module.parameters():
        loss = loss + 2.5 * (parameter - 0.3).square().sum()
    loss.backward()
    for parameter in module.parameters():
        assert parameter.grad.abs().max() < 1e-3
    learner.learn(target, 1e4, 2)
    assert (flat(learner) - 0.3).abs().max() < 1e-3


@pytest.mark.parametrize("kind", [Scaling, Stepping, Accelerated, Looping])
def test_training_steps_of_the_user_learn_the_same(kind):
    own, usual = learned(classifier(kind)), learned(classifier())
    torch.testing.assert_close(flat(own), flat(usual), rtol=1e-5, atol=1e-6)


def test_accumulated_gradients_learn_what_one_large_batch_does():
    # of a sum of two, the step is twice as long
    halved = classifier(Halved, batch_size=20, lr=0.2)
    own, usual = learned(classifier(Accumulating)), learned(halved)
    torch.testing.assert_close(flat(own), flat(usual), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pull", ["auto", "gradient", "loss"])
def test_a_training_step_that_cannot_feel_the_pull_is_an_error(pull):
    with pytest.raises(
        RuntimeError,
        match=r"The net did not feel the pull of L step 1: its training uses neither "
        r"get_loss, nor the callbacks' on_grad_computed \(on_batch_end, of optimizers "
        r"other than SGD\), nor \(a function passed as l_step\) the pull\. Use one of "
        r"them\.",
    ):
        learned(classifier(Deaf), pull=pull)


def test_the_pull_through_the_loss_is_only_felt_in_training():
    learner = started(classifier(batch_size=40), pull="loss", epochs=1)
    before = learner.loss()
    rate = learner.estimator.lr
    learner.estimator.set_params(lr=0.0 * rate)
    learner.learn(targets(learner), 5.0, 1)
    assert learner.loss() == pytest.approx(before)
    assert learner.estimator.history[-1, "train_loss"] > before + 1
    assert "get_loss" not in vars(learner.estimator)


def test_the_recorded_loss_is_the_loss_alone():
    learner = started(classifier(batch_size=40, lr=0.0), pull="gradient", epochs=1)
    learner.learn(targets(learner), 5.0, 1)
    recorded = learner.estimator.history[-1, "train_loss"]
    assert recorded == pytest.approx(learner.loss(), rel=1e-6)


@pytest.mark.parametrize("pull", ["gradient", "loss"])
def test_the_net_is_as_before_when_training_fails(pull):
    class Failing(NeuralNetClassifier):
        def on_batch_end(self, net, **kwargs):
            raise KeyError

    learner = started(classifier(Failing), pull=pull)
    before = dict(vars(learner.estimator))
    with pytest.raises(KeyError):
        learner.learn(targets(learner), 1.0, 1)
    after = vars(learner.estimator)
    assert after.keys() == before.keys()
    assert after["callbacks_"] == before["callbacks_"]


def test_an_invalid_pull_is_refused():
    with pytest.raises(ValueError, match="'auto', 'gradient', 'decoupled', 'loss'"):
        started(pull="push")


# ---- units of the loss ----


class Scaled(nn.CrossEntropyLoss):
    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor

    def forward(self, output, target):
        return self.factor * super().forward(output, target)


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
@pytest.mark.parametrize("factor", [4.0, 0.25])
def test_the_unit_of_the_loss_does_not_matter(factor):
    """The automatic mu is in units of the loss; powers of two round alike."""

    def fitted(factor):
        net = classifier(
            criterion=Scaled,
            criterion__factor=factor,
            lr=0.125 / factor,
            optimizer__momentum=0.9,
            iterator_train__shuffle=True,
        )
        lc = compressor(net, mu_init="auto", keep="last", mu_factor=1.5)
        return lc.fit(*data())

    one, other = fitted(1.0), fitted(factor)
    for a, b in zip(one.history_, other.history_, strict=True):
        assert b["mu"] == pytest.approx(factor * a["mu"], rel=1e-12)
        assert b["loss"] == pytest.approx(factor * a["loss"], rel=1e-12)
    for name, code in one.theta_.items():
        assert torch.equal(code.codebook, other.theta_[name].codebook)
        assert torch.equal(code.index, other.theta_[name].index)
