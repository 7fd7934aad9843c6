"""Compressed models as files of ONNX."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto
from torch import Tensor

from sklc import __version__
from sklc.codes import to
from sklc.deploy.model import CompressedModel
from sklc.deploy.onnx.graphs import strip
from sklc.deploy.onnx.linear import linear_graph, linear_signature
from sklc.deploy.onnx.nets import MAX_BYTES, cast_inputs, exported, name_inputs
from sklc.deploy.onnx.outputs import add_outputs
from sklc.deploy.onnx.runtimes import warn_of_onnxruntime
from sklc.deploy.onnx.weights import compress, names_of
from sklc.files import replace
from sklc.signature import Input


def write(
    model: CompressedModel,
    path: str | os.PathLike[str],
    X: Any = None,
    *,
    values: str | None = None,
) -> None:
    """Write a compressed model to a file, see :func:`sklc.deploy.to_onnx`."""
    if values not in (None, "float16"):
        msg = f"values={values!r}: values must be None or 'float16'."
        raise ValueError(msg)
    graph = graph_of(model, X, half=values == "float16")
    replace(path, graph.SerializeToString(deterministic=True))


def graph_of(
    model: CompressedModel, X: Any = None, *, half: bool = False
) -> ModelProto:
    """Return the graph of a compressed model.

    Parameters
    ----------
    model : CompressedModel
    X : data, default=None
        Samples as the model takes them, if the signature does not say what they are.
    half : bool, default=False
        Whether floats of codes may be rounded to float16.
    """
    signature, names = model.signature, {}
    if model.is_net:
        inputs = signature.inputs if X is None else inputs_of(X)
        _check(inputs)
        warn_of_onnxruntime(model.model)
        found, names = exported(model.model, inputs), names_of(model.model)
    else:
        found = linear_graph(model.model)
        signature = linear_signature(model.model, signature)
    compress(found.graph, to(model.theta, "cpu"), model.layers, names, half=half)
    if model.is_net:
        name_inputs(found.graph, [entry.name for entry in inputs])
        cast_inputs(found.graph, signature.inputs)
    add_outputs(found, signature)
    strip(found)
    found.producer_name, found.producer_version = "sklc", __version__
    found.graph.name = type(model.model).__name__
    if found.ByteSize() > MAX_BYTES:
        msg = (
            f"The graph has {found.ByteSize():,} bytes, and a file of ONNX can hold "
            f"{MAX_BYTES:,}: export parts of the model one by one."
        )
        raise ValueError(msg)
    try:
        onnx.checker.check_model(found, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        name = type(model.model).__name__
        msg = f"What torch exports of {name} is no valid ONNX: {error}"
        raise ValueError(msg) from error
    return found


def inputs_of(X: Any) -> tuple[Input, ...]:
    """Return the inputs of a model that samples are for.

    Parameters
    ----------
    X : array, Tensor, or a dict or a list of them
    """
    if isinstance(X, Mapping):
        named = {str(name): part for name, part in X.items()}
    elif isinstance(X, list | tuple):
        named = {f"X{number}": part for number, part in enumerate(X)}
    else:
        named = {"X": X}
    found = []
    for name, part in named.items():
        array = part if isinstance(part, Tensor) else np.asarray(part)
        if not array.ndim:
            msg = f"{name} is a number: pass an array of samples."
            raise ValueError(msg)
        dtype = str(array.dtype).removeprefix("torch.")
        found.append(Input(name, tuple(array.shape[1:]), dtype))
    return tuple(found)


def _check(inputs: tuple[Input, ...]) -> None:
    if not inputs:
        msg = "The shapes of the inputs are not known: pass a few samples as X."
        raise ValueError(msg)
