"""Frontiers: the least error at every size, and what is read off them."""

import numpy as np
import pytest
import scipy.linalg
import torch
from cases import CONV_SCHEMES, distortion, draw, uses
from torch.overrides import TorchFunctionMode

from sklc.codes import Dense, Factored
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


class Away(torch.Tensor):
    """A tensor that does not say that it is on the CPU, and is treated so."""

    is_cpu = False


#: What brings numbers of a device to the host, which waits for them.
WAITING = {"item", "tolist", "numpy", "cpu", "nonzero"} | {
    f"__{kind}__" for kind in ("bool", "float", "int", "index")
}


class Waits(TorchFunctionMode):
    """Counts how often the host waits for numbers of a device."""

    def __init__(self):
        super().__init__()
        self.n = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.n += getattr(func, "__name__", "") in WAITING
        return func(*args, **(kwargs or {}))


def waits(call, *args, **kwargs):
    with Waits() as found:
        call(*args, **kwargs)
    return found.n


@pytest.mark.parametrize(
    ("scheme", "at_most"),
    [
        (LowRank(2), 0),
        (LowRank(0.5, "scheme_2"), 0),
        (RankSelection(0.1), 1),
        (RankSelection(0.1, "flops", normalize=True), 1),
    ],
)
def test_all_ranks_leave_the_device_at_once(scheme, at_most):
    for n_layers in (1, 5):
        shapes = {f"{n}.weight": (6, 3, 2 + n % 2) for n in range(n_layers)}
        weights = {
            name: weight.as_subclass(Away) for name, weight in draw(shapes).items()
        }
        layers = uses(weights)
        checked = waits(scheme.check, weights, layers)
        solved = waits(scheme.compress, weights, 1.0, layers=layers)
        assert solved - checked <= at_most


@pytest.mark.parametrize("normalize", [False, True])
def test_ranks_of_one_place_are_those_of_another(normalize):
    weights = draw({"a.weight": (6, 8), "b.weight": (4, 3, 2)}, torch.float64)
    there = {name: weight.as_subclass(Away) for name, weight in weights.items()}
    scheme = RankSelection(0.2, normalize=normalize)
    for mu in (0.1, 0.5, 2.0):
        here, other = (scheme.compress(w, mu) for w in (weights, there))
        for name, code in here.items():
            torch.testing.assert_close(
                torch.Tensor(other[name].dense().double()), code.dense().double(),
                check_dtype=False,
            )  # fmt: skip
