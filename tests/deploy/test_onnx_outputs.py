"""Predictions in a graph are those of the model."""

import re
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx_graphs import compressed, error, run
from skl2onnx import to_onnx as skl_to_onnx
from sklearn.datasets import make_classification, make_regression
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from torch import nn

from sklc import LCCompressor
from sklc.deploy import to_onnx
from sklc.deploy.onnx.fragment import TYPES
from sklc.deploy.onnx.nets import cast_inputs
from sklc.deploy.onnx.outputs import add_outputs
from sklc.deploy.onnx.runtimes import warn_of_onnxruntime
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    ConstraintL0Pruning,
    LowRank,
    Mixed,
)
from sklc.signature import Input, Signature

FLOAT = TYPES[torch.float32]


def graph(signature, *shape, name="output"):
    """Return a graph that gives its input, and predictions from it."""
    values = [
        helper.make_tensor_value_info(value, FLOAT, ["N", *shape])
        for value in ("X", name)
    ]
    node = helper.make_node("Identity", ["X"], [name])
    made = helper.make_graph([node], "graph", values[:1], values[1:])
    opset = [helper.make_opsetid("", 21)]
    model = helper.make_model(made, opset_imports=opset, ir_version=10)
    add_outputs(model, signature)
    onnx.checker.check_model(model, full_check=True)
    return model


Z = np.random.default_rng(0).standard_normal((20, 3)).astype("float32")
SIGMOID = 1 / (1 + np.exp(-Z[:, 0]))
SOFTMAX = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)
ARGMAX = {"activation": "softmax", "decision": "argmax"}


@pytest.mark.parametrize(
    "classes",
    [
        *(None, np.array([0, 1, 2]), np.array([3, -1, 10], dtype=np.int16)),
        *(np.array(["b", "ä", ""]), np.array(["b", "a", "c"], dtype=object)),
        np.array([0.0, 0.5, 2.0], dtype=np.float32),
    ],
    ids=str,
)
def test_the_largest_is_the_label(classes):
    found = run(graph(Signature(**ARGMAX, classes=classes), 3), X=Z)
    labels = Z.argmax(1) if classes is None else classes[Z.argmax(1)]
    np.testing.assert_array_equal(found["label"], labels)
    if classes is None or classes.dtype.kind == "i":
        assert found["label"].dtype == np.int64
    assert error(found["probabilities"], SOFTMAX) < 1e-6


@pytest.mark.parametrize("activation", ["sigmoid_pair", "pair"])
@pytest.mark.parametrize("shape", [(1,), ()])
def test_a_threshold_decides(activation, shape):
    signature = Signature(
        *((), activation, "threshold", 0.3),
        flat=True,
        classes=np.array([False, True]),
    )
    given = Z[:, 0] if activation == "sigmoid_pair" else SIGMOID
    found = run(graph(signature, *shape), X=given.reshape(20, *shape))
    np.testing.assert_array_equal(found["label"], SIGMOID > 0.3)
    assert found["label"].dtype == np.bool_
    assert error(found["probabilities"], np.stack([1 - SIGMOID, SIGMOID], 1)) < 1e-6
    numbers = graph(replace(signature, classes=None), *shape)
    label = run(numbers, X=given.reshape(20, *shape))["label"]
    np.testing.assert_array_equal(label, SIGMOID > 0.3)
    assert label.dtype == np.int64


def test_numbers_have_the_shape_of_predictions():
    flat = run(graph(Signature(shape="flat"), 1), X=Z[:, :1])["variable"]
    np.testing.assert_array_equal(flat, Z[:, 0])
    column = run(graph(Signature(shape="column")), X=Z[:, 0])["variable"]
    np.testing.assert_array_equal(column, Z[:, :1])
    for shape in ("", "column"):
        same = run(graph(Signature(shape=shape), 3), X=Z)["variable"]
        np.testing.assert_array_equal(same, Z)


def test_labels_of_places_are_numbers():
    X = np.random.default_rng(0).standard_normal((4, 3, 5)).astype("float32")
    signature = Signature(**ARGMAX, classes=np.array(["a", "b", "c"]))
    found = run(graph(signature, 3, 5), X=X)
    shares = np.exp(X) / np.exp(X).sum(-1, keepdims=True)
    np.testing.assert_array_equal(found["label"], shares.argmax(1))
    pair = Signature(activation="pair")
    found = run(graph(pair, 3), X=Z)["variable"]
    assert error(found, np.stack([1 - Z, Z], 1)) < 1e-6


@pytest.mark.parametrize("name", ["label", "probabilities", "variable"])
def test_values_of_the_graph_may_have_the_names_of_outputs(name):
    found = run(graph(Signature(**ARGMAX), 3, name=name), X=Z)
    np.testing.assert_array_equal(found["label"], Z.argmax(1))
    assert error(found["probabilities"], SOFTMAX) < 1e-6


def test_inputs_keep_their_names_and_outputs_give_way():
    values = [
        helper.make_tensor_value_info(name, FLOAT, ["N", 3])
        for name in ("label", "label_", "variable")
    ]
    node = helper.make_node("Add", ["label", "label_"], ["variable"])
    made = helper.make_graph([node], "graph", values[:2], values[2:])
    opset = [helper.make_opsetid("", 21)]
    model = helper.make_model(made, opset_imports=opset, ir_version=10)
    message = "The output is called 'label__': 'label' is an input already"
    with pytest.warns(UserWarning, match=message):
        add_outputs(model, Signature(**ARGMAX))
    onnx.checker.check_model(model, full_check=True)
    found = run(model, label=Z, label_=np.zeros_like(Z))
    np.testing.assert_array_equal(found["label__"], Z.argmax(1))
    assert error(found["probabilities"], SOFTMAX) < 1e-6


@pytest.mark.parametrize("dtype", ["int32", "int16", "int8", "uint8", "bool"])
def test_integers_are_taken_as_the_fit_got_them(dtype):
    model = graph(Signature(), 3)
    kind = TYPES[torch.int64]
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.elem_type = kind
    cast_inputs(model.graph, [Input("X", (3,), "int64", dtype)])
    onnx.checker.check_model(model, full_check=True)
    X = np.arange(6).reshape(2, 3).astype(dtype)
    np.testing.assert_array_equal(run(model, X=X)["variable"], X.astype(np.int64))


def test_floats_are_taken_as_the_net_gets_them():
    model = graph(Signature(), 3)
    before = model.SerializeToString()
    cast_inputs(model.graph, [Input("X", (3,), "float32", "float64")])
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("layer", "what"),
    [
        (nn.LSTM(5, 7, proj_size=5), "LSTM with proj_size"),
        (nn.EmbeddingBag(5, 7), "EmbeddingBag of mode 'mean', which crashes it"),
        (
            nn.ConvTranspose1d(3, 4, 3, stride=2, output_padding=2, dilation=3),
            "output_padding that is not below stride",
        ),
        (nn.Linear(3, 4).bfloat16(), "bfloat16"),
    ],
)
def test_of_what_onnxruntime_cannot_run_it_is_said_by_name(layer, what):
    fine = (nn.LSTM(5, 7), nn.EmbeddingBag(5, 7, mode="sum"), nn.Linear(3, 4))
    warn_of_onnxruntime(nn.Sequential(*fine))
    with pytest.warns(UserWarning, match=f"on a CPU: 3 \\({re.escape(what)}\\)"):
        warn_of_onnxruntime(nn.Sequential(*fine, layer))


@pytest.mark.parametrize("part", ["activation", "decision"])
def test_of_what_is_the_users_own_the_output_is_exported(part):
    with pytest.warns(UserWarning, match="is code of its own, which is not exported"):
        model = graph(Signature(**{part: "custom"}), 3)
    np.testing.assert_array_equal(run(model, X=Z)["variable"], Z)


def test_labels_that_onnx_does_not_have():
    classes = np.array(["a", 1, None], dtype=object)
    with pytest.raises(TypeError, match=r"has no labels such as \['a', 1, None\]"):
        graph(Signature(**ARGMAX, classes=classes), 3)


# ---- linear models ----

SCHEMES = {
    "codes": AdaptiveQuantization(k=3),
    "channels": AdaptiveQuantization(k=2, zero=True, granularity="channel"),
    "few": ConstraintL0Pruning(kappa=0.1),
    "low": LowRank(rank=1),
    "sum": Additive([("a", LowRank(rank=1)), ("b", ConstraintL0Pruning(kappa=9))]),
    "intercept": Mixed(
        [("a", AdaptiveQuantization(k=2), "coef_"), ("b", ConstraintL0Pruning(1), "i*")]
    ),
}
MODELS = {
    "many": (LogisticRegression(), 3, np.array(["ä", "b", "c"])),
    "two": (LogisticRegression(), 2, np.array([7, 3])),
    "no intercept": (LogisticRegression(fit_intercept=False), 2, np.array([-1.0, 2.0])),
    "row": (Ridge(), None, 1),
    "rows": (Ridge(alpha=np.array([1.0, 2.0, 3.0])), None, 3),
    "least squares": (LinearRegression(), None, 2),
}


PAIRS = {(name, scheme) for name in MODELS for scheme in SCHEMES}


@pytest.mark.parametrize(
    ("name", "scheme"), sorted(PAIRS - {("no intercept", "intercept")})
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_linear_models(name, scheme, tmp_path):
    model, n_classes, facts = MODELS[name]
    if n_classes:
        options = {"n_features": 200, "n_informative": 20, "random_state": 0}
        X, y = make_classification(120, n_classes=n_classes, **options)
        y = facts[y]
    else:
        X, y = make_regression(120, 200, n_targets=facts, random_state=0)
    lc = LCCompressor(model, SCHEMES[scheme], max_iter=0).fit(X, y)
    path = tmp_path / "model.onnx"
    lc.to_onnx(path)
    found = run(path.read_bytes(), X=X)
    options = {"zipmap": False} if n_classes else {}
    content = skl_to_onnx(lc.estimator_, X[:1], options=options)
    referee = run(content, X=X)
    if n_classes:
        np.testing.assert_array_equal(found["label"], lc.predict(X))
        np.testing.assert_array_equal(found["label"], referee["label"])
        assert found["probabilities"].dtype == np.float64
        assert error(found["probabilities"], lc.predict_proba(X)) < 1e-12
        assert error(found["probabilities"], referee["probabilities"]) < 1e-5
    else:
        assert error(found["variable"], lc.predict(X)) < 1e-12
        wanted = referee["variable"].reshape(found["variable"].shape)
        assert error(found["variable"], wanted) < 1e-12


def test_linear_models_are_small_too(tmp_path):
    X, y = make_regression(60, 5000, random_state=0)
    lc = LCCompressor(Ridge(), AdaptiveQuantization(k=2), max_iter=0).fit(X, y)
    lc.to_onnx(tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").stat().st_size < 5000 / 8 + 700
    lc = LCCompressor(Ridge(), ConstraintL0Pruning(0.05), max_iter=0).fit(X, y)
    lc.to_onnx(tmp_path / "exact.onnx")
    lc.to_onnx(tmp_path / "half.onnx", values="float16")
    exact, half = (tmp_path / name for name in ("exact.onnx", "half.onnx"))
    assert half.stat().st_size < exact.stat().st_size - 6 * 250 + 100
    wanted = X @ lc.estimator_.coef_.astype(np.float16).astype(float)
    wanted += lc.estimator_.intercept_
    assert error(run(half.read_bytes(), X=X)["variable"], wanted) < 1e-12


# ---- what cannot be ----


def test_what_is_wrong_is_said_before_anything_is_written(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    with pytest.raises(ValueError, match=r"^values='int8': values must be None or"):
        to_onnx(nn.Linear(2, 2), path, torch.zeros(1, 2), values="int8")
    with pytest.raises(ValueError, match=r"pass a few samples as X\.$"):
        to_onnx(nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match=r"^X0 is a number: pass an array of samples"):
        to_onnx(nn.Linear(2, 2), path, [1.0])
    huge = nn.Linear(2**15, 2**15, device="meta")
    with pytest.raises(ValueError, match=r"^Linear has 4,295,098,368 bytes before it"):
        to_onnx(huge, path, torch.zeros(1, 2**15))
    monkeypatch.delitem(sys.modules, "sklc.deploy.onnx.export")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"^onnx is not installed: pip install"):
        to_onnx(nn.Linear(2, 2), path, torch.zeros(1, 2))
    assert not list(tmp_path.iterdir())


def test_a_graph_without_codes_is_as_it_was():
    model = graph(Signature(**ARGMAX), 3)
    before = model.SerializeToString()
    assert compressed(model, {}).SerializeToString() == before
