"""The loss of a net that learns from its reference, against formulas by hand."""

import numpy as np
import pytest
import torch
from nets import classifier, data, flat, module
from scipy.optimize import minimize
from sklearn.frozen import FrozenEstimator
from skorch import (
    NeuralNet,
    NeuralNetBinaryClassifier,
    NeuralNetClassifier,
    NeuralNetRegressor,
)
from torch import nn

from sklc.lstep import NetLStep

T, SHARE = 3.0, 0.3


def kl(p, q):
    """Return that of distributions in the last dimension."""
    return (p * (p.log() - q.log())).sum(-1)


def bernoulli(p, q):
    return kl(torch.stack([p, 1 - p], -1), torch.stack([q, 1 - q], -1))


def of_classes(r, z):
    return T**2 * kl((r / T).softmax(-1), (z / T).softmax(-1))


def of_events(r, z):
    return T**2 * bernoulli((r / T).sigmoid(), (z / T).sigmoid())


WEIGHT = torch.tensor([1.0, 3.0, 0.5])
X, LABELS = data()
EVENTS = np.stack([LABELS == 0, LABELS == 1, X[:, 0] > 0], 1).astype("float32")
NUMBERS = (X @ np.ones((5, 3)) / 3).astype("float32")
IGNORED = np.where(np.arange(40) % 4 == 0, -100, LABELS)
Y = torch.as_tensor(LABELS)


def weighted(values, weights):
    return (weights * values).sum() / weights.sum()


def softmax():
    return nn.Softmax(-1)


def log_softmax():
    return nn.LogSoftmax(-1)


def one_number():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))


# kind of net, criterion and its options, what ends the module, targets, D by hand
CASES = {
    "classes": (
        *(NeuralNetClassifier, nn.CrossEntropyLoss, {}, None, LABELS),
        lambda r, z: of_classes(r, z).mean(),
    ),
    "sum": (
        *(NeuralNetClassifier, nn.CrossEntropyLoss, {"reduction": "sum"}),
        *(None, LABELS),
        lambda r, z: of_classes(r, z).mean(),  # the mean is what a loss is
    ),
    "weights of classes": (
        *(NeuralNetClassifier, nn.CrossEntropyLoss, {"weight": WEIGHT}, None, LABELS),
        lambda r, z: weighted(of_classes(r, z), WEIGHT[Y]),
    ),
    "ignored labels": (
        *(NeuralNet, nn.CrossEntropyLoss, {}, None, IGNORED),
        lambda r, z: of_classes(r, z)[torch.as_tensor(IGNORED) >= 0].mean(),
    ),
    "rows of probabilities": (
        *(NeuralNet, nn.CrossEntropyLoss, {"label_smoothing": 0.1}),
        *(None, np.eye(3, dtype="float32")[LABELS]),
        lambda r, z: of_classes(r, z).mean(),
    ),
    "probabilities": (
        *(NeuralNetClassifier, nn.NLLLoss, {}, softmax, LABELS),
        lambda r, z: of_classes(r.log(), z.log()).mean(),
    ),
    "log-probabilities": (
        *(NeuralNet, nn.NLLLoss, {"weight": WEIGHT}, log_softmax, LABELS),
        lambda r, z: weighted(of_classes(r, z), WEIGHT[Y]),
    ),
    "several labels": (
        *(NeuralNet, nn.BCEWithLogitsLoss, {}, None, EVENTS),
        lambda r, z: of_events(r, z).mean(),
    ),
    "weights of labels": (
        *(NeuralNet, nn.BCEWithLogitsLoss),
        *({"weight": WEIGHT, "pos_weight": torch.tensor([2.0, 1.0, 4.0])}, None),
        EVENTS,
        lambda r, z: (
            of_events(r, z)
            * WEIGHT
            * torch.where(
                torch.as_tensor(EVENTS) > 0, torch.tensor([2.0, 1.0, 4.0]), 1.0
            )
        ).mean(),
    ),
    "probabilities of labels": (
        *(NeuralNet, nn.BCELoss, {}, nn.Sigmoid, EVENTS),
        lambda r, z: of_events(r.logit(), z.logit()).mean(),
    ),
    "two classes": (
        *(NeuralNetBinaryClassifier, nn.BCEWithLogitsLoss, {}),
        *(one_number, (LABELS > 0).astype(int)),
        lambda r, z: of_events(r, z).mean(),
    ),
    "numbers": (
        *(NeuralNetRegressor, nn.MSELoss, {}, None, NUMBERS),
        lambda r, z: (r - z).square().mean(),
    ),
    "numbers, robustly": (
        *(NeuralNetRegressor, nn.HuberLoss, {"delta": 0.1}, None, NUMBERS),
        lambda r, z: (r - z).square().mean(),
    ),
}


def net_of(name, **more):
    kind, criterion, options, end, *_ = CASES[name]
    net = module() if end is None else nn.Sequential(module(), end())
    options = {f"criterion__{key}": value for key, value in options.items()}
    return classifier(kind, module=net, criterion=criterion, **options, **more)


def trained(name, **more):
    return FrozenEstimator(net_of(name, **more).initialize())


def moved(learner):
    """Move the weights of a learner away from its reference; return its outputs."""
    learner.begin()
    net = learner.estimator
    samples = torch.as_tensor(X)
    with torch.no_grad():
        before = net.infer(samples)
        torch.manual_seed(5)
        for parameter in net.module_.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        return before, net.infer(samples)


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_a_mean_of_both(name):
    *_, y, formula = CASES[name]
    losses = []
    for share in 0.0, SHARE, 1.0:
        step = NetLStep(distill=share, temperature=T)
        learner = step.start(trained(name), X, y, n_steps=1)
        reference, output = moved(learner)
        losses.append(learner.loss())
    expected = float(formula(reference.double(), output.double()))
    assert expected > 1e-3
    assert losses[2] == pytest.approx(expected, rel=1e-4)
    assert losses[1] == pytest.approx(
        (1 - SHARE) * losses[0] + SHARE * expected, rel=1e-5
    )


@pytest.mark.parametrize("name", ["weights of classes", "several labels", "numbers"])
def test_training_is_that_of_a_loop_by_hand(name):
    _, criterion, options, _, y, _ = CASES[name]
    net = net_of(name).initialize()
    settings = {"lr_decay": 1.0, "max_update": None}
    step = NetLStep(epochs=2, distill=SHARE, temperature=T, **settings)
    learner = step.start(FrozenEstimator(net), X, y, n_steps=1)
    learner.learn({}, 1.0, 1)

    module, loss_of = net.module_, criterion(**options)
    samples, targets = torch.as_tensor(X), torch.as_tensor(y)
    with torch.no_grad():
        reference = module(samples)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for part in [slice(i, i + 10) for i in range(0, 40, 10)] * 2:
        r, z = reference[part], module(samples[part])
        if name == "weights of classes":
            found = weighted(of_classes(r, z), WEIGHT[targets[part]])
        elif name == "several labels":
            found = of_events(r, z).mean()
        else:
            found = (r - z).square().mean()
        optimizer.zero_grad()
        ((1 - SHARE) * loss_of(z, targets[part]) + SHARE * found).backward()
        optimizer.step()
    expected = torch.cat([p.detach().flatten() for p in module.parameters()])
    torch.testing.assert_close(flat(learner), expected, rtol=1e-4, atol=1e-5)


def test_the_reference_has_the_least_divergence():
    learner = NetLStep(distill=1.0).start(trained("classes"), X, LABELS, n_steps=1)
    assert abs(learner.loss()) < 1e-6


@pytest.mark.parametrize("name", ["classes", "weights of classes", "ignored labels"])
def test_places_have_classes_of_their_own(name):
    """Classes are the dimension 1, as torch's criteria have them."""
    _, criterion, options, *_ = CASES[name]
    rng = np.random.default_rng(0)
    images = rng.standard_normal((20, 2, 4, 5)).astype("float32")
    labels = rng.integers(3, size=(20, 4, 5))
    if name == "ignored labels":
        labels[:, :2] = -100
    torch.manual_seed(0)
    net = classifier(
        NeuralNet,
        module=nn.Conv2d(2, 3, 3, padding=1),
        criterion=criterion,
        **{f"criterion__{key}": value for key, value in options.items()},
    ).initialize()
    step = NetLStep(distill=1.0, temperature=T)
    learner = step.start(FrozenEstimator(net), images, labels, n_steps=1)
    learner.begin()
    with torch.no_grad():
        r = net.module_(torch.as_tensor(images)).double()
        learner.estimator.module_.weight.mul_(-1.0)
        z = learner.estimator.module_(torch.as_tensor(images)).double()
    each = of_classes(r.movedim(1, -1), z.movedim(1, -1))
    y = torch.as_tensor(labels)
    weights = WEIGHT[y.clamp(min=0)] if name == "weights of classes" else (y >= 0)
    assert learner.loss() == pytest.approx(float(weighted(each, weights)), rel=1e-4)


@pytest.mark.parametrize(
    "name",
    ["classes", "weights of classes", "several labels", "two classes", "numbers"],
)
def test_no_constant_is_better_than_the_constant_loss(name):
    *_, y, formula = CASES[name]
    step = NetLStep(distill=1.0, temperature=T)
    learner = step.start(trained(name), X, y, n_steps=1)
    learner.begin()
    with torch.no_grad():
        reference = learner.estimator.infer(torch.as_tensor(X)).double()

    def loss(constant):
        return float(formula(reference, torch.as_tensor(constant).expand_as(reference)))

    least = minimize(loss, np.zeros(reference[0].numel())).fun
    assert learner.constant_loss() == pytest.approx(least, rel=1e-5)


def test_of_both_losses_no_constant_is_better_than_the_sum():
    losses = []
    for share in 0.0, SHARE, 1.0:
        step = NetLStep(distill=share)
        learner = step.start(trained("classes"), X, LABELS, n_steps=1)
        learner.begin()
        losses.append(learner.constant_loss())
    assert losses[1] == pytest.approx((1 - SHARE) * losses[0] + SHARE * losses[2])


# ---- what outputs mean ----


class Focal(nn.Module):
    """A criterion that nobody knows."""

    def forward(self, output, y):
        p = output.softmax(1).gather(1, y[:, None])
        return -((1 - p) ** 2 * p.log()).mean()


class Penalized(NeuralNetClassifier):
    """A loss of one's own."""

    def get_loss(self, *args, **kwargs):
        loss = super().get_loss(*args, **kwargs)
        return loss + 0.01 * sum(p.square().sum() for p in self.module_.parameters())


UNKNOWN = [
    ({"criterion": Focal}, "Focal"),
    ({"kind": Penalized}, "Penalized.get_loss"),
    ({"criterion": nn.MultiMarginLoss}, "MultiMarginLoss"),
]


@pytest.mark.parametrize(("options", "told"), UNKNOWN)
def test_outputs_of_a_loss_that_is_not_known_are_not_distilled(options, told):
    net = FrozenEstimator(classifier(**options).initialize())
    with pytest.raises(ValueError, match=rf"distill=0\.5, but what .*{told}"):
        NetLStep(distill=0.5).start(net, X, LABELS, n_steps=1)
    with pytest.raises(ValueError, match="got no targets, but what the outputs"):
        NetLStep().start(net, X, None, n_steps=1)
    learner = NetLStep().start(net, X, LABELS, n_steps=1)
    learner.begin()
    assert learner.trained_on == "targets"


@pytest.mark.parametrize("options", [UNKNOWN[0][0], UNKNOWN[1][0]])
def test_a_function_to_probabilities_says_what_outputs_mean(options):
    net = classifier(**options, predict_nonlinearity=nn.Softmax(-1)).initialize()
    step = NetLStep(distill=1.0, temperature=T)
    learner = step.start(FrozenEstimator(net), X, LABELS, n_steps=1)
    reference, output = moved(learner)
    expected = float(of_classes(reference.double(), output.double()).mean())
    assert learner.loss() == pytest.approx(expected, rel=1e-4)
