"""Every kind of code: what it stands for, what is free in it, and what it takes."""

import copy
import dataclasses
import json
import math
import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from elsewhere import waiting

from sklc import codes
from sklc.codes import (
    Code,
    Dense,
    Factored,
    Quantized,
    Scaled,
    Sparse,
    Sum,
    decompress,
    degrees_of_freedom,
    nbits,
    nbits_by_weight,
    pack,
    streams,
    to,
    unpack,
)
from sklc.codes.base import descendants, index_dtype
from sklc.codes.theta import multiplicities

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def floats(*values, dtype=torch.float32):
    return torch.tensor(values, dtype=dtype)


def numbers(*values, dtype=torch.uint8):
    return torch.tensor(values, dtype=dtype)


def examples(dtype=torch.float64):
    """Return one code of every kind and shape, with the weight that it stands for."""

    def values(*content):
        return floats(*content, dtype=dtype)

    one_row = Quantized(values([-1.5, 0.5, 4.0]), numbers([0, 1, 2], [2, 2, 0]))
    sparse = Sparse(values(2.0, -3.0), numbers(1, 5, dtype=torch.int32), (2, 3))
    factored = Factored(values([1.0], [2.0]), values([1.0, 0.5, -1.0]), (2, 3))
    name = str(dtype).removeprefix("torch.")
    return {
        "dense": (Dense(values([1.0, 2.0])), [[1.0, 2.0]]),
        "quantized": (one_row, [[-1.5, 0.5, 4.0], [4.0, 4.0, -1.5]]),
        "quantized with a zero": (
            Quantized(values([-1.5, 0.5]), numbers([0, 1, 2], [2, 0, 0]), True),
            [[0.0, -1.5, 0.5], [0.5, 0.0, 0.0]],
        ),
        "quantized by channel": (
            Quantized(values([1.0, 2.0], [3.0, 4.0]), numbers([[0], [1]], [[1], [0]])),
            [[[1.0], [2.0]], [[4.0], [3.0]]],
        ),
        "quantized by channel with a zero": (
            Quantized(values([1.0], [3.0]), numbers([0, 1, 1], [1, 0, 0]), zero=True),
            [[0.0, 1.0, 1.0], [3.0, 0.0, 0.0]],
        ),
        "quantized to nothing but zero": (
            Quantized(torch.empty(1, 0, dtype=dtype), numbers([0, 0, 0]), zero=True),
            [[0.0, 0.0, 0.0]],
        ),
        "quantized to one value": (
            Quantized(values([2.5]), numbers(0, 0, 0)),
            [2.5, 2.5, 2.5],
        ),
        "scaled": (
            Scaled(numbers([0, 1], [2, 1]), values(2.5), (-1.0, 0.0, 1.0), name),
            [[-2.5, 0.0], [2.5, 0.0]],
        ),
        "scaled by channel": (
            Scaled(numbers([0, 1], [1, 1]), values(2.0, 3.0), (-1.0, 1.0), name),
            [[-2.0, 2.0], [3.0, 3.0]],
        ),
        "scaled by a fixed number": (
            Scaled(numbers([0, 1, 1]), numbers(1, dtype=torch.int8), (-1.0, 1.0), name),
            [[-1.0, 1.0, 1.0]],
        ),
        "sparse": (sparse, [[0.0, 2.0, 0.0], [0.0, 0.0, -3.0]]),
        "sparse and empty": (
            Sparse(values(), numbers(dtype=torch.int32), (2, 2)),
            [[0.0, 0.0], [0.0, 0.0]],
        ),
        "factored": (factored, [[1.0, 0.5, -1.0], [2.0, 1.0, -2.0]]),
        "factored of rank 0": (
            Factored(
                torch.empty(2, 0, dtype=dtype), torch.empty(0, 3, dtype=dtype), (2, 3)
            ),
            [[0.0] * 3] * 2,
        ),
        "factored by scheme 1": (
            Factored(values([1.0], [2.0]), values([1.0, 2.0, 3.0, 4.0]), (2, 1, 2, 2)),
            [[[[1.0, 2.0], [3.0, 4.0]]], [[[2.0, 4.0], [6.0, 8.0]]]],
        ),
        "factored by scheme 2": (
            Factored(
                values([1.0], [10.0], [2.0], [20.0]),
                values([1.0, 2.0, 3.0, 4.0]),
                (2, 2, 2, 2),  # out, in, k1, k2: rows out * k1, columns in * k2
                "scheme_2",
            ),
            [
                [[[1.0, 2.0], [10.0, 20.0]], [[3.0, 4.0], [30.0, 40.0]]],
                [[[2.0, 4.0], [20.0, 40.0]], [[6.0, 8.0], [60.0, 80.0]]],
            ],
        ),
        "sum": (
            Sum({"codes": one_row, "corrections": sparse}),
            [[-1.5, 2.5, 4.0], [4.0, 4.0, -4.5]],
        ),
        "sum of a sum": (
            Sum({"rest": Sum({"a": one_row, "b": sparse}), "low": factored}),
            [[-0.5, 3.0, 3.0], [6.0, 5.0, -6.5]],
        ),
    }


NAMES = list(examples())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_dense_is_the_weight(name, dtype, device):
    code, weight = examples(dtype)[name]
    moved = to({"w": code}, device)["w"]

    assert moved.dense().tolist() == weight
    assert moved.dense().dtype == dtype
    assert moved.dense().device.type == device
    assert moved.dense().shape == moved.shape
    assert isinstance(moved.shape, torch.Size)
    assert decompress({"w": moved})["w"].tolist() == weight


@pytest.mark.parametrize("name", NAMES)
def test_dense_is_where_the_code_is(name):
    moved = to({"w": examples()[name][0]}, "meta")["w"]
    assert moved.dense().device == torch.device("meta")


def test_every_kind_of_code_has_an_example():
    kinds = {type(code) for code, _ in examples().values()}
    own = {
        kind for kind in Code.__subclasses__() if kind.__module__.startswith("sklc.")
    }
    assert kinds == own
    assert {kind.__name__ for kind in own} <= set(codes.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_dense_is_differentiable_in_the_degrees_of_freedom(name):
    code, _ = examples(torch.float64)[name]
    free = [part for part in degrees_of_freedom({"w": code}) if part.numel()]

    def dense(*values):
        changed = {id(old): new for old, new in zip(free, values, strict=True)}
        return code.map(lambda tensor: changed.get(id(tensor), tensor)).dense()

    if not free:
        assert not code.dense().any() or isinstance(code, Scaled)
        return
    assert torch.autograd.gradcheck(dense, [part.requires_grad_() for part in free])


@pytest.mark.parametrize("name", NAMES)
def test_the_degrees_of_freedom_are_the_tensors_of_floats(name):
    code, _ = examples()[name]
    free = degrees_of_freedom({"w": code})
    expected = [tensor for tensor in code.tensors() if tensor.is_floating_point()]
    assert [id(tensor) for tensor in free] == [id(tensor) for tensor in expected]


FREE = {
    "dense": ["weight"],
    "quantized": ["codebook"],
    "quantized with a zero": ["codebook"],
    "scaled": ["scale"],
    "scaled by a fixed number": [],
    "sparse": ["values"],
    "factored": ["left", "right"],
}


@pytest.mark.parametrize(("name", "fields"), FREE.items())
def test_what_is_free_of_each_kind(name, fields):
    code, _ = examples()[name]
    free = degrees_of_freedom({"w": code})
    assert len(free) == len(fields)
    for tensor, field in zip(free, fields, strict=True):
        assert tensor is getattr(code, field)


def test_tensors_are_all_of_them_those_of_terms_too():
    code, _ = examples()["sum of a sum"]
    one_row, sparse = code.terms["rest"].terms.values()
    low = code.terms["low"]
    expected = [one_row.codebook, one_row.index, sparse.values, sparse.index]
    expected += [low.left, low.right]
    assert [id(part) for part in code.tensors()] == [id(part) for part in expected]


@pytest.mark.parametrize("name", NAMES)
def test_map_changes_the_tensors_and_nothing_else(name):
    code, _ = examples()[name]
    doubled = code.map(
        lambda tensor: tensor * 2 if tensor.is_floating_point() else tensor
    )

    assert type(doubled) is type(code)
    for old, new in zip(code.tensors(), doubled.tensors(), strict=True):
        assert new.tolist() == (old * 2 if old.is_floating_point() else old).tolist()
    for field in dataclasses.fields(code):
        value = getattr(code, field.name)
        if not isinstance(value, torch.Tensor | dict):
            assert getattr(doubled, field.name) == value


# Each size by hand: floats of 64 bits, indices, positions.
BITS = {
    "dense": 2 * 64,
    "quantized": 3 * 64 + 6 * 2,
    "quantized with a zero": 2 * 64 + (6 + 3),  # a mask, and one bit each
    "quantized by channel": 4 * 64 + 4 * 1,
    "quantized by channel with a zero": 2 * 64 + 6,
    "quantized to nothing but zero": 0,
    "quantized to one value": 64,
    "scaled": 64 + (4 + 2),
    "scaled by channel": 2 * 64 + 4,
    "scaled by a fixed number": 3,
    "sparse": 2 * 64 + 6,
    "sparse and empty": 0,
    "factored": (2 + 3) * 64,
    "factored of rank 0": 0,
    "factored by scheme 1": (2 + 4) * 64,
    "factored by scheme 2": (4 + 4) * 64,
    "sum": (3 * 64 + 12) + (2 * 64 + 6),
    "sum of a sum": (3 * 64 + 12) + (2 * 64 + 6) + 5 * 64,
}


@pytest.mark.parametrize("name", NAMES)
def test_nbits_is_the_size_by_hand(name):
    code, _ = examples()[name]
    assert nbits({"w": code}) == BITS[name]
    assert isinstance(nbits({"w": code}), int)


def size_in_bytes(theta):
    """Round each of the distinct streams up to bytes."""
    distinct = {
        id(stream.tensor): stream
        for code in theta.values()
        for stream in code.streams().values()
    }
    return sum(math.ceil(int(stream.nbits) / 8) for stream in distinct.values())


def same_codes(one, other):
    assert type(one) is type(other)
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, torch.Tensor):
            assert a.dtype == b.dtype
            assert a.shape == b.shape
            assert torch.equal(a, b)
        elif isinstance(a, dict):
            assert list(a) == list(b)
            for name in a:
                same_codes(a[name], b[name])
        else:
            assert a == b
            assert type(a) is type(b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_packing_takes_the_bits_it_says_and_comes_back_exactly(name, dtype):
    theta = {"w": examples(dtype)[name][0]}

    header, arrays = pack(theta)
    back = unpack(json.loads(json.dumps(header)), arrays)

    assert list(back) == ["w"]
    same_codes(back["w"], theta["w"])
    assert all(array.dtype == np.uint8 for array in arrays.values())
    # both layouts of indices hold two runs of bits, each rounded up to bytes
    size = sum(array.size for array in arrays.values())
    runs = sum(
        -max(entry["width"], 1) * entry["symbols"] % 8
        for entry in header["streams"].values()
        if "kept" in entry
    )
    assert (
        size_in_bytes(theta)
        <= size
        <= math.ceil((nbits(theta) + runs) / 8) + len(arrays)
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_floats_come_back_bit_for_bit(dtype):
    special = floats(
        [0.0, -0.0, math.inf, -math.inf, math.nan, 1 / 3, 1e-7], dtype=dtype
    )
    header, arrays = pack({"w": Dense(special)})
    back = unpack(header, arrays)["w"].weight

    assert back.view(torch.uint8).tolist() == special.view(torch.uint8).tolist()
    assert sum(array.size for array in arrays.values()) == 7 * special.element_size()
    assert nbits({"w": Dense(special)}) == 7 * special.element_size() * 8


def test_floats_are_packed_whatever_their_layout_and_gradient():
    weight = torch.arange(6.0).reshape(2, 3).T.requires_grad_()
    header, arrays = pack({"w": Dense(weight)})
    back = unpack(header, arrays)["w"].weight
    assert torch.equal(back, weight.detach())
    assert not back.requires_grad


def test_what_is_packed_and_unpacked_shares_no_memory():
    weight = torch.ones(2, 2)
    header, arrays = pack({"w": Dense(weight)})
    back = unpack(header, arrays)["w"].weight
    weight.zero_()
    (array,) = arrays.values()
    assert back.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    array[:] = 0
    assert back.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_arrays_of_a_file_that_cannot_be_written_to_are_read():
    theta = {name: code for name, (code, _) in examples(torch.float32).items()}
    header, arrays = pack(theta)
    for array in arrays.values():
        array.flags.writeable = False
    for name, code in unpack(header, arrays).items():
        same_codes(code, theta[name])


def test_the_header_tells_kinds_settings_and_streams():
    header, arrays = pack({"w": examples(torch.float32)["quantized"][0]})
    assert header == {
        "codes": {
            "w": {
                "kind": "Quantized",
                "codebook": {"stream": "w.codebook"},
                "index": {"stream": "w.index"},
                "zero": False,
            }
        },
        "streams": {
            "w.codebook": {"kind": "Floats", "dtype": "float32", "shape": [1, 3]},
            "w.index": {
                "kind": "Indices",
                "dtype": "uint8",
                "shape": [2, 3],
                "n_values": 3,
            },
        },
    }
    assert list(arrays) == ["w.codebook", "w.index"]


def test_the_header_of_terms_is_nested_and_their_streams_have_their_names():
    header, arrays = pack({"w": examples(torch.float32)["sum of a sum"][0]})
    terms = dict(header["codes"]["w"]["terms"]["codes"])
    assert terms["low"]["kind"] == "Factored"
    assert terms["low"]["size"] == (2, 3)
    assert dict(terms["rest"]["terms"]["codes"])["b"]["values"] == {
        "stream": "w.rest.b.values"
    }
    assert list(arrays) == [
        *["w.rest.a.codebook", "w.rest.a.index", "w.rest.b.values", "w.rest.b.index"],
        *["w.low.left", "w.low.right"],
    ]


def test_a_fixed_scale_is_a_setting():
    code, _ = examples()["scaled by a fixed number"]
    header, arrays = pack({"w": code})
    assert header["codes"]["w"]["scale"] == {"tensor": [1], "dtype": "int8"}
    assert list(arrays) == ["w.index"]


def test_the_streams_of_terms_are_named_after_them():
    code, _ = examples()["sum of a sum"]
    assert list(code.streams()) == [
        *["rest.a.codebook", "rest.a.index", "rest.b.values", "rest.b.index"],
        *["low.left", "low.right"],
    ]


def test_names_with_dots_do_not_mix_streams():
    a = Sparse(floats(1.0), numbers(0, dtype=torch.int32), (2,))
    b = Sparse(floats(2.0, 3.0), numbers(0, 1, dtype=torch.int32), (2,))
    c = Sparse(floats(4.0), numbers(1, dtype=torch.int32), (2,))
    theta = {"m": Sum({"x.y": a, "x": Sum({"y": c})}), "m.x.y": b}

    header, arrays = pack(theta)
    back = unpack(header, arrays)

    name = "m.x.y.values"
    assert [key for key in arrays if key.startswith(name)] == [
        name,
        f"{name}'",
        f"{name}''",
    ]
    assert back["m"].dense().tolist() == [1.0, 4.0]
    assert back["m.x.y"].dense().tolist() == [2.0, 3.0]


def sparse_codes(n, share):
    """Return codes of n weights of which a share is not zero."""
    kept = torch.rand(n) < share
    weight = torch.randn(n)
    ternary = torch.ones(n, dtype=torch.uint8) + kept * (weight.sign().char())
    return {
        "sparse": Sparse.of(weight, kept),
        "quantized": Quantized(
            floats([1.0, 2.0]), (kept * (1 + (weight > 0))).byte(), True
        ),
        "scaled": Scaled(ternary.byte(), floats(1.0), (-1.0, 0.0, 1.0), "float32"),
        "plain": Quantized(floats([1.0, 2.0, 3.0]), ternary.byte()),
    }


@pytest.mark.parametrize("share", [0.01, 0.12, 0.5, 1.0])
@pytest.mark.parametrize("name", ["sparse", "quantized", "scaled", "plain"])
def test_packing_takes_at_most_three_times_the_memory_of_the_weights(name, share):
    n = 500_000
    theta = {"w": sparse_codes(n, share)[name]}
    pack(theta)  # what is made once
    tracemalloc.start()
    packed = pack(theta)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 3 * 4 * n
    assert 8 * sum(array.nbytes for array in packed[1].values()) - nbits(theta) < 24


# ---- layouts of indices ----


@pytest.mark.parametrize("zero", [0, 1, 3])
@pytest.mark.parametrize("n_nonzero", [0, 1, 10, 124, 125, 300, 499, 500, 999, 1000])
def test_indices_take_the_smaller_of_both_layouts(zero, n_nonzero, device):
    rng = np.random.default_rng(n_nonzero)
    index = np.full(1000, zero)
    others = np.delete(np.arange(4), zero)
    index[rng.permutation(1000)[:n_nonzero]] = rng.choice(others, n_nonzero)
    index = torch.tensor(index, dtype=torch.uint8).reshape(50, 20)
    stream = streams.Indices(index.to(device), 4, zero)

    positions = np.flatnonzero(index.numpy().ravel() != zero)
    gaps = np.diff(positions, prepend=-1) - 1
    support = 1000  # a mask, where an eighth is kept
    if n_nonzero < 125:
        support = min(w * int((gaps // (2**w - 1) + 1).sum()) for w in range(1, 33))
    sparse = support + 2 * n_nonzero
    assert int(stream.nbits) == min(2 * 1000, sparse)
    assert streams.Indices(index.to(device), 4).nbits == 2 * 1000

    header, packed = stream.pack()
    assert ("zero" in header) == (sparse < 2 * 1000)
    size = math.ceil(min(2 * 1000, sparse) / 8)
    assert size <= len(packed) <= size + 1
    assert torch.equal(streams.unpack(header, packed), index)


def test_indices_with_equal_layouts_are_plain(device):
    # a mask of 4 places and 2 numbers of one bit are fewer than 4 of two bits
    stream = streams.Indices(numbers(0, 1, 0, 2).to(device), 3, 0)
    assert int(stream.nbits) == 4 + 2
    assert "zero" in stream.pack()[0]
    even = streams.Indices(numbers(1, 1).to(device), 3, 0)  # 2 + 2 bits, as plain
    assert int(even.nbits) == 4
    assert "zero" not in even.pack()[0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("zero", [None, 0, 2])
def test_indices_come_back_in_their_dtype(dtype, zero):
    index = torch.full((40,), 2 if zero is None else zero, dtype=dtype)
    index[[3, 30]] = torch.tensor([1, 100], dtype=dtype)
    header, packed = streams.Indices(index, 101, zero).pack()
    back = streams.unpack(json.loads(json.dumps(header)), packed)
    assert back.dtype == dtype
    assert torch.equal(back, index)


def test_the_sparse_layout_writes_gaps_and_then_numbers():
    index = torch.zeros(64, dtype=torch.uint8)
    index[[0, 14]] = torch.tensor([2, 1], dtype=torch.uint8)
    header, packed = streams.Indices(index, 3, 0).pack()

    assert header == {
        "kind": "Indices",
        "dtype": "uint8",
        "shape": [64],
        "n_values": 3,
        "zero": 0,
        "width": 4,
        "symbols": 2,
        "kept": 2,
    }
    # skip 0, skip 13; the number before last, the first
    assert packed.tolist() == [0b0000_1101, 0b10_000000]


def test_numbers_above_the_zero_move_down():
    index = torch.full((64,), 1, dtype=torch.uint8)
    index[[0, 14]] = torch.tensor([2, 0], dtype=torch.uint8)
    header, packed = streams.Indices(index, 3, 1).pack()
    assert packed.tolist() == [0b0000_1101, 0b10_000000]
    assert torch.equal(streams.unpack(header, packed), index)


def test_a_mask_of_indices_is_written_before_the_numbers():
    index = torch.zeros(10, dtype=torch.uint8)
    index[[0, 8]] = torch.tensor([2, 1], dtype=torch.uint8)
    header, packed = streams.Indices(index, 3, 0).pack()
    assert (header["width"], header["symbols"], header["kept"]) == (0, 10, 2)
    assert packed.tolist() == [0b1000_0000, 0b10_000000, 0b10_000000]


def test_the_largest_number_of_a_dtype_comes_back_beside_a_zero():
    index = torch.zeros(100, dtype=torch.uint8)
    index[7] = 255
    for zero in 0, 3:
        index[index != 255] = zero
        header, packed = streams.Indices(index, 256, zero).pack()
        assert header["zero"] == zero
        assert torch.equal(streams.unpack(header, packed), index)


@pytest.mark.parametrize(
    ("positions", "n", "size"),
    [
        *[([], 5, 0), ([0], 9, 1), ([5], 9, 3), ([5], 8, 8), ([0, 1, 2], 3, 3)],
        ([100, 200], 201, 14),
    ],
)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_positions_are_a_mask_or_gaps(positions, n, size, dtype, device):
    kept = torch.tensor(positions, dtype=dtype, device=device)
    stream = streams.Positions(kept, n)
    header, packed = stream.pack()
    back = streams.unpack(json.loads(json.dumps(header)), packed)

    assert int(stream.nbits) == size
    assert len(packed) == math.ceil(size / 8)
    assert back.dtype == dtype
    assert back.tolist() == positions
    assert max(header["width"], 1) * header["symbols"] == size


def test_the_zero_of_scaled_levels_is_found():
    index = torch.ones(100, dtype=torch.uint8)
    index[50] = 2
    ternary = Scaled(index, floats(1.0), (-1.0, 0.0, 1.0), "float32")
    assert ternary.streams()["index"].zero == 1
    assert nbits({"w": ternary}) == 32 + 6 + 1
    binary = Scaled(index - 1, floats(1.0), (-1.0, 1.0), "float32")
    assert binary.streams()["index"].zero is None
    assert nbits({"w": binary}) == 32 + 100


def test_the_zero_of_a_codebook_is_the_first_number():
    index = torch.zeros(100, dtype=torch.uint8)
    index[50] = 2
    with_zero = Quantized(floats([1.0, 2.0]), index, zero=True)
    assert with_zero.n_values == 3
    assert with_zero.streams()["index"].zero == 0
    assert nbits({"w": with_zero}) == 64 + 6 + 1
    without = Quantized(floats([0.0, 1.0, 2.0]), index)
    assert without.n_values == 3
    assert without.streams()["index"].zero is None
    assert nbits({"w": without}) == 96 + 200


def test_the_weight_has_its_dtype_whatever_that_of_the_scale():
    code = Scaled(numbers(0, 1), floats(1 / 3), (-1.0, 1.0), "bfloat16")
    assert code.dense().dtype == torch.bfloat16
    assert code.dense()[1] == torch.tensor(1 / 3, dtype=torch.bfloat16)


def test_levels_are_rounded_to_the_dtype_of_the_weight():
    code = Scaled(numbers(0, 1), numbers(1, dtype=torch.int8), (-1.0, 0.1), "bfloat16")
    assert code.dense().dtype == torch.bfloat16
    assert code.dense()[1] == torch.tensor(0.1, dtype=torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
@pytest.mark.parametrize("rows", [1, 2])
def test_codebooks_are_looked_up_by_any_index_dtype(dtype, rows):
    index = torch.tensor([[0, 1], [1, 0]], dtype=dtype)
    codebook = floats(*[[1.0, 2.0]] * rows)
    assert Quantized(codebook, index).dense().tolist() == [[1.0, 2.0], [2.0, 1.0]]


# ---- sharing ----


def joint():
    """Return three layers of which two share a codebook and one a fixed scale."""
    codebook = floats([-1.0, 2.0])
    return {
        "a": Quantized(codebook, numbers([0, 1], [1, 1])),
        "b": Sum(
            {
                "q": Quantized(codebook, numbers([1], [0])),
                "d": Dense(floats([1.0], [2.0])),
            }
        ),
        "c": Dense(floats(5.0)),
    }


def shared_is_one(theta):
    return theta["a"].codebook is theta["b"].terms["q"].codebook


def test_a_shared_codebook_is_counted_once():
    assert nbits(joint()) == 2 * 32 + 4 + 2 + 2 * 32 + 32
    alone = Quantized(floats([-1.0, 2.0]), numbers([0, 1], [1, 1]))
    again = Quantized(floats([-1.0, 2.0]), numbers([0, 1], [1, 1]))
    assert nbits({"a": alone, "b": again}) == 2 * (2 * 32 + 4)
    assert nbits({}) == 0


def test_bits_by_weight_count_what_is_shared_with_the_first():
    by_weight = nbits_by_weight(joint())
    assert by_weight == {"a": 2 * 32 + 4, "b": 2 + 2 * 32, "c": 32}
    assert all(type(bits) is int for bits in by_weight.values())
    turned = dict(reversed(joint().items()))
    assert nbits_by_weight(turned) == {"c": 32, "b": 2 * 32 + 2 + 2 * 32, "a": 4}
    assert sum(by_weight.values()) == nbits(joint())
    assert nbits_by_weight({}) == {}


def test_the_size_of_any_number_of_weights_leaves_the_device_once(elsewhere):
    codes = [code for code, _ in examples(torch.float32).values()]
    theta = {f"w{i}": code for i, code in enumerate(3 * codes)}
    here = nbits_by_weight(theta)
    moved = to(theta, elsewhere)
    with waiting() as waits:
        found = nbits_by_weight(moved)
    assert found == here
    assert waits == ["tolist"]


def test_a_shared_codebook_is_one_degree_of_freedom():
    theta = joint()
    free = degrees_of_freedom(theta)
    expected = [theta["a"].codebook, theta["b"].terms["d"].weight, theta["c"].weight]
    assert [id(tensor) for tensor in free] == [id(tensor) for tensor in expected]


def test_a_shared_codebook_is_packed_once_and_stays_shared():
    header, arrays = pack(joint())
    assert list(arrays) == [
        "a.codebook",
        "a.index",
        "b.q.index",
        "b.d.weight",
        "c.weight",
    ]
    terms = dict(header["codes"]["b"]["terms"]["codes"])
    assert terms["q"]["codebook"] == {"stream": "a.codebook"}

    theta = unpack(json.loads(json.dumps(header)), arrays)
    assert shared_is_one(theta)
    assert list(theta) == ["a", "b", "c"]
    for name, code in joint().items():
        same_codes(theta[name], code)


@pytest.mark.parametrize("target", ["cpu", "meta", torch.device("meta")])
def test_a_shared_codebook_is_moved_once(target):
    moved = to(joint(), target)
    assert shared_is_one(moved)
    for code in moved.values():
        assert all(part.device == torch.device(target) for part in code.tensors())
    assert nbits({"c": moved["c"]}) == 32
    assert list(moved) == ["a", "b", "c"]


def test_moving_leaves_the_original():
    theta = joint()
    to(theta, "meta")
    assert all(part.is_cpu for code in theta.values() for part in code.tensors())


COPIES = {
    "pickle": lambda theta: pickle.loads(pickle.dumps(theta)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_a_shared_codebook_stays_shared_in_copies(duplicate):
    theta = duplicate(joint())
    assert shared_is_one(theta)
    assert nbits(theta) == nbits(joint())
    for name, code in joint().items():
        same_codes(theta[name], code)


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("name", NAMES)
def test_every_code_can_be_copied(name, duplicate):
    code, _ = examples()[name]
    same_codes(duplicate(code), code)


def test_training_a_shared_codebook_changes_both_layers():
    theta = joint()
    with torch.no_grad():
        degrees_of_freedom(theta)[0].add_(10.0)
    weights = decompress(theta)
    assert weights["a"].tolist() == [[9.0, 12.0], [12.0, 12.0]]
    assert weights["b"].tolist() == [[13.0], [11.0]]


# ---- splitting over layers ----

SHAPES = [torch.Size([2, 2]), torch.Size([3]), torch.Size([1, 1, 2])]
ROW = floats([0.0, 1.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 2.0])


def splittable():
    kept = ROW != 0
    index = ROW.to(torch.uint8)
    return {
        "dense": Dense(ROW),
        "quantized": Quantized(floats([0.0, 1.0, 2.0]), index),
        "quantized with a zero": Quantized(floats([1.0, 2.0]), index, True),
        "scaled": Scaled(index, floats(1.0), (0.0, 1.0, 2.0), "float32"),
        "sparse": Sparse.of(ROW, kept),
        "sparse and empty": Sparse.of(ROW * 0, kept & False),
        "sparse and full": Sparse.of(ROW, kept | True),
    }


@pytest.mark.parametrize("name", splittable())
def test_the_parts_of_a_split_code_are_the_parts_of_its_weight(name):
    code = splittable()[name]
    parts = code.split(SHAPES)
    ends = code.dense().reshape(-1).split([4, 3, 2])

    assert len(parts) == 3
    for part, shape, weight in zip(parts, SHAPES, ends, strict=True):
        assert type(part) is type(code)
        assert part.shape == shape
        assert part.dense().reshape(-1).tolist() == weight.tolist()
    if hasattr(code, "index"):
        assert all(part.index.dtype == code.index.dtype for part in parts)


def test_what_belongs_to_the_group_is_shared_by_the_parts():
    codes = splittable()
    for name, field in ("quantized", "codebook"), ("scaled", "scale"):
        parts = codes[name].split(SHAPES)
        assert all(
            getattr(part, field) is getattr(codes[name], field) for part in parts
        )
    assert all(part.zero for part in codes["quantized with a zero"].split(SHAPES))
    assert all(part.levels == (0.0, 1.0, 2.0) for part in codes["scaled"].split(SHAPES))


def test_a_code_of_many_groups_becomes_one_weight():
    codebook = floats([1.0, 2.0], [3.0, 4.0])
    code = Quantized(codebook, numbers([0, 1, 1, 0], [1, 0, 0, 0]))
    (part,) = code.split([torch.Size([2, 2, 2])])
    assert part.codebook is codebook
    assert part.dense().tolist() == [[[1, 2], [2, 1]], [[4, 3], [3, 3]]]


@pytest.mark.parametrize("kind", ["dense", "quantized", "scaled"])
def test_shapes_that_do_not_fill_the_weight_are_an_error(kind):
    with pytest.raises(RuntimeError):
        splittable()[kind].split(SHAPES[:2])


@pytest.mark.parametrize("name", ["factored", "sum"])
def test_codes_that_cannot_be_split_say_so(name):
    code, _ = examples()[name]
    kind = type(code).__name__
    with pytest.raises(
        NotImplementedError, match=f"^{kind} cannot be split over several"
    ):
        code.split([code.shape])


# ---- construction ----


def test_sparse_of_a_mask_keeps_its_entries_in_order():
    weight = floats([[1.0, 2.0], [3.0, 4.0]])
    keep = torch.tensor([[[True, False], [False, True]]])
    code = Sparse.of(weight, keep)
    assert code.values.tolist() == [1.0, 4.0]
    assert code.index.tolist() == [0, 3]
    assert code.index.dtype == torch.int32
    assert code.size == (1, 2, 2)
    assert type(code.size) is tuple
    assert code.dense().tolist() == [[[1.0, 0.0], [0.0, 4.0]]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_sparse_of_each_keeps_what_of_keeps(dtype, device):
    weights = [torch.randn(shape).to(dtype) for shape in [(3, 5), (), (4,), (2, 2)]]
    masks = [weight > 0 for weight in weights]
    masks[2][:] = False
    masks[3][:] = True
    moved = [
        (weight.to(device), mask.to(device))
        for weight, mask in zip(weights, masks, strict=True)
    ]
    found = Sparse.of_each(moved)
    assert len(found) == 4
    for code, weight, mask in zip(found, weights, masks, strict=True):
        same_codes(to({"w": code}, "cpu")["w"], Sparse.of(weight, mask))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((2**31 - 1,), torch.int32),
        ((2**31,), torch.int64),
        ((2**16, 2**15), torch.int64),
    ],
)
def test_positions_beyond_32_bits_are_wide(shape, dtype):
    weight = torch.empty(1).expand(2, 2)
    keep = weight > 0

    class Large:
        """A weight of which only the size is large."""

        def __init__(self):
            self.shape = torch.Size(shape)

        def reshape(self, *_):
            return weight.reshape(-1)

        def numel(self):
            return self.shape.numel()

    assert Sparse.of(Large(), keep & False).index.dtype == dtype


@pytest.mark.parametrize(
    ("n_values", "dtype"),
    [
        (1, torch.uint8),
        (256, torch.uint8),
        (257, torch.int16),
        (2**15, torch.int16),
        (2**15 + 1, torch.int32),
    ],
)
def test_the_smallest_dtype_that_numbers_the_values(n_values, dtype):
    assert index_dtype(n_values) == dtype
    assert n_values - 1 <= torch.iinfo(dtype).max


def test_the_rank_of_factors():
    codes_ = examples()
    assert codes_["factored"][0].rank == 1
    assert codes_["factored of rank 0"][0].rank == 0
    assert codes_["factored"][0].conv_scheme == "scheme_1"


@pytest.mark.parametrize("name", NAMES)
def test_codes_are_frozen(name):
    code, _ = examples()[name]
    for field in dataclasses.fields(code):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(code, field.name, None)


@pytest.mark.parametrize("name", NAMES)
def test_codes_are_compared_and_hashed_as_objects(name):
    code, other = examples()[name][0], examples()[name][0]
    assert code == code
    assert code != other
    assert len({code, other}) == 2


def test_a_code_without_its_methods_cannot_be_made():
    class Half(Code):
        @property
        def shape(self):
            return torch.Size([1])

    with pytest.raises(TypeError, match="abstract"):
        Half()


# ---- unknown kinds ----


def test_an_unknown_kind_of_code_is_an_error_that_lists_the_known():
    header, arrays = pack({"w": Dense(floats(1.0))})
    header["codes"]["w"]["kind"] = "Fractal"
    with pytest.raises(
        ValueError,
        match=r"^Unknown kind of code 'Fractal': import .* upgrade sklc\. Known are "
        r".*Dense, .*Factored, .*Quantized, .*Scaled, .*Sparse, .*Sum.*\.$",
    ):
        unpack(header, arrays)


def test_an_unknown_kind_of_stream_is_an_error_that_lists_the_known():
    header, arrays = pack({"w": Dense(floats(1.0))})
    header["streams"]["w.weight"]["kind"] = "Huffman"
    with pytest.raises(
        ValueError,
        match=r"^Unknown kind of stream 'Huffman': import .* upgrade sklc\. Known are "
        r".*Floats, Indices, Positions\.$",
    ):
        unpack(header, arrays)


@pytest.mark.parametrize("name", ["quint8", "Tensor", "nn", "float31"])
def test_an_unknown_dtype_is_an_error_that_lists_the_known(name):
    header, arrays = pack({"w": Dense(floats(1.0))})
    header["streams"]["w.weight"]["dtype"] = name
    with pytest.raises(
        ValueError,
        match=rf"^Unknown dtype '{name}', expected one of float64, float32, float16, "
        r"bfloat16, uint8, int8, int16, int32, int64, bool, "
        r"complex64, complex128\.$",
    ):
        unpack(header, arrays)


def test_a_new_kind_of_code_is_packed_without_being_registered():
    @dataclasses.dataclass(frozen=True, eq=False)
    class Constant(Code):
        value: torch.Tensor
        size: tuple[int, ...]

        @property
        def shape(self):
            return torch.Size(self.size)

        def dense(self):
            return self.value.expand(self.shape)

        def streams(self):
            return {"value": streams.Floats(self.value)}

    theta = {"w": Constant(floats(3.0), (2, 2))}
    header, arrays = pack(theta)
    back = unpack(json.loads(json.dumps(header)), arrays)
    assert back["w"].dense().tolist() == [[3.0, 3.0], [3.0, 3.0]]
    assert nbits(theta) == 32


def test_a_kind_derived_from_another_kind_is_unpacked_as_itself():
    class Loud(Dense):
        def dense(self):
            return 10 * self.weight

    back = unpack(*pack({"w": Loud(floats(3.0))}))
    assert type(back["w"]) is Loud
    assert back["w"].dense().tolist() == [30.0]


def test_descendants_are_children_and_their_children():
    class Root:
        pass

    class Child(Root):
        pass

    class Other(Root):
        pass

    class Grandchild(Child):
        pass

    assert descendants(Root) == [Child, Other, Grandchild]
    assert descendants(Grandchild) == []


QUANTIZED = {
    "a codebook": Quantized(torch.randn(1, 3), torch.randint(0, 3, (4, 5))),
    "with a zero": Quantized(torch.randn(1, 2), torch.randint(0, 3, (4, 5)), True),
    "of channels": Quantized(torch.randn(4, 3), torch.randint(0, 3, (4, 5, 2))),
    "and a zero": Quantized(torch.randn(4, 2), torch.randint(0, 3, (4, 5)), True),
    "a scale": Scaled(
        torch.randint(0, 3, (4, 5)), torch.rand(1), (-1.0, 0.0, 2.0), "float32"
    ),
    "scales": Scaled(
        torch.randint(0, 2, (4, 5)), torch.rand(4), (-1.0, 1.0), "float32"
    ),
}


@pytest.mark.parametrize("code", QUANTIZED.values(), ids=QUANTIZED)
def test_multiplicities_are_squared_norms_of_derivatives(code):
    """Of the weight, with respect to each number that stands for many."""
    ((tensor, number),) = code.multiplicities()

    def dense(values):
        return code.map(lambda x: values if x is tensor else x).dense()

    slope = torch.autograd.functional.jacobian(dense, tensor)
    squares = slope.square().sum(tuple(range(code.index.ndim)))
    torch.testing.assert_close(number, squares)


def test_multiplicities_of_a_shared_codebook_are_those_of_all_its_weights():
    whole = QUANTIZED["and a zero"]
    (shared,) = Quantized(whole.codebook[:1], whole.index, True).split([whole.shape])
    theta = {"a": shared, "b": shared, "c": QUANTIZED["scales"]}
    found = {id(tensor): number for tensor, number in multiplicities(theta)}
    ((tensor, number),) = shared.multiplicities()
    assert len(found) == 2
    torch.testing.assert_close(found[id(tensor)], 2 * number)
