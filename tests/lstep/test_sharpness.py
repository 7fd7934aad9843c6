"""The curvature of a loss, and the learning rate that it allows."""

import numpy as np
import pytest
import torch
from nets import classifier, data
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetRegressor
from torch import nn

from sklc.exceptions import DivergenceError
from sklc.lstep import NetLStep
from sklc.lstep.net.sharpness import sharpness

X, Y = data()


def linear(**options):
    torch.manual_seed(0)
    options = {
        "module": nn.Linear(5, 1, bias=False),
        "criterion": nn.MSELoss,
        **options,
    }
    return classifier(NeuralNetRegressor, **options).initialize()


def curvature():
    return 2 * np.linalg.eigvalsh(X.T @ X / len(X))[-1]


def test_it_is_the_largest_eigenvalue_of_the_hessian():
    net = linear()
    before = net.module_.weight.detach().clone()
    y = torch.zeros(len(X), 1)
    assert sharpness(net, (X, y)) == pytest.approx(curvature(), rel=0.02)
    assert torch.equal(net.module_.weight, before)


def test_without_gradients_it_is_unknown():
    net = linear(module=nn.Linear(5, 1).bfloat16())
    assert sharpness(net, (torch.as_tensor(X).bfloat16(), torch.zeros(40, 1))) == 0.0
    net.module_.requires_grad_(False)
    assert sharpness(net, (X, torch.zeros(40, 1))) == 0.0


@pytest.mark.parametrize(
    ("options", "stable"),
    [
        ({}, 2.0),
        ({"optimizer__momentum": 0.9}, 3.8),
        ({"optimizer__momentum": 0.9, "optimizer__nesterov": True}, 3.8 / 2.8),
    ],
)
def test_a_rate_with_which_learning_from_the_reference_diverges_is_lowered(
    options, stable
):
    """Beyond its limit SGD diverges on a quadratic; at half of it, it converges."""
    limit = stable / curvature()
    for clip, converges in ((True, True), (False, False)):
        net = linear(lr=1.2 * limit, batch_size=-1, **options)
        step = NetLStep(epochs=60, distill=1.0, clip_lr=clip)
        learner = step.start(FrozenEstimator(net), X, None, n_steps=1)
        learner.begin()
        with torch.no_grad():
            learner.estimator.module_.weight += 0.1
        before = learner.loss()
        try:
            learner.learn({}, 1e-6, 1)
            better = learner.loss() < before
        except DivergenceError:
            better = False
        assert better == converges


def test_rates_of_targets_and_of_other_optimizers_are_left_alone():
    rates = []

    class Kept(torch.optim.Adam):
        def step(self, *args):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args)

    for optimizer, share in ((Kept, 1.0), (torch.optim.SGD, 0.0)):
        net = linear(lr=0.9, optimizer=optimizer)
        step = NetLStep(epochs=1, distill=share)
        y = X[:, 0]
        learner = step.start(FrozenEstimator(net), X, y, n_steps=1)
        learner.learn({}, 1e-6, 1)
        rates.append(learner.estimator.optimizer_.param_groups[0]["lr"])
    assert set(rates) == {0.9}
