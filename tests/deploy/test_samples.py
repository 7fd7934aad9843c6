"""A net out of a file takes the samples that the compressor takes, and no others."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch import nn
from torch.utils.data import TensorDataset

import sklc
from sklc import LCCompressor
from sklc.deploy.predictor import Predictor
from sklc.exceptions import UselessResultWarning
from sklc.schemes import AdaptiveQuantization
from sklc.signature import Input, Signature

rng = np.random.default_rng(0)
X = rng.standard_normal((20, 6)).astype("float32")
y = np.arange(20) % 3
FRAME = pd.DataFrame(X, columns=list("abcdef"))


def architecture():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def loaded(path, samples):
    """Return a compressor, and what is loaded of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UselessResultWarning)
        lc = LCCompressor(architecture(), AdaptiveQuantization(k=3), max_iter=0)
        lc.fit(samples, y)
    lc.save(path)
    return lc, sklc.load(path, architecture())


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("samples") / "m", X)


def having(value):
    new = X.copy()
    new[3, 2] = value
    return new


FORMS = {
    "negative strides": X[::-1],
    "columns in the other order": X[:, ::-1],
    "Fortran": np.asfortranarray(X),
    "big-endian": X.astype(">f4"),
    "wide": X.astype(np.longdouble),
    "objects": X.astype(object),
    "texts of numbers": X.astype(str).astype(object),
    "whole numbers": (3 * X).astype("uint16"),
    "truth": X > 0,
    "rows": list(X),
    "rows that are tensors": list(torch.from_numpy(X)),
    "lists": X.tolist(),
    "tuples": tuple(map(tuple, X.tolist())),
    "frame": FRAME,
    "frame of objects": FRAME.astype(object),
    "nullable frame": FRAME.astype("Float64"),
    "read only": np.frombuffer(X.tobytes(), "f4").reshape(X.shape),
    "tensor with a gradient": torch.from_numpy(X.copy()).requires_grad_(),
}


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize("name", FORMS)
def test_what_the_compressor_takes_is_taken(name, pair):
    lc, found = pair
    plain = FORMS[name]
    if name == "columns in the other order":
        plain = plain.copy()
    expected = lc.predict_proba(plain)
    np.testing.assert_array_equal(found.predict_proba(FORMS[name]), expected)


REFUSED = {
    "NaN": (having(np.nan), ValueError, "^Input X contains NaN"),
    "infinity": (having(-np.inf), ValueError, "^Input X contains infinity or a value"),
    "NaN in a list": (having(np.nan).tolist(), ValueError, "^Input X contains NaN"),
    "NaN of objects": (having(np.nan).astype(object), ValueError, "contains NaN"),
    "few columns": (
        X[:, :5],
        ValueError,
        r"shape \(n_samples, 6\), but it has \(20, ",
    ),
    "no dimension of samples": (X[0], ValueError, r"but it has \(6,\).* pass X=\[x\]"),
    "more dimensions": (X[None], ValueError, r"but it has \(1, 20, 6\)"),
    "a number": (3.0, ValueError, r"but it has \(\)"),
    "a tensor of one": (torch.tensor(X[0]), ValueError, r"but it has \(6,\)"),
    "tensor": (
        torch.tensor(X[:, :5]),
        ValueError,
        r"take X of shape \(20, 5\)",
    ),
    "sparse": (sparse.csr_matrix(X), TypeError, r"X is sparse.* pass X.toarray\(\)"),
    "sparse tensor": (torch.tensor(X).to_sparse(), TypeError, r"pass X.to_dense\(\)"),
    "data set": (TensorDataset(torch.tensor(X)), TypeError, "X is a TensorDataset: pa"),
    "texts": (X.astype(str), ValueError, "X has no real numbers, but <U"),
    "words": ([["a"] * 6], ValueError, "X has no real numbers, but <U1"),
    "complex": (X.astype(complex), ValueError, "no real numbers, but complex128"),
    "nothing": (None, ValueError, r"but it has \(\)"),
    "ragged": ([[1, 2], [3]], ValueError, "X is no array of numbers"),
    "no samples": (X[:0], ValueError, "X must have samples"),
    "an empty list": ([], ValueError, "X must have"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_sample_is_refused_in_clear_words(name, pair):
    samples, error, message = REFUSED[name]
    for predict in pair[1].predict, pair[1].predict_proba:
        with pytest.raises(error, match=message):
            predict(samples)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", object])
def test_what_is_not_finite_is_refused_in_the_same_words(value, dtype, pair):
    said = []
    for model in pair:
        with pytest.raises(ValueError, match="Input X") as caught:
            model.predict(having(value).astype(dtype))
        said.append(str(caught.value).split("\n")[0])
    assert said[0] == said[1]


def test_names_of_columns_are_those_of_the_fit(tmp_path):
    lc, found = loaded(tmp_path / "m", FRAME)
    assert found.signature_.columns == tuple("abcdef")
    np.testing.assert_array_equal(found.predict(FRAME), lc.predict(FRAME))
    for form in X, X.tolist(), torch.from_numpy(X), pd.DataFrame(X):
        np.testing.assert_array_equal(found.predict(form), lc.predict(FRAME))
    for other in (
        FRAME[list("fedcba")],
        FRAME.rename(columns={"a": "z"}),
        FRAME.assign(g=1),
        FRAME[list("abc")],
    ):
        for model in lc, found:
            with pytest.raises(ValueError, match="names should match those that were"):
                model.predict(other)
    with pytest.raises(ValueError, match=r"X has \['g'\] besides them, and lacks"):
        found.predict(FRAME.rename(columns={"a": "g"}))
    with pytest.raises(ValueError, match=r"another order: pass X\[\['a', 'b',"):
        found.predict(FRAME[list("fedcba")])
    with pytest.raises(ValueError, match="Input X contains NaN"):
        found.predict(FRAME.assign(a=np.nan))


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(1, 3), nn.Linear(1, 3)

    def forward(self, left, right):
        return self.a(left) + self.b(right)


@pytest.mark.filterwarnings("ignore::sklc.exceptions.UselessResultWarning")
def test_names_of_columns_are_those_of_inputs_too(tmp_path):
    frame = pd.DataFrame({"right": X[:, 0], "left": X[:, 1]})
    lc = LCCompressor(Sum(), AdaptiveQuantization(k=2), max_iter=0).fit(frame, y)
    lc.save(tmp_path / "m")
    found = sklc.load(tmp_path / "m", Sum)
    expected = lc.predict_proba(frame)
    np.testing.assert_array_equal(found.predict_proba(frame), expected)
    for model in lc, found:
        with pytest.raises(ValueError, match="names should match those that were"):
            model.predict(frame[["left", "right"]])


def test_what_was_fitted_on_tensors_takes_what_they_may_hold(tmp_path):
    lc, found = loaded(tmp_path / "m", torch.from_numpy(X))
    assert found.signature_.columns is None
    np.testing.assert_array_equal(
        found.predict_proba(having(np.nan)), lc.predict_proba(having(np.nan))
    )
    with pytest.raises(ValueError, match=r"take X of shape \(20, 5\) instead"):
        found.predict(X[:, :5])


def test_sequences_have_any_length():
    bag = nn.EmbeddingBag(9, 3)
    found = Predictor(bag, Signature((Input("X", (4,), "int64"),), decision="argmax"))
    for length in 4, 7:
        tokens = np.arange(2 * length).reshape(2, length) % 9
        expected = bag(torch.from_numpy(tokens)).argmax(1)
        np.testing.assert_array_equal(found.predict(tokens), expected)


@pytest.mark.parametrize("size", [0, -1, 2.5, None])
def test_batches_have_samples(size, pair):
    found = Predictor(pair[1].module_, pair[1].signature_, batch_size=size)
    with pytest.raises(ValueError, match=r"batch_size must be an int of at least 1"):
        found.predict(X)


def test_scores_need_as_many_of_each(pair):
    found = pair[1]
    for wrong in y[:5], np.c_[y, y], 1, y[None]:
        with pytest.raises(ValueError, match=r"shape \(20,\), but y has"):
            found.score(X, wrong)
    for wrong in np.ones(5), np.ones((20, 1)), 1.0:
        with pytest.raises(ValueError, match=r"and sample_weight .*: pass as many"):
            found.score(X, y, sample_weight=wrong)
    numbers = Predictor(architecture(), Signature())
    with pytest.raises(ValueError, match=r"shape \(20, 3\), but y has \(20,\)"):
        numbers.score(X, y)


def test_the_activation_is_a_function(tmp_path):
    loaded(tmp_path / "m", X)
    with pytest.raises(TypeError, match=r"activation must be a function.* 'softmax'"):
        sklc.load(tmp_path / "m", architecture(), activation="softmax")
