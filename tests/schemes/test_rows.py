"""Rows: which weights share a budget; blocks along the inputs, against brute force."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from cases import distortion, draw
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from sklc.codes import Dense, Quantized, Sparse, decompress
from sklc.layers import LayerInfo
from sklc.schemes import (
    Additive,
    Blocks,
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    Mixed,
    VectorScheme,
)
from sklc.testing import check_scheme


def blocks_of(weight, m, axis=1):
    """Yield the blocks of a weight, entry by entry."""
    others = [range(n) for a, n in enumerate(weight.shape) if a != axis]
    for at in itertools.product(*others):
        line = weight[(*at[:axis], slice(None), *at[axis:])]
        for first in range(0, len(line), m):
            yield line[first : first + m]


def best_by_brute_force(weight, kappa, m, axis=1):
    """Return the least squared error of all supports of every block."""
    total = 0.0
    for block in blocks_of(weight.double().square(), m, axis):
        pruned = len(block) - min(kappa, len(block))
        total += min(
            float(block[list(zeros)].sum())
            for zeros in itertools.combinations(range(len(block)), pruned)
        )
    return total


SHAPES = [(3, 8), (2, 10), (1, 3), (2, 5, 2), (2, 6, 2, 3), (2, 4, 1, 2, 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kappa", "m"), [(2, 4), (1, 2), (3, 5), (0, 3), (4, 7)])
def test_so_many_of_every_block_are_kept_and_no_others_would_be_better(shape, kappa, m):
    weights = draw({"w": shape}, torch.float64)
    scheme = ConstraintL0Pruning(kappa, Blocks(m))
    theta = scheme.compress(weights, mu=1.0)
    dense = theta["w"].dense()
    for block in blocks_of(dense, m):
        assert int(block.count_nonzero()) == min(kappa, len(block))
    kept = dense != 0
    assert torch.equal(dense[kept], weights["w"][kept]), "what is kept is as it was"
    expected = best_by_brute_force(weights["w"], kappa, m)
    assert distortion(theta, weights) == pytest.approx(expected, rel=1e-12)
    assert scheme.cost(theta) == 0.0


def test_two_of_four_is_what_processors_take():
    weights = draw({"fc.weight": (16, 32)})
    scheme = ConstraintL0Pruning(kappa=2, granularity=Blocks(4))
    dense = scheme.compress(weights, mu=1.0)["fc.weight"].dense()
    assert (dense.reshape(16, 8, 4).count_nonzero(2) == 2).all()


@pytest.mark.parametrize("shape", [(16, 32), (5, 3, 2, 2)])
def test_blocks_number_places_as_layers_do(shape):
    weights = draw({"w": shape})
    (blocks,), (layer,) = (
        ConstraintL0Pruning(kappa=2, granularity=g).compress(weights, mu=1.0).values()
        for g in (Blocks(4), "layer")
    )
    assert blocks.index.dtype == layer.index.dtype


def test_blocks_of_a_transposed_convolution_run_along_its_first_axis():
    weights = draw({"up.weight": (6, 3, 2, 2)}, torch.float64)
    layers = {"up.weight": LayerInfo("ConvTranspose2d", output_axis=1)}
    scheme = ConstraintL0Pruning(1, Blocks(4))
    theta = scheme.compress(weights, 1.0, layers=layers)
    for block in blocks_of(theta["up.weight"].dense(), 4, axis=0):
        assert int(block.count_nonzero()) == 1
    expected = best_by_brute_force(weights["up.weight"], 1, 4, axis=0)
    assert distortion(theta, weights) == pytest.approx(expected, rel=1e-12)
    assert scheme.cost(theta, layers=layers) == 0.0
    assert scheme.cost(theta) == float("inf"), "along the other axis they are none"


def test_a_fraction_is_one_of_each_block():
    weights = draw({"w": (2, 10)}, torch.float64)
    theta = ConstraintL0Pruning(0.5, Blocks(4)).compress(weights, mu=1.0)
    dense = theta["w"].dense()
    assert [int(block.count_nonzero()) for block in blocks_of(dense, 4)] == [
        2,
        2,
        1,
    ] * 2
    theta = ConstraintL0Pruning(0.01, Blocks(4)).compress(weights, mu=1.0)
    counts = [int(b.count_nonzero()) for b in blocks_of(theta["w"].dense(), 4)]
    assert counts == [1] * 6, "little is not nothing"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_block_is_projected_as_if_it_were_alone(shape):
    weights = draw({"w": shape}, torch.float64)
    scheme = ConstraintL1Pruning(0.8, Blocks(3))
    theta = scheme.compress(weights, mu=1.0)
    alone = ConstraintL1Pruning(0.8)
    pairs = zip(
        blocks_of(weights["w"], 3), blocks_of(theta["w"].dense(), 3), strict=True
    )
    for block, found in pairs:
        expected = alone.compress({"b": block}, mu=1.0)["b"].dense()
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    trained = {"w": theta["w"].map(lambda t: 2 * t if t.is_floating_point() else t)}
    assert scheme.cost(trained) == float("inf")
    projected = scheme.project(trained)
    assert scheme.cost(projected) == 0.0
    assert torch.equal(projected["w"].index, theta["w"].index)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("m", [1, 3, 100])
def test_blocks_of_any_length_keep_the_contract(m, dtype, device):
    shapes = {"conv.weight": (2, 5, 2), "fc.weight": (3, 7)}
    weights = draw(shapes, dtype, device=device)
    check_scheme(ConstraintL0Pruning(2, Blocks(m)), weights=weights)


def test_blocks_as_long_as_the_inputs_are_channels():
    weights = draw({"w": (5, 7)})
    one = ConstraintL0Pruning(3, Blocks(10**400)).compress(weights, 1.0)["w"].dense()
    other = ConstraintL0Pruning(3, "channel").compress(weights, 1.0)["w"].dense()
    assert torch.equal(one, other)


def test_blocks_go_into_sums_and_mixtures():
    weights = draw({"a.weight": (4, 8), "b.weight": (4, 8)})
    pruned = ConstraintL0Pruning(1, Blocks(4))
    both = Additive([("one", pruned), ("few", ConstraintL0Pruning(3, "layer"))])
    scheme = Mixed([("a", pruned, "a"), ("b", both, "b")])
    theta = scheme.compress(weights, mu=1.0)
    assert scheme.cost(theta) == 0.0
    assert scheme.cost(scheme.compress(weights, 1.0, theta)) == 0.0
    assert isinstance(theta["a.weight"], Sparse)
    assert int(theta["b.weight"].dense().count_nonzero()) == 8 + 3


def test_blocks_are_values_and_parameters():
    assert Blocks(4) == Blocks(4) == Blocks(np.int64(4)) != Blocks(2)
    assert len({Blocks(2), Blocks(2), Blocks(4)}) == 2
    assert repr(Blocks(8)) == "Blocks(m=8)"
    assert pickle.loads(pickle.dumps(Blocks(3))) == Blocks(3) == clone(Blocks(3))
    scheme = ConstraintL0Pruning(2, Blocks(4))
    assert scheme.get_params()["granularity__m"] == 4
    weights = draw({"w": (3, 8)})
    kept = []
    for params in ParameterGrid({"granularity__m": [4, 8]}):
        other = clone(scheme).set_params(**params)
        kept.append(len(other.compress(weights, 1.0)["w"].values))
    assert kept == [12, 6]
    assert scheme.granularity == Blocks(4), "the original is untouched"


@pytest.mark.parametrize("m", [0, -1, 2.0, "2", None, True])
def test_blocks_have_a_length(m):
    scheme = ConstraintL0Pruning(2, Blocks(m))
    with pytest.raises(ValueError, match="m must be an int of at least 1") as info:
        scheme.validate()
    assert str(info.value).startswith(f"Blocks(m={m!r})")


@pytest.mark.parametrize("shape", [(), (3,)])
def test_blocks_need_inputs(shape):
    weights = {"fc.weight": torch.ones(2, 2), "fc.bias": torch.ones(shape)}
    scheme = ConstraintL0Pruning(1, Blocks(2))
    for call in scheme.check, lambda weights: scheme.compress(weights, 1.0):
        with pytest.raises(ValueError, match="select layers of two or more") as info:
            call(weights)
        assert str(info.value).startswith(
            "Blocks(m=2) runs along the inputs of a weight, but 'fc.bias' has shape "
            f"{shape}"
        )


class Centred(VectorScheme):
    """Rows of equal weights: their means."""

    any_rows = True

    def __init__(self, granularity="layer", code=Dense):
        self.granularity = granularity
        self.code = code

    def _compress(self, rows, mu, warm):
        mean = rows.mean(1, keepdim=True)
        if self.code is Dense:
            return Dense(mean.expand_as(rows).clone())
        return Quantized(mean, torch.zeros(rows.shape, dtype=torch.uint8))

    def _feasible_rows(self, rows):
        return bool((rows - rows[:, :1]).abs().max() < 1e-6)


def test_a_scheme_of_your_own_takes_blocks_if_its_codes_are_dense():
    weights = draw({"w": (2, 5), "v": (2, 3, 2)})
    check_scheme(Centred(Blocks(2)), weights=weights)
    dense = decompress(Centred(Blocks(2)).compress(weights, mu=1.0))
    for name, weight in weights.items():
        pairs = zip(blocks_of(weight, 2), blocks_of(dense[name], 2), strict=True)
        for block, found in pairs:
            torch.testing.assert_close(found, block.mean().expand_as(block))


def test_codes_that_know_no_blocks_say_so():
    with pytest.raises(TypeError, match=r"Sparse or Dense, got \['Quantized'\]"):
        Centred(Blocks(2), Quantized).compress(draw({"w": (2, 4)}), mu=1.0)
