"""Small graphs written by hand, and what runs them."""

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper
from torch.nn import functional

from sklc.deploy.onnx.fragment import TYPES
from sklc.deploy.onnx.weights import compress

SHAPES = {"conv.weight": (16, 8, 5, 5), "fc.weight": (30, 144)}


def _tensor(name, value):
    flat = value.detach().contiguous().reshape(-1)
    content = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return helper.make_tensor(
        name, TYPES[value.dtype], list(value.shape), content, raw=True
    )


def graph_of(nodes, inputs, outputs, weights):
    """Return a model; inputs and outputs are (name, type, shape)."""
    return helper.make_model(
        helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info(*entry) for entry in inputs],
            [helper.make_tensor_value_info(*entry) for entry in outputs],
            [_tensor(name, weight) for name, weight in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )


def identities(weights):
    """Return a graph whose outputs are its weights."""
    outputs = [(f"out.{n}", TYPES[w.dtype], list(w.shape)) for n, w in weights.items()]
    nodes = [helper.make_node("Identity", [name], [f"out.{name}"]) for name in weights]
    return graph_of(nodes, [], outputs, weights)


def net(weights):
    """Return the graph of a convolution and a linear layer, of weights of SHAPES."""
    nodes = [
        helper.make_node("Conv", ["X", "conv.weight"], ["a"], strides=[2, 2]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("Gemm", ["c", "fc.weight"], ["variable"], transB=1),
    ]
    inputs = [("X", TYPES[torch.float32], ["N", 8, 9, 9])]
    outputs = [("variable", TYPES[torch.float32], ["N", 30])]
    return graph_of(nodes, inputs, outputs, weights)


def net_output(weights, X):
    hidden = torch.tanh(functional.conv2d(X, weights["conv.weight"], stride=2))
    return functional.linear(hidden.flatten(1), weights["fc.weight"])


def compressed(model, theta, half=False, layers=None):
    """Compress a graph in place, and check it."""
    compress(model.graph, theta, layers or {}, {}, half=half)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model, **inputs):
    """Return the outputs by name, in a default session."""
    content = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def operators_that_run(model, folder):
    """Return the operators that a default session leaves for every run."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3  # such a file is for this machine, it says
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    optimized = onnx.load(options.optimized_model_filepath)
    return {node.op_type for node in optimized.graph.node}


def error(found, wanted):
    """Return the largest difference, absolute plus relative."""
    found, wanted = np.float64(found), np.float64(wanted)
    assert found.shape == wanted.shape
    return float((np.abs(found - wanted) / (1 + np.abs(wanted))).max())
