"""What is in a graph decompresses to what the codes stand for."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from cases import COMPOSITIONS, LEAVES, SETTINGS, draw, name_of, uses
from onnx import helper
from onnx_graphs import (
    SHAPES,
    compressed,
    error,
    graph_of,
    identities,
    net,
    net_output,
    operators_that_run,
    run,
)

from sklc.codes import Code, Dense, Factored, Quantized, Scaled, Sparse, Sum, decompress
from sklc.deploy.onnx.fragment import TYPES
from sklc.schemes import AdaptiveQuantization, LowRank

ALL = [*LEAVES, *SETTINGS, *COMPOSITIONS]


def codes_of(scheme, dtype=torch.float32):
    weights = draw(SHAPES, dtype)
    return scheme.compress(weights, mu=1.0, layers=uses(weights, 9.0)), weights


@pytest.mark.parametrize("scheme", ALL, ids=name_of)
def test_a_net_computes_as_the_dense_one(scheme):
    theta, weights = codes_of(scheme)
    dense = weights | decompress(theta)
    X = 0.1 * torch.randn(4, 8, 9, 9)
    wanted = net_output(dense, X)
    before = net(dense).ByteSize()
    exact = compressed(net(dense), theta, layers=uses(weights, 9.0))
    assert exact.ByteSize() <= before
    assert error(run(exact, X=X.numpy())["variable"], wanted) < 1e-5
    half = compressed(net(dense), theta, half=True)
    assert half.ByteSize() <= exact.ByteSize()
    assert error(run(half, X=X.numpy())["variable"], wanted) < 1e-2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=name_of)
@pytest.mark.parametrize("scheme", [*LEAVES, *COMPOSITIONS], ids=name_of)
def test_all_dtypes(scheme, dtype):
    theta, _ = codes_of(scheme, dtype)
    dense = decompress(theta)
    found = run(compressed(identities(dense), theta))
    bound = 1e-14 if dtype == torch.float64 else 2e-3
    for name, weight in dense.items():
        assert error(found[f"out.{name}"], weight) < bound
        assert found[f"out.{name}"].dtype == weight.numpy().dtype


def numbers(k, shape=(40, 50)):
    """Return every number below k, and more."""
    n = int(np.prod(shape))
    return (torch.arange(n) * 7919 % max(n, k) % k).to(torch.int32).view(shape)


def sparse(places, n, shape=None):
    places = torch.tensor(places, dtype=torch.int64)
    return Sparse(torch.randn(len(places)), places, shape or (n,))


def codebook(k, rows=1):
    return torch.randn(rows, k)


torch.manual_seed(0)
CODES = {
    **{
        f"k = {k}": Quantized(codebook(k), numbers(k)) for k in (1, 2, 3, 5, 9, 17, 200)
    },
    "k = 257": Quantized(codebook(257), numbers(257)),
    "k = 70000": Quantized(codebook(70_000).double(), numbers(70_000, (500, 600))),
    "odd": Quantized(codebook(2), numbers(2, (7, 43, 3))),
    "channels": Quantized(codebook(3, 40), numbers(3)),
    "channels, zero": Quantized(codebook(3, 40), numbers(4), zero=True),
    "channels, one value": Quantized(codebook(1, 40), numbers(1)),
    "only zero": Quantized(codebook(0), numbers(1), zero=True),
    "few others": Quantized(codebook(300), (numbers(300) * (numbers(9) == 8)).int()),
    "few zeros": Quantized(codebook(1), (numbers(50) != 0).int(), zero=True),
    "scaled": Scaled(numbers(3), torch.rand(40), (-1.0, 0.0, 1.0), "float32"),
    "fixed": Scaled(numbers(2), torch.tensor([1]), (-1.0, 1.0), "float32"),
    "empty": sparse([], 5000),
    "one of many": sparse([99_999], 100_000),
    "seldom": sparse(list(range(0, 10_000, 40)), 10_000),
    "often": sparse(list(range(0, 7000, 10)), 7000),
    "very often": sparse([i for i in range(7000) if i % 7 < 2], 7000),
    "first and last": sparse([0, 1_000_000], 1_000_001),
    "escape": sparse([3, 18, 34, 67_000, 67_255, 67_511], 70_000, (70, 1000)),
    "nearly all": sparse([i for i in range(5000) if i % 50], 5000, (50, 100)),
    "all": sparse(list(range(900)), 900, (30, 30)),
    "rank 0": Factored(torch.zeros(40, 0), torch.zeros(0, 50), (40, 50)),
    "kernel": Factored(
        torch.randn(60, 1), torch.randn(1, 35), (20, 5, 3, 7), "scheme_2"
    ),
    "line": Factored(torch.randn(60, 1), torch.randn(1, 35), (20, 35, 3), "scheme_2"),
    "sum": Sum(
        {
            "a": Sum(
                {"a": sparse([5], 2000, (40, 50)), "b": Dense(torch.ones(40, 50))}
            ),
            "b": Quantized(codebook(2), numbers(2)),
        }
    ),
    "sum with dense": Sum(
        {"a": Dense(torch.ones(9, 9)), "b": Quantized(codebook(2), numbers(2, (9, 9)))}
    ),
    "sum of one": Sum({"a": Quantized(codebook(2), numbers(2))}),
    "one weight": Quantized(codebook(2), numbers(2, (1, 1))),
    "no weights": sparse([], 0, (0, 5)),
}


@pytest.mark.parametrize("name", CODES)
def test_values_and_sizes_of_all_codes(name):
    code = CODES[name]
    dense = code.dense()
    model = compressed(identities({"w": dense}), {"w": code})
    np.testing.assert_array_equal(run(model)["out.w"], dense)
    arrays = sum(len(held.raw_data) for held in model.graph.initializer)
    assert arrays <= dense.nbytes
    assert arrays == ARRAYS.get(name, arrays)


# codebooks and values, numbers of 1 to 32 bits, and what shapes and shifts take
ARRAYS = {
    "k = 1": 4 + 24,
    "k = 2": 4 * 2 + 2000 // 8 + 33,
    "k = 3": 4 * 3 + 2000 // 4 + 29,
    "k = 5": 4 * 5 + 2000 // 2 + 8,
    "k = 9": 4 * 9 + 2000 // 2 + 8,
    "k = 200": 4 * 200 + 2000 + 8,
    "channels": 4 * 3 * 40 + 2000 // 4 + 21,
    "channels, zero": 4 * 3 * 40 + 2000 // 4 + 21 + 32,  # and no zero for each
    "channels, one value": 4 * 40 + 16,
    "scaled": 4 * (40 + 3) + 2000 // 4 + 21,
    "few zeros": 4 * 2 + 40 + 48,  # 40 places in 8 bits each
    "empty": 8,
    "one of many": 4 + 2 * 2 + 28,  # two symbols of 16 bits
    "seldom": 4 * 250 + 250 + 16,  # 8 bits
    "often": 4 * 700 + 700 // 2 + 16,  # 4 bits
    "very often": 4 * 2000 + 7000 // 8 + 33,  # a mask
    "rank 0": 16,
    "kernel": 4 * 95 + 32,
    "no weights": 0,
}


@pytest.mark.parametrize("name", CODES)
def test_runtimes_decode_codes_once(name, tmp_path):
    code = CODES[name]
    model = compressed(identities({"w": code.dense()}), {"w": code})
    assert operators_that_run(model, tmp_path) <= {"Identity"}


@pytest.mark.parametrize("scheme", ALL, ids=name_of)
def test_runtimes_decode_weights_once(scheme, tmp_path):
    theta, _ = codes_of(scheme)
    model = compressed(identities(decompress(theta)), theta)
    assert operators_that_run(model, tmp_path) <= {"Identity"}


@dataclass(frozen=True, eq=False)
class DoubledCodebook(Quantized):
    """What only it knows how to decompress."""

    def dense(self):
        return 2 * super().dense()


@dataclass(frozen=True, eq=False)
class Own(Code):
    """A code that nobody knows."""

    row: torch.Tensor

    @property
    def shape(self):
        return torch.Size((30, len(self.row)))

    def dense(self):
        return self.row.expand(self.shape).contiguous()

    def streams(self):
        return {}


def test_unknown_codes_are_dense_and_right():
    theta = {"a": DoubledCodebook(codebook(2), numbers(2)), "b": Own(torch.randn(20))}
    dense = decompress(theta)
    found = run(compressed(identities(dense), theta))
    for name, weight in dense.items():
        np.testing.assert_array_equal(found[f"out.{name}"], weight)


def test_no_operator_that_runtimes_approximate():
    for code in CODES.values():
        model = compressed(identities({"w": code.dense()}), {"w": code})
        assert not {"DequantizeLinear"} & {node.op_type for node in model.graph.node}
        assert not model.graph.metadata_props


def test_a_shared_codebook_is_written_once():
    weights = draw(SHAPES)
    theta = AdaptiveQuantization(k=40, granularity="joint").compress(weights, mu=1.0)
    model = compressed(net(decompress(theta)), theta)
    assert sum(40 in held.dims for held in model.graph.initializer) == 1


def test_fewer_operations_or_one_layer():
    weights = draw(SHAPES)

    def layers(rank, view):
        scheme = LowRank(rank=rank, conv_scheme=view)
        theta = scheme.compress(weights, mu=1.0)
        model = compressed(net(decompress(theta)), theta, layers=uses(weights, 9.0))
        return [n.op_type for n in model.graph.node if n.op_type in ("Conv", "Gemm")]

    for view in ("scheme_1", "scheme_2"):
        assert layers(4, view) == ["Conv", "Conv", "Gemm", "Gemm"]
    assert layers(24, "scheme_1") == ["Conv", "Gemm", "Gemm"]  # 24 * 174 < 30 * 144
    assert layers(25, "scheme_1") == ["Conv", "Gemm"]
    code = Factored(torch.randn(20, 10), torch.randn(10, 20), (20, 20))
    nodes = [helper.make_node("MatMul", ["w", "w"], ["a"])]
    nodes += [helper.make_node("MatMul", ["a", "w"], ["b"])]
    ends = [], [("b", TYPES[torch.float32], [20, 20])]
    model = compressed(graph_of(nodes, *ends, {"w": code.dense()}), {"w": code})
    assert len(model.graph.node) == 2  # 10 * (20 + 20) is not below 20 * 20


def test_low_rank_weights_wherever_they_are_read():
    code = Factored(torch.randn(30, 2), torch.randn(2, 30), (30, 30))
    gemm = {"alpha": 0.5, "beta": 2.0}
    nodes = [
        helper.make_node("Transpose", ["w"], ["columns"], perm=[1, 0]),
        helper.make_node("Shape", ["w"], ["shape"], start=-1),
        helper.make_node("MatMul", ["X", "w"], ["a"]),
        helper.make_node("MatMul", ["X", "columns"], ["b"]),
        helper.make_node("Gemm", ["X", "w", "bias"], ["c"], **gemm),
        helper.make_node("Gemm", ["X", "w", "bias"], ["d"], transB=1, **gemm),
        helper.make_node("Gemm", ["X", "w"], ["e"], transA=1),
        helper.make_node("MatMul", ["w", "X"], ["f"]),
        helper.make_node("MatMul", ["columns", "w"], ["g"]),
        helper.make_node("Add", ["X", "w"], ["h"]),
    ]
    weights = {"w": code.dense(), "bias": torch.randn(30)}
    values = [(name, TYPES[torch.float32], [30, 30]) for name in "Xabcdefgh"]
    shape = ("shape", TYPES[torch.int64], [1])
    X = np.random.default_rng(0).standard_normal((30, 30)).astype("float32")
    dense = graph_of(nodes, values[:1], [*values[1:], shape], weights)
    wanted = run(dense, X=X)
    for theta in ({"w": code}, {"w": Sum({"a": code})}):
        model = graph_of(nodes, values[:1], [*values[1:], shape], weights)
        found = run(compressed(model, theta), X=X)
        for name, value in wanted.items():
            assert error(found[name], value) < 1e-5, name
    model = graph_of(nodes, values[:1], values[1:5], weights)
    kinds = [n.op_type for n in compressed(model, {"w": code}).graph.node]
    assert (kinds.count("MatMul"), kinds.count("Gemm")) == (4, 4)


@pytest.mark.parametrize("view", ["scheme_1", "scheme_2"])
def test_paddings_that_depend_on_the_input(view):
    scheme = LowRank(rank=1, conv_scheme=view)
    theta = scheme.compress({"w": torch.randn(8, 4, 3, 3)}, mu=1.0)
    weights = decompress(theta)
    options = {"auto_pad": "SAME_LOWER", "strides": [2, 2]}
    nodes = [helper.make_node("Conv", ["X", "w"], ["out"], **options)]
    kind = TYPES[torch.float32]
    ends = [("X", kind, [1, 4, 6, 6])], [("out", kind, [1, 8, 3, 3])]
    X = np.random.default_rng(0).standard_normal((1, 4, 6, 6)).astype("float32")
    wanted = run(graph_of(nodes, *ends, weights), X=X)["out"]
    model = compressed(graph_of(nodes, *ends, weights), theta)
    assert [n.op_type for n in model.graph.node].count("Conv") == 2
    assert error(run(model, X=X)["out"], wanted) < 1e-5


def test_what_the_graph_does_not_hold_stays_dense_and_is_named():
    dense = {"a": torch.randn(40, 50), "b": torch.randn(40, 50)}
    theta = {name: Quantized(codebook(2), numbers(2)) for name in "abc"}
    dense["b"] = theta["b"].dense()
    with pytest.warns(UserWarning, match=r"^a, c: written dense, if the graph"):
        model = compressed(identities(dense), theta)
    for name, weight in dense.items():
        np.testing.assert_array_equal(run(model)[f"out.{name}"], weight)


def test_values_that_float16_would_spoil_are_kept_and_named():
    theta = {
        "large": sparse(list(range(0, 5000, 9)), 5000),
        "small": sparse(list(range(0, 5000, 9)), 5000),
        "good": sparse(list(range(0, 5000, 9)), 5000),
    }
    theta["large"].values[7] = 1e5
    theta["small"].values.mul_(1e-7)
    dense = decompress(theta)
    with pytest.warns(UserWarning, match=r"^large, small: kept in full precision"):
        found = run(compressed(identities(dense), theta, half=True))
    for name in ("large", "small"):
        np.testing.assert_array_equal(found[f"out.{name}"], dense[name])
    wanted = theta["good"].values.half().float()
    np.testing.assert_array_equal(found["out.good"][::9], wanted)
