"""What is written is read, equal to the last bit, and as small as it is said to be."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from cases import COMPOSITIONS, DTYPES, LEAVES, SETTINGS, SMALL, draw, name_of, uses
from compressed import SIGNATURE, codes, model_of, module_of, values
from safetensors import safe_open

import sklc
from sklc.codes import (
    Code,
    Dense,
    Factored,
    Quantized,
    Sparse,
    Sum,
    decompress,
    nbits,
    to,
)
from sklc.codes.streams import Floats
from sklc.codes.theta import trainable
from sklc.deploy.container import parse, to_bytes
from sklc.deploy.reading import read
from sklc.deploy.saving import save, sized
from sklc.deploy.writing import write
from sklc.exceptions import ModelFileError

EVERYTHING = 1 << 30


def contents(model, **options):
    written = write(model, **options)
    return written, read(written.content, EVERYTHING)


def n_streams(theta):
    streams = [s for code in theta.values() for s in code.streams().values()]
    return len({id(stream.tensor) for stream in streams})


@pytest.mark.parametrize("dtype", DTYPES[1:3], ids=name_of)
@pytest.mark.parametrize("scheme", LEAVES + SETTINGS + COMPOSITIONS, ids=name_of)
def test_every_scheme_is_read_as_it_was_written(scheme, dtype):
    weights = draw(SMALL, dtype)
    theta = scheme.compress(weights, mu=1.0, layers=uses(weights))
    rest = {"conv.bias": values(2, dtype=dtype)}
    model = model_of(theta, rest)
    written, found = contents(model)
    assert written.content == write(model).content
    assert list(found.theta) == list(theta)
    for name, weight in {**decompress(theta), **rest}.items():
        assert torch.equal(found.weights()[name], weight)
        assert found.weights()[name].dtype == dtype
    payload = sum(written.n_bytes[name] for name in theta)
    assert payload <= nbits(theta) / 8 + n_streams(theta)


def test_codes_come_from_any_device_and_may_be_trained(device):
    theta = codes()
    moved = trainable(to(theta, device))
    model = dataclasses.replace(model_of(theta), theta=moved)
    assert write(model).content == write(model_of(theta)).content
    assert sized(model) == sized(model_of(theta))


def test_codes_are_the_same_codes_and_share_what_they_shared():
    theta = codes()
    _, found = contents(model_of(theta))
    for name, code in theta.items():
        other = found.theta[name]
        assert type(other) is type(code)
        for own, read_ in zip(code.tensors(), other.tensors(), strict=True):
            assert torch.equal(own, read_)
            assert own.dtype == read_.dtype
    assert found.theta["shared"].codebook is found.theta["quantized"].codebook
    assert found.theta["sum"].terms["codes"].codebook is not found.theta["quantized"]
    assert list(found.theta["sum"].terms) == ["rest", "codes"]


EXTREMES = {
    "nothing kept": Sparse(values(0), torch.empty(0, dtype=torch.int32), (3, 5)),
    "all kept": Sparse(values(15), torch.arange(15, dtype=torch.int32), (3, 5)),
    "one weight": Dense(values(1, 1)),
    "rank 0": Factored(values(3, 0), values(0, 5), (3, 5)),
    "one value": Quantized(values(1, 1), torch.zeros(3, 5, dtype=torch.uint8)),
    "nothing but zero": Quantized(
        values(1, 0), torch.zeros(3, 5, dtype=torch.uint8), zero=True
    ),
    "more values than weights": Quantized(
        values(1, 300), torch.tensor([[299, 0]], dtype=torch.int16)
    ),
    "not finite": Dense(torch.tensor([[float("nan"), -float("inf"), -0.0]])),
    "no weights": Dense(values(0, 5)),
    "constant": Dense(torch.full((40, 50), 0.1)),
    "transposed": Dense(values(30, 40).T),
    "nested": Sum({"a": Sum({"b": Dense(values(3, 5))}), "c": Dense(values(3, 5))}),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_codes(name):
    code = EXTREMES[name]
    _, found = contents(model_of({"w": code}))
    weight = found.theta["w"].dense()
    np.testing.assert_array_equal(weight.numpy(), code.dense().numpy())
    assert torch.equal(weight.signbit(), code.dense().signbit())


@pytest.mark.parametrize(
    "dtype",
    [
        *DTYPES,
        *(torch.bool, torch.uint8, torch.int64, torch.int8, torch.int16, torch.int32),
        *(torch.complex64, torch.complex128),
    ],
    ids=name_of,
)
@pytest.mark.parametrize("n", [0, 1, 500])
def test_buffers_of_any_dtype(dtype, n):
    tensor = (3 * values(n, 2, dtype=torch.float64)).to(dtype)
    _, found = contents(model_of({}, {"buffer": tensor}))
    assert torch.equal(found.rest["buffer"], tensor)
    assert found.rest["buffer"].dtype == dtype


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: torch.zeros(3).to(torch.float8_e4m3fn), "float8_e4m3fn"),
        (lambda: torch.eye(3).to_sparse(), "sparse_coo"),
        (lambda: torch.eye(3).to_sparse_csr(), "sparse_csr"),
    ],
)
def test_a_buffer_that_is_not_read_is_not_written(make, what):
    model = dataclasses.replace(model_of({}), rest={"stats.seen": make()})
    with pytest.raises(TypeError, match=rf"stats\.seen cannot be saved: .*{what}"):
        write(model)


def test_factors_that_take_more_than_the_matrix_are_written_as_the_matrix():
    code = Factored(values(4, 3), values(3, 4), (4, 4))
    nested = Sum({"low": code, "rest": Dense(values(4, 4, seed=1))})
    theta = {"w": code, "sum": nested}
    written, found = contents(model_of(theta))
    assert isinstance(found.theta["w"], Dense)
    assert isinstance(found.theta["sum"].terms["low"], Dense)
    for name in theta:
        assert torch.equal(found.theta[name].dense(), theta[name].dense())
    assert written.n_bytes["w"] <= 4 * 16
    fits = Factored(values(4, 1), values(1, 4), (4, 4))
    assert isinstance(contents(model_of({"w": fits}))[1].theta["w"], Factored)


# ---- narrower values ----


def pays(tensor):
    """Whether a tensor is so long that what it saves is more than what says so."""
    return 2 * tensor.numel() > 24


def test_few_values_are_left_as_they_are():
    theta = {"w": Quantized(values(1, 2), torch.randint(0, 2, (90, 90)))}
    full, half = (write(model_of(theta), v) for v in (None, "float16"))
    assert half.change["w"] == 0
    assert len(half.content) == len(full.content)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_values_are_rounded_and_nothing_else(dtype):
    theta, rest = codes() | {"long": Dense(values(9, 9))}, {"bias": values(70)}
    written, found = contents(model_of(theta, rest), values=dtype)
    narrow = getattr(torch, dtype)
    for name, code in theta.items():
        rounded = code.map(
            lambda t: t.to(narrow).to(t) if t.is_floating_point() and pays(t) else t
        )
        assert torch.equal(found.theta[name].dense(), rounded.dense())
        assert found.theta[name].dense().dtype == torch.float32
        away = rounded.dense().double() - code.dense().double()
        change = away.norm() / code.dense().double().norm()
        assert written.change[name] == pytest.approx(float(change), rel=1e-6)
    assert max(written.change.values()) > 1e-5
    assert torch.equal(found.rest["bias"], rest["bias"])
    assert found.theta["shared"].codebook is found.theta["quantized"].codebook


def test_values_take_half_the_room_and_never_more():
    theta = {"w": Dense(values(64, 64))}
    full, half = (write(model_of(theta), v).n_bytes["w"] for v in (None, "float16"))
    assert half < 0.55 * full
    narrow = {"w": Dense(values(64, 64, dtype=torch.float16))}
    written = write(model_of(narrow), "bfloat16")  # no narrower: left as they are
    assert written.change["w"] == 0
    assert torch.equal(written.theta["w"].dense(), narrow["w"].dense())


def test_values_that_do_not_fit_are_refused_or_warned_of():
    large, tiny = ({"fc": Dense(values(30, 30) * scale)} for scale in (1e6, 1e-7))
    with pytest.raises(ValueError, match=r"cannot hold a value of fc, .* 'bfloat16'"):
        write(model_of(large), "float16")
    with pytest.warns(UserWarning, match=r"changes fc by \d+\.\d+%"):
        write(model_of(tiny), "float16")
    assert write(model_of(large), "bfloat16").change["fc"] < 4e-3
    with pytest.raises(ValueError, match="must be 'float16', 'bfloat16' or None"):
        write(model_of(large), "int8")


# ---- the file ----


def test_a_file_is_safetensors_with_one_canonical_key(tmp_path):
    path = tmp_path / "model.sklc"
    save(model_of(codes(), {"bias": values(7)}, SIGNATURE), path)
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert list(metadata) == ["sklc"]
    assert {array.dtype.name for array in arrays.values()} == {"uint8"}
    header = json.loads(metadata["sklc"])
    canonical = json.dumps(header, sort_keys=True, separators=(",", ":"))
    assert metadata["sklc"] == canonical
    assert metadata["sklc"].isascii()
    assert header["format"] == 1
    assert header["libraries"]["torch"] == torch.__version__
    assert header["signature"]["activation"] == "softmax"
    assert header["signature"]["classes"]["values"] == ["no", "yes", "ünsure"]
    assert dict(header["codes"])["zero"]["kind"] == "Quantized"
    assert "bias" in arrays
    assert "sum.codes.index" in arrays


def test_names_that_would_collide_do_not():
    sums = Sum({"b": Dense(values(2, 2, seed=1)), "c": Dense(values(2, 2, seed=2))})
    theta = {"a": sums, "a.b": Dense(values(2, 2, seed=3))}
    rest = {"a.b.weight": values(2, seed=4)}
    written = write(dataclasses.replace(model_of({}, {}), theta=theta, rest=rest))
    found = read(written.content, EVERYTHING)
    for name, weight in {**decompress(theta), **rest}.items():
        assert torch.equal(found.weights()[name], weight)


def test_names_may_be_any_text():
    theta = {'größe/ "x".weight': Dense(values(2, 2))}
    _, found = contents(dataclasses.replace(model_of({}), theta=theta))
    assert list(found.theta) == list(theta)


@dataclasses.dataclass(frozen=True, eq=False)
class TwiceTheFloats(Code):
    """A kind of code that nobody has heard of."""

    half: torch.Tensor

    @property
    def shape(self):
        return self.half.shape

    def dense(self):
        return 2 * self.half

    def streams(self):
        return {"half": Floats(self.half)}


def test_a_new_kind_of_code_needs_no_new_format():
    theta = {
        "w": TwiceTheFloats(values(3, 3)),
        "s": Sum({"d": TwiceTheFloats(values(3, 3))}),
    }
    _, found = contents(model_of(theta))
    assert isinstance(found.theta["w"], TwiceTheFloats)
    assert torch.equal(found.theta["s"].dense(), theta["s"].dense())


def test_writing_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / "model.sklc"
    save(model_of(codes()), path)
    before = path.read_bytes()

    def full(*_):
        msg = "no space left"
        raise OSError(msg)

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="no space left"):
            save(model_of({"w": Dense(values(2, 2))}), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.sklc"]


def test_memory_is_bounded():
    nowhere = torch.empty(0, dtype=torch.int32)
    theta = {"w": Sparse(values(0), nowhere, (1 << 20, 1 << 20))}
    content = write(dataclasses.replace(model_of({}), theta=theta)).content
    with pytest.raises(ModelFileError, match="more memory than max_dense_bytes allows"):
        read(content, EVERYTHING)


def test_no_room_is_left_between_versions(tmp_path):
    path = tmp_path / "m"
    content = write(model_of({"w": Dense(values(2, 2))})).content
    newer = content.replace(b'\\"format\\":1,', b'\\"format\\":7,')
    assert newer != content
    path.write_bytes(newer)
    with pytest.raises(ModelFileError, match=r"has format 7, .* up to 1: upgrade sklc"):
        sklc.load_into(module_of({"w": values(2, 2)}), path)


def test_an_unknown_kind_of_code_says_what_to_do(tmp_path):
    path = tmp_path / "m"
    header, arrays = parse(write(model_of({"w": TwiceTheFloats(values(2, 2))})).content)
    header["codes"][0][1]["kind"] = "Vanishing"
    path.write_bytes(to_bytes(header, arrays))
    with pytest.raises(ModelFileError, match="import the module that defines it first"):
        sklc.load_into(module_of({"w": values(2, 2)}), path)
