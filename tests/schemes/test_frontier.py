"""Frontiers: the least error at every size, and what is read off them."""

import numpy as np
import pytest
import scipy.linalg
import torch
from cases import CONV_SCHEMES, distortion, draw

from sklc.codes import Dense, Factored, decompress
from sklc.ops.tensors import matricize
from sklc.schemes import LowRank, RankSelection
from sklc.schemes.frontier import RankFrontier

SHAPES = [(5, 8), (8, 5), (4, 4), (1, 6), (4, 3, 2), (3, 4, 2, 3)]


@pytest.mark.parametrize("view", CONV_SCHEMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_errors_are_those_of_the_codes_and_the_least(shape, view, dtype):
    weight = draw({"w": shape}, dtype)["w"]
    frontier = RankFrontier(weight, view)
    matrix = matricize(weight, view).double()
    square = scipy.linalg.svd(matrix.numpy(), compute_uv=False) ** 2
    eps = torch.finfo(dtype).eps
    assert len(frontier.errors) == len(square) + 1
    for size, error in enumerate(frontier.errors.tolist()):
        found = distortion({"w": frontier.code(size)}, {"w": weight})
        for other in error, square[size:].sum():
            assert found == pytest.approx(other, rel=1e-5, abs=100 * eps * square.sum())


@pytest.mark.parametrize("view", CONV_SCHEMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_outline_is_the_code_without_its_numbers(shape, view):
    frontier = RankFrontier(draw({"w": shape})["w"], view)
    for size in range(len(frontier.errors)):
        code, outline = frontier.code(size), frontier.outline(size)
        assert type(code) is type(outline)
        assert code.shape == outline.shape
        for real, empty in zip(code.tensors(), outline.tensors(), strict=True):
            assert (real.shape, real.dtype) == (empty.shape, empty.dtype)
            assert empty.is_meta
    assert isinstance(frontier.code(frontier.full), Dense)


@pytest.mark.parametrize("largest", [0, 1, 3, 12, 50])
@pytest.mark.parametrize("shape", [(40, 50), (50, 40)], ids=str)
def test_a_frontier_may_end_early(shape, largest):
    weight = draw({"w": shape})["w"]
    whole, part = RankFrontier(weight, "scheme_1"), RankFrontier(
        weight, "scheme_1", largest
    )  # fmt: skip
    ends = min(largest, 40)
    assert len(part.errors) == ends + 1
    expected = whole.errors[: ends + 1]
    torch.testing.assert_close(part.errors, expected, rtol=1e-5, atol=1e-3)
    one, other = (f.code(ends).dense() for f in (whole, part))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


def test_the_best_trade_off_is_the_best_of_all_sizes():
    frontier = RankFrontier(draw({"w": (6, 9)}, torch.float64)["w"], "scheme_1")
    errors, rng = frontier.errors.numpy(), np.random.default_rng(0)
    for _ in range(50):
        prices, alpha, mu = rng.random(7), 10 ** rng.uniform(-2, 2), rng.random()
        found = int(frontier.best(prices, alpha, mu))
        objective = alpha * prices + mu / 2 * errors
        assert objective[found] == pytest.approx(objective.min(), rel=1e-12)


def test_a_size_as_dear_as_the_weight_itself_is_not_taken():
    weight = torch.ones(2, 2)  # of rank 1, whose factors are 4 numbers as well
    for alpha in (0.0, 1.0):
        code = RankSelection(alpha).compress({"w": weight}, mu=1e9)["w"]
        assert isinstance(code, Dense)
    code = RankSelection(0.0).compress({"w": torch.ones(3, 4)}, mu=1e9)["w"]
    assert isinstance(code, Factored)
    assert code.rank == 1


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_ranks_of_one_place_are_those_of_another(dtype, normalize, device):
    shapes = {"a.weight": (6, 8), "b.weight": (4, 3, 2), "c.weight": (7, 6)}
    here = draw(shapes, dtype)
    there = {name: weight.to(device) for name, weight in here.items()}
    for scheme in LowRank(0.5), RankSelection(0.2, normalize=normalize):
        for mu in (0.1, 0.5, 2.0):
            expected = decompress(scheme.compress(here, mu))
            for name, dense in decompress(scheme.compress(there, mu)).items():
                assert dense.device == there[name].device
                torch.testing.assert_close(dense.cpu(), expected[name])
