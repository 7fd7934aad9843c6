"""L steps that begin at the compressed weights, in parts after which Θ follows."""

import copy
import math
from dataclasses import replace
from itertools import count

import pytest
import runs
import torch
from nets import classifier, data, flat, module, started
from runs import contents
from skorch import NeuralNetClassifier
from skorch.dataset import ValidSplit
from torch import nn

from sklc.codes import decompress
from sklc.lc.loop import direct_compression, learning_compression
from sklc.lstep import NetLStep
from sklc.lstep.base import Part
from sklc.schemes import AdaptiveQuantization, ConstraintL0Pruning, LowRank

NEW = {"start_at": "compressed", "lr": 0.1, "max_update": None}
MOMENTUM = {"optimizer__momentum": 0.9, "optimizer__nesterov": True}
ADAM = {"optimizer": torch.optim.Adam}


# ---- how many parts ----


def parts_of(learner, mu=0.3, steps=(1,)):
    """Return the shares of the gap that were closed in the parts of L steps."""
    own = {n: w.clone() for n, w in learner.weights().items()}
    found = []
    for step in steps:
        shares = []

        def follow(share, shares=shares):
            shares.append(share)
            return Part(own, own)

        shares.append(learner.learn_in_parts(Part(own, own), follow, mu, step))
        found.append(shares)
    return found


def share(n_batches, mu, reach):
    return 1 - math.exp(-mu * n_batches * reach)


@pytest.mark.parametrize(
    ("part", "sizes"),
    [
        (1, [1] * 8),
        (3, [3, 3, 2]),
        (4, [4, 4]),  # no part is empty
        (5, [5, 3]),
        (8, [8]),
        ("auto", [8]),  # 16, if there were as many
    ],
)
@pytest.mark.parametrize(
    ("options", "reach"), [({}, 0.1), (MOMENTUM, 1.0), (ADAM, 0.1)], ids=str
)
@pytest.mark.parametrize("split", [None, ValidSplit(5)], ids=["all", "split"])
def test_an_l_step_has_parts_of_so_many_batches(part, sizes, options, reach, split):
    """Each closes the share of the gap that a pull alone would; the rest is no part."""
    n = 40 if split is None else 50
    net = classifier(train_split=split, **options)
    learner = started(net, *data(n), part=part, **NEW)
    for shares in parts_of(learner, 0.3, steps=(1, 2)):
        assert shares == pytest.approx([share(size, 0.3, reach) for size in sizes])


@pytest.mark.parametrize(
    ("n", "batch_size", "part", "n_batches"),
    [
        (40, 10, "auto", 16),
        (400, 1, "auto", 40),  # a tenth of an epoch
        (400, 1, 7, 7),
        (40, -1, 7, 7),
    ],
)
def test_automatic_parts_are_16_batches_or_a_tenth_of_an_epoch(
    n, batch_size, part, n_batches
):
    net = classifier(batch_size=batch_size, **MOMENTUM)
    learner = started(net, *data(n), part=part, **NEW)
    assert learner.reach == pytest.approx(n_batches * 0.1 / (1 - 0.9))


@pytest.mark.parametrize(
    ("part", "expected"), [(4, [0.4, 0.2]), (3, [0.3, 0.2, 0.1]), (8, [0.6])]
)
def test_a_lowered_rate_closes_less_of_the_gap(part, expected):
    """Of the batches that it acts on."""
    learner = started(part=part, lr_schedule="epoch", lr_decay=0.5, **NEW)
    (shares,) = parts_of(learner)
    assert shares == pytest.approx([share(1, 0.3, reach) for reach in expected])


class Constant(nn.Module):
    """A loss that no weight matters for."""

    def forward(self, output, target):
        return 0.0 * output.sum()


@pytest.mark.parametrize("mu", [0.1, 3.0, 1e3])
def test_a_pull_apart_from_the_optimizer_closes_exactly_that_share(mu):
    learner = started(classifier(criterion=Constant, **ADAM), part=3, **NEW)
    start = {name: w.clone() for name, w in learner.weights().items()}
    target = {name: w + 1.0 for name, w in start.items()}
    moved = []

    def follow(share):
        moved.append((flat(learner) - before).tolist())
        assert moved[-1] == pytest.approx([share] * len(before), rel=1e-4)
        return Part(start, target)

    before = flat(learner).clone()
    last = learner.learn_in_parts(Part(start, target), follow, mu, 1)
    assert (flat(learner) - before).tolist() == pytest.approx(
        [last] * len(before), rel=1e-4
    )
    assert len(moved) == 2


class Untold(NeuralNetClassifier):
    """A loop of its own that tells callbacks of no batches."""

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        dataset, _ = self.get_split_datasets(X, y, **fit_params)
        for _ in range(epochs):
            self.notify("on_epoch_begin", dataset_train=dataset, dataset_valid=None)
            for batch in self.get_iterator(dataset, training=True):
                self.train_step(batch, **fit_params)
            self.notify("on_epoch_end", dataset_train=dataset, dataset_valid=None)
        return self


def test_a_loop_that_tells_of_no_batches_is_one_part_and_a_whole_step():
    learner = started(classifier(Untold), part=2, **NEW)
    before = flat(learner).clone()
    assert parts_of(learner) == [[1.0]]
    assert not torch.allclose(flat(learner), before, atol=1e-2)


@pytest.mark.parametrize(
    ("options", "net_options", "expected"),
    [
        ({}, {}, True),
        ({}, ADAM, True),
        ({"start_at": "weights"}, {}, False),
        ({}, {"optimizer": torch.optim.LBFGS}, False),  # its steps are whole problems
    ],
)
def test_who_learns_in_parts(options, net_options, expected):
    learner = started(classifier(**net_options), **{**NEW, **options})
    assert learner.stochastic is expected


# ---- what an LC step does ----


def by_hand(start, scheme, mu, part, optimizer, pull):
    """Take an LC step of one epoch, in plain torch; return w, λ, Θ and biases."""
    X, y = (torch.as_tensor(x) for x in data())
    net = copy.deepcopy(module())
    weights = {n: p for n, p in net.named_parameters() if p.ndim > 1}
    names = list(weights)
    sizes = [w.numel() for w in weights.values()]

    def named(vector):
        pieces = zip(names, vector.split(sizes), strict=True)
        return {n: x.view_as(weights[n]) for n, x in pieces}

    def ended(of):
        return torch.cat([of[n].detach().flatten() for n in names])

    w, lam, theta = start.weights, start.multipliers, start.theta
    step = optimizer(net.parameters())
    (group,) = step.param_groups
    momentum = group.get("momentum", 0.0)
    reach = group["lr"] / (1 - momentum)
    batches = list(zip(X.split(10), y.split(10), strict=True))
    for first in range(0, len(batches), part):
        own = batches[first : first + part]
        delta = ended(decompress(theta))
        target = named(delta + lam / mu + (delta - w))
        with torch.no_grad():
            for name, value in named(delta).items():
                weights[name].copy_(value)
        for x, t in own:
            net.zero_grad()
            nn.functional.cross_entropy(net(x), t).backward()
            for name, weight in weights.items():
                if pull == "gradient":
                    weight.grad += mu * (weight.detach() - target[name])
            step.step()
            for name, weight in weights.items():
                if pull == "decoupled":
                    closer = 1 - math.exp(-mu * group["lr"])
                    weight.data += closer * (target[name] - weight.data)
        w = w + ended(weights) - delta
        theta = scheme.improve(theta, named(w - lam / mu), mu)
        closed = 1 - math.exp(-mu * len(own) * reach)
        lam = lam - closed * mu * (w - ended(decompress(theta)))
    return w, lam, theta, net[0].bias


BY_HAND = {
    "sgd": ({}, lambda p: torch.optim.SGD(p, 0.1), "gradient"),
    "momentum": (
        MOMENTUM,
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
        "gradient",
    ),
    "adam": (ADAM, lambda p: torch.optim.Adam(p, 0.1), "decoupled"),
}


@pytest.mark.parametrize("part", [2, 3])
@pytest.mark.parametrize(
    "scheme", [AdaptiveQuantization(k=2), ConstraintL0Pruning(9), LowRank(2)]
)
@pytest.mark.parametrize("name", BY_HAND)
def test_an_lc_step_is_what_plain_torch_makes_of_it(name, scheme, part):
    """w moves as training moves Δ(Θ); Θ and λ follow after every part."""
    options, optimizer, pull = BY_HAND[name]
    net = classifier(module=module(), **options)
    learner = started(net, epochs=1, part=part, **NEW)
    learner._trained = True  # it begins at what the module was made with
    start = direct_compression(learner, scheme, 0.5)
    start = replace(start, multipliers=0.01 * torch.randn_like(start.weights))
    found = next(learning_compression(learner, scheme, start, lambda _: 0.5))
    w, lam, theta, bias = by_hand(start, scheme, 0.5, part, optimizer, pull)
    near = {"rtol": 1e-4, "atol": 1e-6}
    torch.testing.assert_close(found.weights, w, **near)
    torch.testing.assert_close(found.multipliers, lam, **near)
    for layer, dense in decompress(theta).items():
        torch.testing.assert_close(found.theta[layer].dense(), dense, **near)
    torch.testing.assert_close(learner.weights()["0.bias"], bias.detach(), **near)
    assert not torch.allclose(found.weights, start.weights, atol=1e-2)


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        (1, [1, 2, 3, 4]),  # eight parts in each step
        (2, [2, 4]),
        (4, [4]),
        (8, []),
    ],
)
def test_whole_c_steps_end_lc_steps_of_eight_parts_together(part, whole, monkeypatch):
    learner = started(part=part, **NEW)
    scheme = AdaptiveQuantization(k=2)
    compress, seen = scheme.compress, []
    start = direct_compression(learner, scheme, 0.5)

    def spy(*args):
        seen.append(1)
        return compress(*args)

    monkeypatch.setattr(scheme, "compress", spy)
    steps = learning_compression(learner, scheme, start, lambda _: 0.5)
    counts = [0]
    for _ in range(4):
        next(steps)
        counts.append(len(seen))
    grown = [step for step in range(1, 5) if counts[step] > counts[step - 1]]
    assert grown == whole
    assert len(seen) == len(whole)


def test_without_multipliers_they_stay():
    scheme = AdaptiveQuantization(k=2)
    learner = started(part=2, **NEW)
    start = direct_compression(learner, scheme, 0.5)
    steps = learning_compression(
        learner, scheme, start, lambda _: 0.5, multipliers=False
    )
    assert not next(steps).multipliers.any()


def test_parameters_that_do_not_train_go_to_where_they_are_pulled():
    """In one part or in many: they are compressed, whatever the others do."""
    scheme = AdaptiveQuantization(k=2)
    for part in 2, 8:
        net = classifier(module=module())
        net.module[0].weight.requires_grad_(False)
        learner = started(net, part=part, **NEW)
        start = direct_compression(learner, scheme, 0.5)
        found = next(learning_compression(learner, scheme, start, lambda _: 0.5))
        frozen = start.theta["0.weight"].dense()
        torch.testing.assert_close(found.weights[:20], frozen.flatten())
        torch.testing.assert_close(found.theta["0.weight"].dense(), frozen)


# ---- going on ----


class Breaks(Exception):
    """What ends a run in the middle of an L step."""


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
@pytest.mark.parametrize("kind", ["quick", "thorough"])
@pytest.mark.parametrize("at", [25, 30])
def test_a_run_with_parts_goes_on_bit_for_bit(kind, at, monkeypatch, tmp_path):
    """Momentum or Adam, batch normalisation, dropout and a generator of its own."""

    def fitted(path, at):
        n_batches = count(1)

        def happens(event):
            if next(n_batches) == at:
                raise Breaks

        monkeypatch.setattr(runs, "happens", happens)
        l_step = NetLStep(epochs=2, part=3)
        return runs.compressor(kind, path, l_step=l_step).fit(*data())

    expected = contents(fitted(None, None))
    path = tmp_path / "run.ckpt"
    with pytest.raises(Breaks):
        fitted(path, at)
    assert path.exists()
    torch.manual_seed(99)
    assert contents(fitted(path, None)) == expected
