"""How far a batch may move a net, and how fast and where its L steps go untold."""

import math

import pytest
import torch
from nets import Accumulating, classifier, compressor, data, flat, module, started
from nets import targets as some_targets
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from torch import nn

from sklc.codes import decompress
from sklc.lstep import NetLStep
from sklc.schemes import AdaptiveQuantization, BinaryQuantization, LowRank, Mixed

MOMENTUM = {"optimizer__momentum": 0.9}


def norm_of_matrices(learner):
    weights = [w.flatten() for w in learner.weights().values() if w.ndim > 1]
    return torch.cat(weights).norm().item()


def moved(learner):
    """Return how an L step moves a net that nothing pulls."""
    before = flat(learner).clone()
    learner.learn({}, 1e-9, 1)
    return flat(learner) - before


# ---- the longest step ----


@pytest.mark.parametrize("most", [0.5, 0.05, 1e-3])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_long_step_is_as_long_as_allowed(most, momentum):
    """By plain SGD, with all that it will have moved once momentum has died away."""
    net = classifier(lr=1e4, batch_size=-1, optimizer__momentum=momentum)
    learner = started(net, epochs=1, max_update=most)
    allowed = most * norm_of_matrices(learner)
    way = moved(learner).norm().item() / (1 - momentum)
    assert way == pytest.approx(allowed, rel=1e-4)


def test_a_shortened_step_keeps_its_direction():
    options = {"lr": 1e4, "batch_size": -1}
    ways = [
        moved(started(classifier(**options), epochs=1, max_update=most)).double()
        for most in (0.05, None)
    ]
    cosine = nn.functional.cosine_similarity(*ways, dim=0)
    assert cosine.item() == pytest.approx(1.0, abs=1e-6)
    assert ways[1].norm() > 100 * ways[0].norm()


@pytest.mark.parametrize("options", [{}, MOMENTUM], ids=str)
def test_shorter_steps_are_left_alone(options):
    free, limited = (
        started(classifier(lr=1e-3, **options), max_update=most)
        for most in (None, 0.05)
    )
    assert torch.equal(moved(free), moved(limited))


def test_no_batch_moves_the_net_further_whatever_was_before():
    net = classifier(lr=1e4, optimizer__momentum=0.9)  # four batches
    learner = started(net, epochs=1, max_update=0.05)
    allowed = 0.05 * norm_of_matrices(learner)
    assert moved(learner).norm() <= 4 * allowed


def test_the_pull_is_not_shortened():
    """Gradients of the loss are; that of the pull has a limit of its own, 1/mu."""
    options = {"batch_size": -1, "lr": 0.5}
    learner = started(classifier(**options), epochs=1, max_update=1e-9)
    target = some_targets(learner)
    before = {name: w.clone() for name, w in learner.weights().items()}
    learner.learn(target, 1.0, 1)
    for name, value in target.items():
        half = (before[name] + value) / 2
        torch.testing.assert_close(learner.weights()[name], half)


def test_weights_that_are_all_zero_may_go_anywhere():
    net = module()
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    learner = started(classifier(module=net), max_update=0.05)
    learner._trained = True
    assert learner.weights()["2.bias"].abs().max() == 0
    assert moved(learner).norm() > 1e-3


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.RMSprop])
def test_other_optimizers_have_no_limit(optimizer):
    free, limited = (
        started(classifier(optimizer=optimizer, lr=0.5), max_update=most)
        for most in (None, 1e-9)
    )
    assert torch.equal(moved(free), moved(limited))


def test_fine_tuning_is_limited_too():
    learner = started(
        classifier(lr=1e4, batch_size=-1), max_update=0.05, start_at="compressed"
    )
    theta = AdaptiveQuantization(k=2).compress(
        {n: w for n, w in learner.weights().items() if w.ndim > 1}, 1.0
    )
    learner.substitute(decompress(theta))
    allowed = 0.05 * norm_of_matrices(learner)

    def free(theta):
        """Return the numbers in training: values of codebooks, and biases."""
        rest = [w.flatten() for w in learner.weights().values() if w.ndim == 1]
        return torch.cat([*(code.codebook[0] for code in theta.values()), *rest])

    before = free(theta)
    way = (free(learner.finetune(theta, 1)) - before).norm().item()
    assert way == pytest.approx(allowed, rel=1e-4)


# ---- the learning rate, if nobody says it ----


@pytest.mark.parametrize(
    ("options", "kind", "net_options", "expected"),
    [
        ({}, NeuralNetClassifier, {}, 0.2),
        ({}, NeuralNetClassifier, MOMENTUM, 0.2),
        ({}, NeuralNetClassifier, {"optimizer": torch.optim.Adam}, 0.1),
        ({}, Accumulating, {}, 0.1),  # a training step that no limit reaches
        ({"pull": "loss"}, NeuralNetClassifier, {}, 0.1),  # nor this one
        ({"pull": "decoupled"}, NeuralNetClassifier, {}, 0.2),
        ({"max_update": None}, NeuralNetClassifier, {}, 0.1),
        ({"start_at": "weights"}, NeuralNetClassifier, {}, 0.1),
        ({"lr": None}, NeuralNetClassifier, {}, 0.1),
        ({"lr": 0.03}, NeuralNetClassifier, {}, 0.03),
    ],
)
def test_the_automatic_rate_is_twice_that_of_sgd_where_steps_are_limited(
    options, kind, net_options, expected
):
    net = classifier(kind, **net_options)
    step = NetLStep(epochs=1, **options)
    learner = step.start(net, *data(), n_steps=1)
    learner.learn(some_targets(learner), 1e-6, 1)
    (group,) = learner.estimator.optimizer_.param_groups
    assert group["lr"] == pytest.approx(expected)


# ---- a pull apart from the optimizer ----


@pytest.mark.parametrize(
    "optimizer", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad]
)
def test_a_decoupled_pull_follows_every_step_of_the_optimizer(optimizer):
    mu, lr = 20.0, 0.01
    learner = started(classifier(optimizer=optimizer, lr=lr), epochs=1)
    target = some_targets(learner)
    weights = {name: w.clone() for name, w in learner.weights().items()}
    learner.learn(target, mu, 1)

    parameters = {name: nn.Parameter(w) for name, w in weights.items()}
    step = optimizer(parameters.values(), lr=lr)
    net = module()
    X, y = map(torch.as_tensor, data())
    for x, t in zip(X.split(10), y.split(10), strict=True):
        step.zero_grad()
        output = torch.func.functional_call(net, parameters, (x,))
        nn.functional.cross_entropy(output, t).backward()
        step.step()
        for name, value in target.items():
            parameter = parameters[name].data
            parameter += (1 - math.exp(-mu * lr)) * (value - parameter)
    for name, weight in learner.weights().items():
        torch.testing.assert_close(weight, parameters[name].data, rtol=1e-4, atol=1e-6)


def test_a_decoupled_pull_goes_no_further_than_the_target():
    net = classifier(optimizer=torch.optim.Adam, lr=0.1)
    learner = started(net, epochs=1)
    target = some_targets(learner)
    learner.learn(target, 1e9, 1)
    for name, value in target.items():
        torch.testing.assert_close(learner.weights()[name], value)


# ---- how long fine-tuning lasts, if nobody says it ----


def theta_of(learner, scheme):
    weights = learner.weights()
    own = {name: weights[name] for name in scheme.covers(weights)}
    return scheme.compress(own, 1.0)


@pytest.mark.parametrize(("n_steps", "epochs"), [(3, 2), (4, 3), (1, 1), (0, 0)])
def test_fine_tuning_lasts_a_third_of_what_was_trained(n_steps, epochs):
    learner = started(epochs=2, start_at="compressed", n_steps=5)
    theta = theta_of(learner, LowRank(1))
    assert learner.epochs_to_finetune(theta, n_steps) == epochs


def test_classical_l_steps_are_not_fine_tuned_unless_somebody_says_so():
    learner = started(epochs=2, n_steps=5)
    assert learner.epochs_to_finetune(theta_of(learner, LowRank(1)), 3) == 0


def test_nothing_is_fine_tuned_where_nothing_is_free():
    net = module()
    for parameter in net.parameters():
        parameter.requires_grad_(parameter.ndim > 1)
    learner = started(classifier(module=net), start_at="compressed")
    assert learner.epochs_to_finetune(theta_of(learner, BinaryQuantization()), 3) == 0
    assert learner.epochs_to_finetune(theta_of(learner, LowRank(1)), 3) > 0


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_a_fit_trains_theta_for_a_third_of_the_epochs():
    net = classifier().fit(*data())
    scheme = Mixed([("low", LowRank(1), "0")])
    options = {"finetune": "auto", "l_step": NetLStep(epochs=3)}
    lc = compressor(FrozenEstimator(net), scheme, keep="last", **options)
    lc.fit(*data())
    last = lc.history_[-1]
    assert [entry["step"] for entry in lc.history_] == [0, 1, 2, 3, 4]
    assert (last["mu"], last["gap"]) == (math.inf, 0.0)
    n_epochs = len(net.history) + 3 * 3
    tuned = len(lc.estimator_.history) - n_epochs
    assert tuned == (3 if lc.best_step_ == 4 else 0)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"start_at": "zero"},
            r"NetLStep\(start_at='zero'\): start_at must be one of 'compressed', 'weig",
        ),
        ({"part": 0}, r"NetLStep\(part=0\): part must be 'auto' or an int of at leas"),
        ({"part": 1.5}, "part must be 'auto' or an int of at least 1"),
        ({"part": "all"}, "part must be 'auto' or an int of at least 1"),
        ({"max_update": 0.0}, "max_update must be None or a finite number above 0"),
        ({"max_update": "auto"}, "max_update must be None or a finite number above 0"),
        ({"lr": -1.0}, "lr must be 'auto' or None or a finite number above 0"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        started(**options)
