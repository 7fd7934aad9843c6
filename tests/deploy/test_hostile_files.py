"""No file that was damaged, or written to do harm, is taken for a model."""

import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from compressed import SIGNATURE, codes, model_of, values
from mutants import closed, mutants, opened
from sklearn.linear_model import LogisticRegression, Ridge

import sklc
from sklc.codes import Dense, Quantized, Sparse, decompress
from sklc.deploy.model import CompressedModel
from sklc.deploy.reading import read
from sklc.deploy.writing import write
from sklc.exceptions import ModelFileError
from sklc.signature import Signature

ROOM = 1 << 22


def net():
    """Return a model with every kind of code and every coding of streams."""
    generator = torch.Generator().manual_seed(0)
    random = torch.rand(16, 25, generator=generator)
    large = torch.rand(40, 50, generator=generator)
    skewed = (large**40 * 8).to(torch.uint8)
    theta = codes() | {
        "symbols": Quantized(values(1, 8), (random**3 * 8).to(torch.uint8)),
        "pruned": Quantized(values(1, 8), skewed),
        "arranged": Sparse.of(values(40, 50), large < 0.05),
        "others": Sparse.of(values(16, 25), random < 0.9),
        "planes": Dense(values(16, 25)),
        "many": Quantized(values(1, 300), (random * 300).to(torch.int16)),
    }
    return model_of(theta, {"bias": values(5)}, SIGNATURE)


def linear(kind):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 5))
    y = np.array(["a", "b", "c"])[rng.integers(3, size=30)]
    model = kind().fit(X, y if kind is LogisticRegression else X[:, :2])
    coef = torch.from_numpy(np.array(model.coef_))
    theta = {"coef_": Sparse.of(coef, coef.abs() > 0.1)}
    model.coef_ = theta["coef_"].dense().numpy()
    rest = {"intercept_": torch.from_numpy(np.atleast_1d(model.intercept_))}
    return CompressedModel(model, theta, rest, {}, Signature())


MODELS = {
    "net": net,
    "classifier": lambda: linear(LogisticRegression),
    "regressor": lambda: linear(Ridge),
}


def attack(name, n, seed, path):
    """Load mutants; return how many were refused, and how many were models."""
    model = MODELS[name]()
    content = write(model).content
    like = read(content, ROOM).weights()
    refused = taken = 0
    for mutant in mutants(content, n, seed):
        path.write_bytes(mutant)
        try:
            if name == "net":
                found = read(mutant, ROOM, like, like)
                for key, weight in found.weights().items():
                    assert weight.shape == like[key].shape
                    assert weight.dtype.is_floating_point
                for code in found.theta.values():
                    code.validate()
            else:
                found = sklc.load(path, max_dense_bytes=ROOM)
                assert type(found) is type(model.model)
                found.predict(np.zeros((2, found.n_features_in_)))
            taken += 1
        except ModelFileError:
            refused += 1
    return refused, taken


@pytest.mark.parametrize("name", MODELS)
def test_mutants_are_refused_or_are_models(name, tmp_path):
    n = 700 if name == "net" else 250
    refused, taken = attack(name, n, 0, tmp_path / "m")
    assert refused + taken > 0.9 * n
    assert refused > 3 * taken


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("name", MODELS)
def test_many_mutants_are_refused_or_are_models(name, seed, tmp_path):
    n = 2000 if name == "net" else 400
    refused, taken = attack(name, n, seed, tmp_path / "m")
    assert refused + taken > 0.95 * n
    assert refused > 3 * taken


def test_every_flip_of_a_bit_is_seen():
    content = write(model_of({"w": Dense(values(2, 2))})).content
    for at in range(0, 8 * len(content), 7):
        mutant = bytearray(content)
        mutant[at // 8] ^= 1 << at % 8
        with pytest.raises(ModelFileError):
            read(bytes(mutant), ROOM)


def test_every_truncation_is_seen():
    content = write(model_of({"w": Dense(values(2, 2))})).content
    for end in range(0, len(content), 5):
        with pytest.raises(ModelFileError, match="is damaged, or no model of sklc"):
            read(content[:end], ROOM)
    with pytest.raises(ModelFileError, match="is damaged"):
        read(content + b"\0", ROOM)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04\x95",
        pickle.dumps({"a": 1}),
        (1 << 62).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        (200_000).to_bytes(8, "little") + b"[" * 200_000,
        (40).to_bytes(8, "little") + b'{"__metadata__":{"sklc":"{}"}}          ',
        (5006).to_bytes(8, "little") + b'{"a":' + b"9" * 5000 + b"}",
    ],
    ids=range(8),
)
def test_other_files_are_no_models(content, tmp_path):
    path = tmp_path / "m"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=f"^{path} is damaged, or no model"):
        sklc.load(path)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("executed",))


def test_nothing_is_executed(tmp_path):
    path = tmp_path / "m"
    torch.save(Trap(), path)
    with pytest.raises(ModelFileError):
        sklc.load(path)
    header, arrays = opened(write(linear(Ridge)).content)
    header["model"]["kind"] = "SGDRegressor"
    path.write_bytes(closed(header, arrays))
    with pytest.raises(ModelFileError, match="but no 'SGDRegressor'"):
        sklc.load(path)


LYING = {  # about a matrix of 40 × 50 that is kept where `arranged` is
    "shape": [1 << 40],
    "n": 1 << 50,
    "symbols": 1 << 40,
    "dtype": "int64",
}


@pytest.mark.parametrize("name", LYING)
def test_memory_is_taken_for_what_fits_only(name):
    header, arrays = opened(write(net()).content)
    entry = dict(header["codes"])["arranged"]["index"]["stream"]
    assert entry["kind"] == "Arrangement"
    entry[name] = LYING[name] if name != "dtype" else "complex128"
    mutant = closed(header, arrays)
    tracemalloc.start()
    with pytest.raises(ModelFileError):
        read(mutant, ROOM)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < ROOM


def test_a_code_that_does_not_fit_itself_is_no_code():
    def changed(name, field, make):
        header, arrays = opened(write(net()).content)
        entry = dict(header["codes"])[name]
        entry[field] = make(entry[field])
        return closed(header, arrays)

    lies = [
        ("sparse", "size", lambda _: [6, 1]),  # the module has another shape
        ("factored", "size", lambda _: [6, 4]),
        ("factored", "conv_scheme", lambda _: "scheme_3"),
        ("scaled", "levels", lambda _: [1.0, 0.0, -1.0]),
        ("scaled", "levels", lambda _: [0.0]),
        ("scaled", "dtype", lambda _: "int8"),
        ("zero", "zero", lambda _: 1),
        ("zero", "zero", lambda _: False),
        ("sum", "terms", lambda _: {"codes": []}),
    ]
    model = net()
    like = decompress(model.theta) | model.rest
    for lie in lies:
        with pytest.raises(ModelFileError):
            read(changed(*lie), ROOM, like, like)
