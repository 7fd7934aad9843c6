"""Nets as torch exports them, compressed, in onnxruntime."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_exports import MODULES
from onnx_graphs import error

HERE = Path(__file__).parent
SLOW = {"words"}


def exported(folder, names):
    done = subprocess.run(
        [sys.executable, HERE / "onnx_exports.py", folder, *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Export all nets at once, in one process."""
    names = [*(sorted(MODULES.keys() - SLOW)), "others"]
    return exported(tmp_path_factory.mktemp("onnx"), names)


def check(path):
    """Compare the outputs for all samples, and for one; return the session."""
    session = onnxruntime.InferenceSession(path.with_suffix(".onnx"))
    wanted = np.load(path.with_suffix(".npz"))
    inputs = {entry.name: wanted[entry.name] for entry in session.get_inputs()}
    assert all(entry.shape[0] == "N" for entry in session.get_inputs())
    for n_samples in (None, 1):
        given = {name: array[:n_samples] for name, array in inputs.items()}
        for output in session.get_outputs():
            (found,) = session.run([output.name], given)
            expected = wanted[output.name][:n_samples]
            if expected.dtype.kind == "f" and output.name != "label":
                assert error(found, expected) < 1e-5
                assert found.dtype == expected.dtype
            else:
                np.testing.assert_array_equal(found, expected)
    return session


@pytest.mark.parametrize("name", sorted(MODULES.keys() - SLOW))
def test_modules(folder, name):
    session = check(folder / name)
    inputs = {entry.name for entry in session.get_inputs()}
    wanted = {"pair": {"X0", "X1"}, "words": {"words", "numbers", "mask"}}
    assert inputs == wanted.get(name, {"X"})
    assert [entry.name for entry in session.get_outputs()] == ["variable"]


@pytest.mark.parametrize("name", ["texts", "binary", "integers"])
def test_classifiers(folder, name):
    session = check(folder / name)
    assert [out.name for out in session.get_outputs()] == ["label", "probabilities"]
    types = {entry.type for entry in session.get_inputs()}
    assert types == {"tensor(int16)" if name == "integers" else "tensor(float)"}


@pytest.mark.slow
def test_recurrent_and_attentive_layers(tmp_path):
    check(exported(tmp_path, SLOW) / "words")


@pytest.mark.parametrize("name", ["scheme_1", "scheme_2", "volumes"])
def test_low_rank_layers_are_two(folder, name):
    kinds = [n.op_type for n in onnx.load(folder / f"{name}.onnx").graph.node]
    counts = {kind: kinds.count(kind) for kind in ("Conv", "ConvTranspose", "Gemm")}
    if name == "volumes":
        assert counts["Conv"] == kinds.count("MatMul") == 2
    else:
        assert counts == {"Conv": 6, "ConvTranspose": 4, "Gemm": 2}
        assert "MatMul" not in kinds  # nor is there what decompresses them


def test_nothing_is_in_a_file_that_no_runtime_needs(folder):
    for path in folder.glob("*.onnx"):
        model = onnx.load(path)
        assert not model.metadata_props
        assert not model.graph.value_info
        assert model.producer_name == "sklc"
        read = {name for node in model.graph.node for name in node.input}
        assert {held.name for held in model.graph.initializer} <= read
        for node in model.graph.node:
            assert not [*node.metadata_props, *node.name, *node.doc_string]


def test_if_torch_cannot_export_the_error_says_why(folder):
    text = (folder / "error.txt").read_text("utf-8")
    assert text.startswith("torch cannot export Chooses to ONNX for any number of")
    assert "data-dependent" in text
    assert (folder / "kept.bin").read_bytes() == b"precious"
    assert not list(folder.glob("kept.bin.*"))
    text = (folder / "invalid.txt").read_text("utf-8")
    assert text.startswith("What torch exports of Projected is no valid ONNX: ")
