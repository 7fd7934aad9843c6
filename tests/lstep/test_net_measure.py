"""What is measured of a net does not depend on the order of the data."""

import math

import numpy as np
import pytest
import torch
from nets import classifier, data, module, started
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from torch import nn
from torch.utils.data import TensorDataset

from sklc import LCCompressor
from sklc.lstep import NetLStep
from sklc.schemes import LowRank


def learner_of(net, X, y, **options):
    return NetLStep(**options).start(net, X, y, n_steps=0)


def sorted_data(n=400):
    """Return data in the order of a feature that everything depends on."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 5)).astype("float32")
    X = X[X[:, 0].argsort()]
    return X, 3 * X[:, 0] + X[:, 1]


class Normed(nn.Module):
    """A regression with batch normalisation."""

    def __init__(self, norm=None):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(5, 16), nn.Linear(16, 1)
        self.norm = nn.BatchNorm1d(16) if norm is None else norm

    def forward(self, x):
        return self.fc2(torch.relu(self.norm(self.fc1(x))))


class FixedInTraining(Normed):
    """As fine-tuned nets often are: their statistics stay."""

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        return self


def regressor(kind=Normed, **options):
    torch.manual_seed(0)
    settings = {"max_epochs": 15, "lr": 0.05, "batch_size": 40, "verbose": 0}
    return NeuralNetRegressor(
        kind,
        iterator_train__shuffle=True,
        train_split=None,
        **{**settings, **options},
    )


@pytest.mark.parametrize("batch_size", [20, 40])
def test_lossless_compression_of_a_net_on_sorted_data_loses_nothing(batch_size):
    X, y = sorted_data()
    net = regressor(batch_size=batch_size).fit(X, y[:, None])
    lc = LCCompressor(FrozenEstimator(net), LowRank(1.0), max_iter=0).fit(X, y)
    assert lc.score(X, y) > 0.95
    assert lc.score(X, y) == pytest.approx(net.score(X, y[:, None]), abs=0.01)
    assert lc.history_[0]["loss"] < 1.1 * lc.reference_loss_


def test_statistics_that_training_keeps_stay_as_they_are():
    X, y = sorted_data()
    learner = learner_of(regressor(FixedInTraining), X, y)
    norm = learner.estimator.module_.norm
    norm.running_mean.fill_(0.5)
    learner.substitute({"fc1.weight": torch.ones(16, 5)})
    assert (norm.running_mean == 0.5).all()


def test_statistics_that_forget_nothing_stay_as_they_are():
    X, y = sorted_data()
    net = regressor(module__norm=nn.BatchNorm1d(16, momentum=0.0))
    learner = learner_of(net, X, y)
    learner.substitute({"fc1.weight": torch.ones(16, 5)})
    assert (learner.estimator.module_.norm.running_mean == 0).all()


def test_statistics_of_instances_are_renewed_too():
    norm = nn.InstanceNorm1d(2, track_running_stats=True)
    net = classifier(module=nn.Sequential(norm, nn.Flatten(), nn.Linear(10, 3)))
    X = torch.randn(40, 2, 5) + 3
    learner = started(net, X, torch.arange(40) % 3)
    learner.substitute({})
    found = learner.estimator.module_[0].running_mean
    torch.testing.assert_close(found, X.mean((0, 2)))


def test_a_validation_one_by_one_does_no_harm():
    X, y = sorted_data()
    options = {"iterator_valid__batch_size": 1}
    one, other = (
        LCCompressor(regressor(**more), LowRank(1.0), max_iter=0, random_state=0)
        .fit(X, y)
        .history_[0]["loss"]
        for more in (options, {})
    )
    assert one == pytest.approx(other, rel=1e-5)


WEIGHT = torch.tensor([1.0, 5.0, 0.2])
CRITERIA = {
    "weights": {"criterion__weight": WEIGHT},
    "smooth": {"criterion__weight": WEIGHT, "criterion__label_smoothing": 0.1},
    "ignored": {"criterion__ignore_index": 1},
    "both": {"criterion__weight": WEIGHT, "criterion__ignore_index": 2},
    "plain": {},
    "sum": {"criterion__reduction": "sum"},
}


@pytest.mark.parametrize("order", ["sorted", "mixed"])
@pytest.mark.parametrize("name", CRITERIA)
def test_the_mean_loss_is_that_of_one_batch(name, order):
    """However the samples fall into batches: weights and ignored targets count."""
    X, y = data(60)
    if order == "sorted":
        X, y = X[y.argsort()], np.sort(y)
    options = CRITERIA[name]
    net = classifier(batch_size=7, **options)
    torch.manual_seed(0)
    learner = started(net, X, y)
    module = learner.estimator.module_
    given = {key.removeprefix("criterion__"): v for key, v in options.items()}
    loss = nn.CrossEntropyLoss(**given)(module(torch.as_tensor(X)), torch.as_tensor(y))
    expected = loss.item() / (60 if name == "sum" else 1)
    assert learner.loss() == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_any_target_that_counts_is_left_out():
    X, y = data(40)
    y[1:] = 2
    y[0] = 1
    net = classifier(batch_size=4, criterion__ignore_index=2)
    X, y = torch.as_tensor(X), torch.as_tensor(y)
    learner = started(net, TensorDataset(X, y), None)
    loss = nn.functional.cross_entropy(learner.estimator.module_(X[:1]), y[:1])
    assert learner.loss() == pytest.approx(loss.item(), rel=1e-5)


def test_pixels_that_are_ignored_do_not_count():
    X = torch.randn(12, 2, 3, 3)
    y = torch.randint(3, (12, 3, 3))
    y[:9] = -100
    y[:9, 0, 0] = 1
    net = classifier(module=nn.Conv2d(2, 3, 1), batch_size=3)
    learner = started(net, X, y)
    loss = nn.functional.cross_entropy(learner.estimator.module_(X), y).item()
    assert learner.loss() == pytest.approx(loss, rel=1e-5)


def test_a_loss_of_ones_own_is_measured_in_batches_of_the_training():
    sizes = []

    class Own(NeuralNetClassifier):
        def get_loss(self, y_pred, y_true, *args, **kwargs):
            sizes.append(len(y_true))
            return super().get_loss(y_pred, y_true, *args, **kwargs)

    started(classifier(Own, batch_size=8)).loss()
    assert set(sizes) == {8}


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_the_loss_of_a_constant_is_that_of_the_best_one(weight):
    X, y = data(60)
    learner = started(classifier(criterion__weight=weight), X, y)
    scores = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([scores], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(
            scores.expand(60, 3), torch.as_tensor(y), weight
        )
        loss.backward()
        return loss

    optimizer.step(closure)
    assert learner.constant_loss() == pytest.approx(closure().item(), rel=1e-4)


def test_the_loss_of_a_constant_number_is_the_variance():
    X, y = sorted_data()
    found = learner_of(regressor(), X, y).constant_loss()
    assert found == pytest.approx(y.var(), rel=1e-5)
    net = NeuralNetBinaryClassifier(module(n_out=1), train_split=None, verbose=0)
    net.set_params(iterator_train__shuffle=True)
    found = learner_of(net, X, y > 1).constant_loss()
    share = (y > 1).mean()
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert found == pytest.approx(entropy, rel=1e-5)


def test_the_loss_of_a_constant_is_not_known_of_every_criterion():
    smooth = classifier(criterion__label_smoothing=0.1)
    huber = regressor(criterion=nn.HuberLoss)
    assert started(smooth).constant_loss() == math.inf
    assert learner_of(huber, *sorted_data()).constant_loss() == math.inf
