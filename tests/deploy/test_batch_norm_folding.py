"""Batch normalisation goes into the layers before it, where that changes nothing."""

import copy
from contextlib import nullcontext

import pytest
import torch
from deployed import assert_equal, fitted
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sklc.deploy import to_module
from sklc.schemes import AdaptiveQuantization, ConstraintL0Pruning, LowRank, Mixed

ZERO = AdaptiveQuantization(k=3, zero=True, kappa=0.1, granularity="joint")
SCHEMES = {
    "levels": ZERO,
    "sparse": ConstraintL0Pruning(kappa=0.2),
    "rank": LowRank(rank=1),
    "rank 2": LowRank(rank=2, conv_scheme="scheme_2"),
}


def sequence():
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=2, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 8, 3, stride=2, groups=2),
        nn.SyncBatchNorm(8),
        nn.Flatten(),
        nn.Linear(8 * 9 * 9, 10),
        nn.BatchNorm1d(10, affine=False),
        nn.Tanh(),
        nn.Linear(10, 3, bias=False),
        nn.BatchNorm1d(3),
    )


class Branching(nn.Module):
    """What torch.fx cannot trace, around what it can."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.ReLU())
        self.conv, self.norm = nn.Conv2d(5, 5, 3), nn.BatchNorm2d(5)

    def forward(self, x):
        x = self.body(x)
        if x.sum() < 1e9:
            x = self.norm(self.conv(x))
        return x


class Residual(nn.Module):
    """A layer whose output others take, and one after an activation."""

    def __init__(self):
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.c2, self.b2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.b3 = nn.BatchNorm2d(4)

    def forward(self, x, mask=None):
        if mask is not None:
            return self.b1(self.c1(x))
        y = self.c1(x)
        y = self.b1(y) + y
        return self.b3(torch.relu(self.b2(self.c2(y))))


class Twice(nn.Module):
    """A layer that is used twice, and a weight that is read."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.read, self.after = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.norm(self.conv(self.conv(x)))
        return self.after(self.read(x)) + self.read.weight.sum()


class Elements(nn.Module):
    """Channels that are not the outputs of the layer before."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(6, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.linear(x[:, :, 0]))


class Tied(nn.Sequential):
    """Two layers of one weight."""

    def __init__(self):
        convs = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(2)]
        convs[1].weight = convs[0].weight
        norms = nn.BatchNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False)
        super().__init__(convs[0], norms[0], convs[1], norms[1])


NETS = {
    "sequence": (sequence, []),
    "branching": (Branching, ["norm"]),
    "residual": (Residual, ["b1", "b3"]),
    "twice": (Twice, ["norm", "after"]),
    "elements": (Elements, ["norm"]),
    "tied": (Tied, ["1", "3"]),
}


def draw():
    return torch.randn(5, 4, 6, 6, dtype=torch.float64)


def trained(net, x):
    """Return a net whose normalisations have something to say."""
    net(x)
    for layer in net.modules():
        if isinstance(layer, _BatchNorm):
            for parameter in layer.parameters():
                nn.init.normal_(parameter)
    net(3 * x + 1)
    return net


def left_in(module):
    return [name for name, m in module.named_modules() if isinstance(m, _BatchNorm)]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", NETS)
def test_outputs_stay_and_what_stays_is_said(name, scheme):
    make, left = NETS[name]
    x = draw()
    model = fitted(trained(make().double(), x), x, SCHEMES[scheme])
    said = (
        pytest.warns(UserWarning, match=f"normalisation stays in {', '.join(left)}:")
        if left
        else nullcontext()
    )
    for materialize in (False, True):
        with said:
            module = to_module(model, materialize=materialize, fold_batch_norm=True)
        assert left_in(module) == left
        assert_equal(module, model.model, x, rtol=1e-9, atol=1e-10)
        assert_equal(copy.deepcopy(module), model.model, x, rtol=1e-9, atol=1e-10)


def test_codes_stay_as_they_are():
    x = draw()
    model = fitted(trained(sequence().double(), x), x, ZERO)
    plain = to_module(model).state_dict()
    folded = to_module(model, fold_batch_norm=True).state_dict()
    for name, tensor in plain.items():
        if "weight_" in name:
            assert torch.equal(folded[name], tensor)
    assert folded["0.weight_scale"].numel() == 6
    assert not any("running" in name for name in folded)


@pytest.mark.parametrize("name", ["0.bias", "1.weight"])
def test_what_is_compressed_is_not_folded_away(name):
    x = draw()
    net = nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)).double()
    scheme = Mixed([("all", AdaptiveQuantization(k=2), name)])
    model = fitted(trained(net, x), x, scheme)
    assert set(model.theta) == {name}
    with pytest.warns(UserWarning, match="normalisation stays in 1:"):
        module = to_module(model, fold_batch_norm=True)
    assert left_in(module) == ["1"]
    assert_equal(module, model.model, x, rtol=1e-10, atol=1e-12)
