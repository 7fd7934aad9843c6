"""Costs are what the layers that are built of a code really compute and store."""

import pytest
import torch
from cases import draw
from sklearn.base import clone
from skorch import NeuralNet
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sklc.codes import Dense, Factored, Sparse, Sum, nbits
from sklc.costs import Flops, Storage, as_cost, ranks
from sklc.layers import Grid, LayerInfo
from sklc.lstep.net.uses import layer_infos
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    BinaryQuantization,
    ConstraintL0Pruning,
    LowRank,
    RankSelection,
)

N_SAMPLES = 3


def known(layer, X):
    """Return what a net of one layer tells of its weight."""
    net = NeuralNet(nn.Sequential(layer), criterion=nn.MSELoss).initialize()
    return layer_infos(net, net.module_, (X, X))["0.weight"]


def multiplications(layer, X):
    """Count those of a forward pass, per sample."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(X)
    return counter.get_total_flops() / 2 / len(X)


def only(n_axes, values, axes, default):
    """Return values along some axes, and a default along the others."""
    return [values[a] if a in axes else default for a in range(n_axes)]


def in_two(layer, code):
    """Build the two layers that compute what `layer` does with the weight of a code."""
    g, r, n_axes = layer.groups, code.rank, len(layer.kernel_size)
    split = code.conv_scheme == "scheme_2"
    every, last = range(n_axes), range(1, n_axes)
    single = [1] * n_axes
    kind = type(layer)
    plain = getattr(nn, f"Conv{n_axes}d")

    def one(kind, c_in, c_out, axes, weight):
        made = kind(
            c_in,
            c_out,
            only(n_axes, layer.kernel_size, axes, 1),
            stride=only(n_axes, layer.stride, axes, 1),
            padding=only(n_axes, layer.padding, axes, 0),
            dilation=only(n_axes, layer.dilation, axes, 1),
            groups=g,
            bias=False,
        )
        assert made.weight.shape == weight.shape
        made.weight.data = weight
        return made

    n_in, n_out = layer.in_channels, layer.out_channels
    if not layer.transposed:
        kernel = [1, *layer.kernel_size[1:]] if split else layer.kernel_size
        right = code.right.reshape(r, n_in // g, *kernel)
        left = code.left.reshape(n_out, -1, r).transpose(1, 2)
        left = left.reshape(n_out, r, -1, *[1] * (n_axes - 1))
        return nn.Sequential(
            one(kind, n_in, g * r, last if split else every, torch.cat([right] * g)),
            one(kind, g * r, n_out, [0] if split else [], left),
        )
    kernel = [1, *layer.kernel_size[1:]] if split else layer.kernel_size
    right = torch.cat([code.right.reshape(r, n_out // g, *kernel)] * g)
    second = one(kind, g * r, n_out, last if split else every, right)
    if split:
        left = code.left.reshape(n_in, -1, r).transpose(1, 2)
        left = left.reshape(n_in, r, -1, *single[1:])
        return nn.Sequential(one(kind, n_in, g * r, [0], left), second)
    left = code.left.reshape(g, n_in // g, r).transpose(1, 2)
    left = left.reshape(g * r, n_in // g, *single)
    return nn.Sequential(one(plain, n_in, g * r, [], left), second)


CONVOLUTIONS = {
    "plain": nn.Conv2d(4, 6, 3),
    "padded": nn.Conv2d(4, 6, 3, padding=1),
    "strided": nn.Conv2d(4, 6, (3, 2), stride=(2, 3)),
    "dilated": nn.Conv2d(4, 6, 3, dilation=(2, 1), padding=(0, 2)),
    "grouped": nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
    "depthwise": nn.Conv2d(4, 4, 3, groups=4),
    "one tap": nn.Conv2d(4, 6, 1, stride=2),
    "of sequences": nn.Conv1d(4, 6, 5, stride=2, padding=2, dilation=2, groups=2),
    "of volumes": nn.Conv3d(4, 6, (2, 3, 1), stride=(1, 2, 1), padding=(1, 0, 0)),
    "transposed": nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1),
    "transposed in groups": nn.ConvTranspose2d(4, 6, (3, 2), stride=(1, 2), groups=2),
    "transposed sequences": nn.ConvTranspose1d(4, 6, 4, stride=3, groups=2),
}


@pytest.mark.parametrize("view", ["scheme_1", "scheme_2"])
@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_flops_are_those_of_the_two_layers_that_would_run(case, rank, view):
    layer = CONVOLUTIONS[case]
    sizes = (9, 8, 7)[: len(layer.kernel_size)]
    X = torch.randn(N_SAMPLES, 4, *sizes)
    code = LowRank(rank, view).compress({"w": layer.weight.detach()}, mu=1.0)["w"]
    info = known(layer, X)
    if isinstance(code, Dense):  # the full rank
        assert Flops()(code, info) == multiplications(layer, X)
        return
    two = in_two(layer, code)
    convolved = getattr(nn.functional, f"conv{'_transpose' * layer.transposed}"
                        f"{len(sizes)}d")  # fmt: skip
    order = ["stride", "padding"] + ["output_padding"] * layer.transposed
    order += ["groups", "dilation"] if layer.transposed else ["dilation", "groups"]
    options = {name: getattr(layer, name) for name in order}
    with torch.no_grad():
        expected = convolved(X, code.dense(), **options)
        torch.testing.assert_close(two(X), expected, rtol=0, atol=1e-5)
    assert Flops()(code, info) == multiplications(two, X)
    assert Flops()(Dense(layer.weight), info) == multiplications(layer, X)


def test_a_layer_applied_at_two_sizes_costs_both():
    class Twice(nn.Conv2d):
        def forward(self, x):
            return super().forward(super().forward(x))

    layer = nn.Conv2d(4, 4, 3)
    X = torch.randn(N_SAMPLES, 4, 9, 8)
    net = NeuralNet(nn.Sequential(layer, layer), criterion=nn.MSELoss).initialize()
    info = layer_infos(net, net.module_, (X, X))["0.weight"]
    assert [grid.input for grid in info.grids] == [(9, 8), (7, 6)]
    code = LowRank(2, "scheme_2").compress({"w": layer.weight.detach()}, mu=1.0)["w"]
    two = in_two(layer, code)
    counted = multiplications(nn.Sequential(two, two), X)
    assert Flops()(code, info) == counted


@pytest.mark.parametrize("rank", [0, 2, 5])
def test_flops_of_a_linear_layer_count_the_elements_of_a_sequence(rank):
    layer, X = nn.Linear(8, 5), torch.randn(N_SAMPLES, 7, 8)
    info = known(layer, X)
    code = LowRank(rank).compress({"w": layer.weight.detach()}, mu=1.0)["w"]
    expected = 7 * 40 if rank == 5 else 7 * rank * (8 + 5)
    assert Flops()(code, info) == expected


def test_flops_of_other_codes_count_what_is_multiplied():
    weights = draw({"w": (6, 8)})
    info = LayerInfo(uses=3.0)

    def of(scheme):
        return Flops()(scheme.compress(weights, 1.0)["w"], info)

    assert of(ConstraintL0Pruning(7)) == 3 * 7
    assert of(AdaptiveQuantization(4)) == of(BinaryQuantization()) == 3 * 48
    both = Additive([("few", ConstraintL0Pruning(7)), ("low", LowRank(2))])
    assert of(both) == 3 * (7 + 2 * 14)


@pytest.mark.parametrize(
    ("code", "layer", "reason"),
    [
        (Dense(torch.ones(2, 3)), None, "nothing is known of its layer"),
        (
            Dense(torch.ones(2, 3)),
            LayerInfo("Embedding", uses=None),
            "how often its layer, of Embedding, uses it was not counted",
        ),
        (
            Sum({"a": Factored(torch.ones(4, 1), torch.ones(1, 6), (2, 3, 2, 2),
                               "scheme_2")}),
            LayerInfo("Conv2d"),
            "the sizes that its layer, of Conv2d, reads are not known",
        ),
    ],
)  # fmt: skip
def test_flops_that_are_not_known_are_refused(code, layer, reason):
    assert Flops().unknown(code, layer).startswith(reason)
    with pytest.raises(ValueError, match=reason):
        Flops()(code, layer)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_storage_counts_bits_in_numbers_of_the_weight(dtype):
    weights = draw({"w": (6, 8)}, dtype)
    schemes = [
        LowRank(2),
        LowRank(1.0),
        AdaptiveQuantization(3),
        BinaryQuantization(),
        ConstraintL0Pruning(5),
        Additive([("few", ConstraintL0Pruning(7)), ("low", LowRank(2))]),
    ]
    for scheme in schemes:
        theta = scheme.compress(weights, 1.0)
        expected = nbits(theta) / (8 * dtype.itemsize)
        assert Storage()(theta["w"], None) == expected
    assert Storage()(LowRank(2).compress(weights, 1.0)["w"], None) == 2 * 14


def test_costs_are_values():
    assert Storage() == Storage() != Flops()
    assert len({Storage(), Storage(), Flops()}) == 2
    assert clone(Flops()) == Flops()
    assert repr(RankSelection(criterion=Flops())) == "RankSelection(criterion=Flops())"
    assert as_cost("flops") == Flops()
    assert as_cost("time") is None
    assert as_cost(Storage) is None, "a class is no cost"


@pytest.mark.parametrize(
    "criterion", [Storage(), Flops(), lambda c, _: Storage()(c, _)]
)
def test_a_criterion_may_be_named_made_or_written(criterion):
    weights = draw({"w": (6, 8)}, torch.float64)
    layers = {"w": LayerInfo(uses=1.0)}
    named = RankSelection(0.3).compress(weights, 1.0)["w"]
    scheme = RankSelection(0.3, criterion)
    found = scheme.compress(weights, 1.0, layers=layers)
    assert found["w"].rank == named.rank
    assert scheme.cost(found, layers=layers) == pytest.approx(0.3 * named.rank * 14)


def test_a_table_of_times_may_prefer_any_rank():
    weights = draw({"w": (6, 8)}, torch.float64)
    for fast in range(6):
        times = dict.fromkeys(range(7), 2.0) | {fast: 1.0}
        scheme = RankSelection(1e9, lambda code, _: times[ranks({"": code})[""]])  # noqa: B023
        assert scheme.compress(weights, 1.0)["w"].rank == fast


@pytest.mark.parametrize("price", [float("nan"), -1.0, float("inf"), None, "1"])
def test_a_price_must_be_a_number(price):
    scheme = RankSelection(criterion=lambda code, layer: price)
    weights = draw({"w": (6, 8)})
    for call in scheme.check, lambda weights: scheme.compress(weights, 1.0):
        with pytest.raises(
            ValueError, match="must return a finite number of at least 0"
        ):
            call(weights)


def test_ranks_of_weights_that_have_one():
    weights = draw({"w": (6, 4, 3)})
    low, full = (LowRank(r).compress(weights, 1.0)["w"] for r in (0, 1.0))
    few = ConstraintL0Pruning(2).compress(weights, 1.0)["w"]
    theta = {
        "low": low,
        "full": full,
        "few": few,
        "sum": Sum({"few": few, "low": low}),
        "bias": Dense(torch.ones(3)),
    }
    assert isinstance(few, Sparse)
    assert ranks(theta) == {"low": 0, "full": 6, "sum": 0}


def test_the_worked_numbers():
    """By hand: four groups at 144 positions; a kernel along each axis in turn."""
    code = Factored(torch.ones(32, 1), torch.ones(1, 36), (32, 4, 3, 3))
    assert Flops()(code, LayerInfo("Conv2d", groups=4, uses=144.0)) == 25_344.0
    split = Factored(torch.ones(48, 6), torch.ones(6, 48), (16, 16, 3, 3), "scheme_2")
    info = LayerInfo("Conv2d", uses=9.0, grids=(Grid((5, 5), (3, 3)),))
    assert Flops()(split, info) == 6 * 48 * (5 * 3 + 3 * 3) == 6_912.0
    info = LayerInfo("Conv2d", uses=36.0, grids=(Grid((12, 12), (6, 6)),))
    assert Flops()(split, info) == 6 * 48 * (12 * 6 + 6 * 6)
