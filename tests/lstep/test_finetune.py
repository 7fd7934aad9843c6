"""Fine-tuning trains the degrees of freedom of Θ, and nothing else of it."""

import copy
import math

import numpy as np
import pytest
import torch
from cases import COMPOSITIONS, SETTINGS, SMALL, draw, name_of, uses
from nets import (
    CLASSICAL,
    Accumulating,
    Deaf,
    Scaling,
    classifier,
    compressor,
    data,
    started,
    targets,
)
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from sklc.codes import Factored, Sparse, Sum, decompress, degrees_of_freedom
from sklc.codes.theta import multiplicities
from sklc.lstep import Learner, NetLStep
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    BinaryQuantization,
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    LowRank,
    Mixed,
    ScaledTernaryQuantization,
)


class Net(nn.Module):
    """A convolution and a matrix, as the test cases of schemes have them."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 2, 2), nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(torch.tanh(self.conv(x)).flatten(1))


def images(n=40):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 3, 3, 3)).astype("float32")
    return X, (X[:, 0, 0, 0] > 0) + (X[:, 1, 1, 1] > 0).astype(int)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    net = classifier(module=Net, max_epochs=20, optimizer__momentum=0.9)
    return net.fit(*images())


def learner_of(estimator, **options):
    return NetLStep(**options).start(estimator, *images(), n_steps=1)


SCHEMES = [*SETTINGS, *COMPOSITIONS, BinaryQuantization()]


def structure(code):
    """Return all of a code but its degrees of freedom."""
    fixed = [tensor for tensor in code.tensors() if not tensor.is_floating_point()]
    shapes = [tensor.shape for tensor in code.tensors()]
    return [type(code), code.shape, shapes], fixed


def shared(theta):
    """Return which degrees of freedom are one tensor."""
    tensors = [
        tensor
        for code in theta.values()
        for tensor in code.tensors()
        if tensor.is_floating_point()
    ]
    return [[one is other for one in tensors] for other in tensors]


@pytest.mark.parametrize("scheme", SCHEMES, ids=name_of)
def test_the_structure_is_kept_and_the_result_feasible(scheme, trained):
    learner = learner_of(FrozenEstimator(trained))
    weights = learner.weights()
    own = {n: weights[n].clone() for n in scheme.covers(weights)}
    theta = scheme.compress(own, 1.0, layers=learner.layers())
    before = copy.deepcopy(decompress(theta))
    free = {n: w.clone() for n, w in weights.items() if n not in theta}
    found = learner.finetune(
        theta, 2, None if scheme.keeps_feasible else scheme.project
    )
    assert list(found) == list(theta)
    for name, code in found.items():
        kinds, fixed = structure(code)
        expected, as_before = structure(theta[name])
        assert kinds == expected
        assert all(torch.equal(*pair) for pair in zip(fixed, as_before, strict=True))
        assert torch.equal(theta[name].dense(), before[name])  # untouched
        assert torch.equal(learner.weights()[name], code.dense())
        assert not any(tensor.requires_grad for tensor in code.tensors())
    assert shared(found) == shared(theta)
    assert math.isfinite(scheme.cost(found, own, learner.layers()))
    assert not torch.equal(learner.weights()["fc.bias"], free["fc.bias"])
    if sum(tensor.numel() for tensor in degrees_of_freedom(theta)):
        after = decompress(found)
        assert not all(torch.equal(after[name], before[name]) for name in found)


def derivative(theta, tensor):
    """Return the sum of the squared derivatives of all weights, by autograd."""
    total = torch.zeros_like(tensor)
    for code in decompress(theta).values():
        for value in code.flatten():
            (gradient,) = torch.autograd.grad(
                value, tensor, retain_graph=True, allow_unused=True
            )
            total += 0.0 if gradient is None else gradient.square()
    return total


@pytest.mark.parametrize("scheme", SCHEMES, ids=name_of)
def test_multiplicities_are_squared_derivatives(scheme):
    weights = draw(SMALL)
    own = {n: weights[n] for n in scheme.covers(weights)}
    theta = scheme.compress(own, 1.0, layers=uses(own))
    for tensor in degrees_of_freedom(theta):
        tensor.requires_grad_()
    numbers = {id(tensor): number for tensor, number in multiplicities(theta)}
    assert len(numbers) == len(multiplicities(theta))
    for tensor in degrees_of_freedom(theta):
        if id(tensor) in numbers:
            number = numbers[id(tensor)]
            assert number.shape == tensor.shape
            torch.testing.assert_close(number, derivative(theta, tensor).detach())


def shares(theta):
    return {id(tensor) for tensor, _ in multiplicities(theta)}


@pytest.mark.parametrize("granularity", ["joint", "layer", "channel"])
def test_codebooks_and_scales_have_multiplicities_and_no_others(granularity):
    weights = draw(SMALL)
    for kind in AdaptiveQuantization, ScaledTernaryQuantization:
        theta = kind(granularity=granularity).compress(weights, 1.0)
        assert shares(theta) == {id(t) for t in degrees_of_freedom(theta)}
    for scheme in LowRank(1), ConstraintL0Pruning(4), BinaryQuantization():
        assert multiplicities(scheme.compress(weights, 1.0)) == []


def test_a_step_moves_weights_as_far_as_their_own_would_projected():
    """A codebook moves by the mean gradient of the weights that share it."""
    learner = started(classifier(batch_size=40, lr=0.1))
    theta = AdaptiveQuantization(k=2).compress(
        {n: w for n, w in learner.weights().items() if w.ndim > 1}, 1.0
    )
    learner.substitute(decompress(theta))
    X, y = map(torch.as_tensor, data())
    module = copy.deepcopy(learner.estimator.module_)
    nn.functional.cross_entropy(module(X), y).backward()
    found = learner.finetune(theta, 1)
    for name, code in found.items():
        gradient = module.get_parameter(name).grad
        for number, value in enumerate(theta[name].codebook[0]):
            mean = gradient[theta[name].index == number].mean()
            torch.testing.assert_close(
                code.codebook[0, number], value - 0.1 * mean, rtol=1e-5, atol=1e-7
            )


def test_no_gradient_of_the_last_step_is_left():
    """What the pull added to the gradients must not move Θ."""
    results = []
    for mu in (1e-6, 1e6):
        learner = started(lr=0.1)
        theta = ConstraintL0Pruning(0.5).compress(
            {n: w for n, w in learner.weights().items() if w.ndim > 1}, 1.0
        )
        start = learner.state_dict()
        learner.learn(targets(learner), mu, 1)
        learner.load_state_dict(start)
        results.append(decompress(learner.finetune(theta, 1)))
    for name, weight in results[0].items():
        assert torch.equal(weight, results[1][name])


OPTIMIZERS = {
    "nesterov": {"optimizer__momentum": 0.9, "optimizer__nesterov": True},
    "adam": {"optimizer": torch.optim.Adam, "lr": 0.01},
    "adam, fused": {
        "optimizer": torch.optim.Adam,
        "optimizer__fused": True,
        "lr": 0.01,
    },
    "lbfgs": {
        "optimizer": torch.optim.LBFGS,
        "optimizer__line_search_fn": "strong_wolfe",
        "lr": 1.0,
        "batch_size": -1,
    },
    "groups": {"optimizer__param_groups": [("*bias", {"lr": 0.01})]},
}
STEPS = {"accumulating": Accumulating, "scaling": Scaling}


def finetuned(net, scheme, epochs=10, **options):
    lc = compressor(net, scheme, max_iter=0, finetune=epochs, keep="last", **options)
    return lc.fit(*images())


@pytest.mark.filterwarnings("ignore:The result may be of little use")
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    "scheme", [AdaptiveQuantization(k=2), LowRank(rank=1)], ids=name_of
)
def test_any_optimizer_lowers_the_loss(name, scheme):
    options = {"max_epochs": 5, "module": Net, **OPTIMIZERS[name]}
    direct, tuned = finetuned(classifier(**options), scheme, epochs=4).history_
    assert tuned["loss"] < direct["loss"]


@pytest.mark.parametrize("name", STEPS)
def test_training_steps_of_the_user_fine_tune_too(name):
    """Whatever they do between the gradients and the step of the optimizer."""
    nets = [
        classifier(kind, module=Net, max_epochs=3, batch_size=size, lr=lr)
        for kind, size, lr in {
            "accumulating": [(Accumulating, 10, 0.1), (NeuralNetClassifier, 20, 0.1)],
            "scaling": [(Scaling, 10, 0.1), (NeuralNetClassifier, 10, 0.1)],
        }[name]
    ]
    scheme = AdaptiveQuantization(k=2)
    found = []
    for net in nets:
        torch.manual_seed(0)
        learner = learner_of(net, **CLASSICAL)
        own = {n: w for n, w in learner.weights().items() if w.ndim > 1}
        theta = scheme.compress(own, 1.0)
        found.append(learner.finetune(theta, 2))
    for name, code in found[0].items():
        torch.testing.assert_close(
            code.codebook, found[1][name].codebook, rtol=1e-4, atol=1e-6
        )


class Elsewhere(NeuralNetClassifier):
    """A training step that takes its gradients elsewhere."""

    def train_step(self, batch, **fit_params):
        self._set_training(True)
        X, y = batch
        output = self.infer(X)
        loss = self.criterion_(output, y)
        torch.autograd.grad(loss, list(self.module_.parameters()))
        return {"loss": loss, "y_pred": output}


def test_a_training_step_without_gradients_cannot_fine_tune():
    net = classifier(Elsewhere, module=Net)
    with pytest.raises(RuntimeError, match="no gradients reached the compressed wei"):
        finetuned(net, AdaptiveQuantization(k=2))


def test_a_simple_training_step_can_fine_tune():
    lc = finetuned(classifier(Deaf, module=Net), AdaptiveQuantization(k=2))
    assert lc.history_[1]["loss"] < lc.history_[0]["loss"]


class Twice(NeuralNetClassifier):
    """A forward pass that uses the module twice."""

    def infer(self, x, **fit_params):
        return super().infer(x, **fit_params) + super().infer(-x, **fit_params)


def test_a_module_may_be_used_twice_before_its_gradients():
    lc = finetuned(classifier(Twice, module=Net), LowRank(rank=1))
    assert lc.history_[1]["loss"] < lc.history_[0]["loss"]


def test_the_l1_ball_is_kept_at_every_batch():
    norms = []

    class Spy(Callback):
        def on_batch_begin(self, net, **kwargs):
            weights = [net.module_.conv.weight, net.module_.fc.weight]
            norms.append(sum(float(w.detach().abs().sum()) for w in weights))

    kappa = 3.0
    net = classifier(module=Net, callbacks=[Spy()])
    lc = finetuned(net, ConstraintL1Pruning(kappa=kappa), epochs=5)
    assert lc.scheme.cost(lc.theta_) == 0.0
    # the module holds Θ of one batch before: projected
    assert max(norms[-15:]) <= kappa * (1 + 1e-6)
    assert lc.history_[1]["loss"] < lc.history_[0]["loss"]


def test_a_constraint_within_others_is_kept():
    scheme = Mixed(
        [
            ("ball", ConstraintL1Pruning(kappa=0.5), "conv"),
            (
                "sum",
                Additive(
                    [
                        ("ball", ConstraintL1Pruning(kappa=0.7)),
                        ("low", LowRank(rank=1)),
                    ]
                ),
                "fc",
            ),
        ]
    )
    lc = finetuned(classifier(module=Net), scheme)
    assert lc.scheme.cost(lc.theta_) == 0.0
    conv, fc = lc.theta_["conv.weight"], lc.theta_["fc.weight"]
    assert isinstance(conv, Sparse)
    assert isinstance(fc, Sum)
    assert conv.values.abs().sum() <= 0.5 * (1 + 1e-6)
    assert fc.terms["ball"].values.abs().sum() <= 0.7 * (1 + 1e-6)
    assert isinstance(fc.terms["low"], Factored)


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
@pytest.mark.parametrize("lr", [0.1, 300.0])
@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_better_one_is_kept(lr, keep):
    lc = compressor(
        classifier(module=Net),
        l_step=NetLStep(epochs=1, lr=lr, max_update=None),
        mu_init=10.0,
        keep=keep,
        finetune=3,
    ).fit(*images())
    *steps, tuned = lc.history_
    assert [entry["step"] for entry in lc.history_] == list(range(5))
    assert (tuned["step"], tuned["mu"], tuned["gap"]) == (4, math.inf, 0.0)
    assert lc.n_iter_ == 3
    before = steps[-1] if keep == "last" else min(steps, key=lambda e: e["loss"])
    better = tuned["loss"] < before["loss"]
    assert better == (lr < 1)
    assert lc.best_step_ == (4 if better else before["step"])
    with torch.no_grad():
        output = lc.estimator_.module_(torch.as_tensor(images()[0]))
    loss = nn.functional.cross_entropy(output, torch.as_tensor(images()[1])).item()
    assert loss == pytest.approx(min(tuned["loss"], before["loss"]), rel=1e-5)
    for name, dense in decompress(lc.theta_).items():
        assert torch.equal(lc.estimator_.module_.get_parameter(name), dense)


def test_fine_tuning_begins_at_the_iterate_that_is_kept():
    class Spy(Callback):
        def on_train_begin(self, net, **kwargs):
            begins.append(net.module_.fc.bias.detach().clone())

    begins = []
    net = classifier(module=Net, callbacks=[Spy()])
    options = {"mu_init": 10.0, "l_step": NetLStep(epochs=1)}
    kept = compressor(net, **options).fit(*images())
    compressor(net, finetune=1, **options).fit(*images())
    assert torch.equal(begins[-1], kept.estimator_.module_.fc.bias)


def test_the_rate_falls_to_zero_along_half_a_cosine():
    rates = []

    class Spy(Callback):
        def on_epoch_begin(self, net, **kwargs):
            rates.append(net.optimizer_.param_groups[0]["lr"])

    learner = started(classifier(callbacks=[Spy()]), lr=0.8)
    learner.finetune({}, 4)
    expected = [0.4 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    assert rates == pytest.approx(expected)


def test_frozen_parameters_stay():
    net = classifier(module=Net())
    net.module.conv.requires_grad_(False)
    before = copy.deepcopy(net.module.conv.state_dict())
    lc = finetuned(net, Mixed([("fc", AdaptiveQuantization(k=2), "fc")]))
    for name, value in lc.estimator_.module_.conv.state_dict().items():
        assert torch.equal(value, before[name])
    assert lc.history_[1]["loss"] < lc.history_[0]["loss"]


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_left_as_it_was(fails, trained):
    class Fails(Callback):
        def on_epoch_end(self, net, **kwargs):
            if fails:
                raise KeyError

    net = classifier(module=Net, callbacks=[("fails", Fails())])
    learner = learner_of(net)
    own = {n: w for n, w in learner.weights().items() if w.ndim > 1}
    theta = AdaptiveQuantization(k=2).compress(own, 1.0)
    before = dict(vars(learner.estimator))
    if fails:
        with pytest.raises(KeyError):
            learner.finetune(theta, 1)
    else:
        learner.finetune(theta, 1)
    after = vars(learner.estimator)
    assert after.keys() == before.keys()
    assert after["callbacks_"] == before["callbacks_"]
    module = learner.estimator.module_
    assert module is before["module_"]
    assert not module._forward_pre_hooks
    for parameter in module.parameters():
        assert not parameter._post_accumulate_grad_hooks
    groups = learner.estimator.optimizer_.param_groups
    assert [id(p) for group in groups for p in group["params"]] == [
        id(p) for p in module.parameters()
    ]


@pytest.mark.parametrize("epochs", [-1, 2.5, "all", None])
def test_an_invalid_number_of_epochs_is_refused(epochs):
    with pytest.raises(ValueError, match="finetune must be an int of at least 0"):
        compressor(finetune=epochs).fit(*data())


def test_a_learner_need_not_fine_tune():
    class Mine(Learner):
        train_reference = weights = learn = loss = substitute = None
        state_dict = load_state_dict = None

    with pytest.raises(
        NotImplementedError, match="Mine cannot fine-tune: leave finetune at 0"
    ):
        Mine().finetune({}, 1)
