"""Fine-tuning of products of factors moves the product as its own gradient would."""

import numpy as np
import pytest
import torch
from nets import classifier, data, started
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetRegressor
from torch import nn

from sklc.codes import Factored, decompress
from sklc.lstep import NetLStep
from sklc.schemes import LowRank


def gradient_of(learner, name):
    X, y = map(torch.as_tensor, data())
    net = learner.estimator.module_
    net.zero_grad()
    nn.functional.cross_entropy(net(X), y).backward()
    return net.get_parameter(name).grad.double().clone()


def turned(code, spread):
    """Return the same product with factors of other sizes."""
    scale = torch.logspace(-spread, spread, code.rank)
    size = tuple(code.shape)
    return Factored(code.left * scale, code.right / scale[:, None], size)


@pytest.mark.parametrize("spread", [0.0, 0.4])
def test_a_product_moves_by_half_of_both_projections(spread):
    """However the product is split into factors: that is not what the net sees."""
    lr = 1e-2
    learner = started(classifier(batch_size=40, lr=lr))
    weight = {"0.weight": learner.weights()["0.weight"]}
    (code,) = LowRank(2).compress(weight, 1.0).values()
    theta = {"0.weight": turned(code, spread)}
    learner.substitute(decompress(theta))
    gradient = gradient_of(learner, "0.weight")
    before = theta["0.weight"].dense().double()
    left = torch.linalg.qr(code.left.double()).Q
    right = torch.linalg.qr(code.right.double().T).Q
    expected = (left @ left.T @ gradient + gradient @ right @ right.T) / 2
    found = learner.finetune(theta, 1)["0.weight"].dense().double() - before
    assert (found + lr * expected).norm() < 0.03 * lr * expected.norm()


@pytest.mark.parametrize(("rank", "spread"), [(1, 0.0), (2, 1.0), (4, 0.5)])
def test_no_product_moves_further_than_by_its_own_gradient(rank, spread):
    lr = 1e-2
    learner = started(classifier(batch_size=40, lr=lr))
    weight = {"0.weight": learner.weights()["0.weight"].clone()}
    left, _, right = torch.linalg.svd(weight["0.weight"], full_matrices=False)
    size = tuple(weight["0.weight"].shape)
    code = Factored(left[:, :rank], right[:rank], size)
    theta = {"0.weight": turned(code, spread)}
    learner.substitute(decompress(theta))
    gradient = gradient_of(learner, "0.weight")
    moved = learner.finetune(theta, 1)["0.weight"].dense() - theta["0.weight"].dense()
    assert moved.norm() <= lr * gradient.norm() * 1.01


def regression():
    """Return a problem whose solution has large weights."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 8)).astype("float32")
    Y = X @ (30 * rng.standard_normal((8, 6))).astype("float32")
    return X, Y


def test_large_weights_bear_a_rate_that_plain_gradients_of_factors_do_not():
    """A factor's own gradient is as much larger as the other factor is."""
    X, Y = regression()
    net = NeuralNetRegressor(
        nn.Linear(8, 6, bias=False),
        lr=0.5,
        max_epochs=60,
        batch_size=-1,
        train_split=None,
        verbose=0,
    ).fit(X, Y)
    step = NetLStep(lr=0.5, max_update=None)
    learner = step.start(FrozenEstimator(net), X, Y, n_steps=1)
    theta = LowRank(3).compress(learner.weights(), 1.0)
    learner.substitute(decompress(theta))
    before = learner.loss()

    (code,) = theta.values()
    factors = [code.left.clone(), code.right.clone()]
    for factor in factors:
        factor.requires_grad_()
    plain = torch.optim.SGD(factors, 0.5)
    for _ in range(20):
        plain.zero_grad()
        output = torch.as_tensor(X) @ (factors[0] @ factors[1]).T
        nn.functional.mse_loss(output, torch.as_tensor(Y)).backward()
        plain.step()
    assert not all(factor.isfinite().all() for factor in factors)

    found = learner.finetune(theta, 20)
    assert all(t.isfinite().all() for code in found.values() for t in code.tensors())
    assert learner.loss() < before
