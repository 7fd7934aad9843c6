"""From the output of a model to predictions, as the end of a graph."""

from typing import Any

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper

from sklc.deploy.onnx.fragment import DTYPES, TYPES, Fragment
from sklc.deploy.onnx.graphs import make_free, names_in
from sklc.exceptions import warn
from sklc.signature import Signature

LABEL, PROBABILITIES, VARIABLE = "label", "probabilities", "variable"
_INT64 = TensorProto.INT64
_CLASSES = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}


def add_outputs(model: ModelProto, signature: Signature) -> None:
    """Make predictions the outputs of a graph whose output is that of the model.

    They are called ``label`` and ``probabilities``, or ``variable``. Inputs keep their
    names: an output gets another one if an input is called so.
    """
    graph = model.graph
    names = _names({value.name for value in graph.input})
    make_free(graph, names.values())
    (raw,) = graph.output
    kind = raw.type.tensor_type.elem_type
    dims = [_size(dim) for dim in raw.type.tensor_type.shape.dim]
    fragment = Fragment(names_in(graph))
    del graph.output[:]

    def give(role: str, value: str, kind: int, dims: list[Any]) -> None:
        name = names[role]
        if name != role:
            warn(f"The output is called {name!r}: {role!r} is an input already.")
        fragment.put("Identity", [value], name)
        graph.output.append(helper.make_tensor_value_info(name, kind, dims))

    if "custom" in (signature.activation, signature.decision):
        msg = (
            "How the net turns its output into predictions is code of its own, which "
            f"is not exported: {names[VARIABLE]!r} is the output of the module."
        )
        warn(msg)
        give(VARIABLE, raw.name, kind, dims)
    else:
        value = raw.name
        if signature.flat:
            value, dims = fragment.add("Reshape", value, fragment.ints(-1)), dims[:1]
        value, dims = _activated(fragment, signature, value, kind, dims)
        if signature.decision == "output":
            value, dims = _shaped(fragment, signature.shape, value, dims)
            give(VARIABLE, value, kind, dims)
        else:
            found, own = _decided(fragment, signature, value, kind, len(dims))
            give(LABEL, found, own, [dims[0], *dims[2:]])
            give(PROBABILITIES, value, kind, dims)
    graph.node.extend(fragment.nodes)
    graph.initializer.extend(fragment.initializers)


def _names(taken: set[str]) -> dict[str, str]:
    """Return the names of outputs, by what they are."""
    found = {}
    for role in (LABEL, PROBABILITIES, VARIABLE):
        name = role
        while name in taken:
            name += "_"
        found[role] = name
    return found


def _size(dim: Any) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param or None


def _activated(
    fragment: Fragment, signature: Signature, value: str, kind: int, dims: list[Any]
) -> tuple[str, list[Any]]:
    """Add probabilities; return their name and shape."""
    if signature.activation == "softmax":
        return fragment.add("Softmax", value, axis=-1), dims
    if signature.activation == "identity":
        return value, dims
    if signature.activation == "sigmoid_pair":
        value = fragment.add("Sigmoid", value)
    one = fragment.tensor(torch.tensor(1.0, dtype=DTYPES[kind]))
    axis = fragment.ints(1)
    pair = [
        fragment.add("Unsqueeze", part, axis)
        for part in (fragment.add("Sub", one, value), value)
    ]
    return fragment.add("Concat", *pair, axis=1), [dims[0], 2, *dims[1:]]


def _shaped(
    fragment: Fragment, shape: str, value: str, dims: list[Any]
) -> tuple[str, list[Any]]:
    """Add numbers in the shape of predictions; return their name and shape."""
    if shape == "flat" and len(dims) == 2:
        first = fragment.tensor(torch.tensor(0))
        return fragment.add("Gather", value, first, axis=1), dims[:1]
    if shape == "column" and len(dims) == 1:
        return fragment.add("Unsqueeze", value, fragment.ints(1)), [*dims, 1]
    return value, dims


def _decided(
    fragment: Fragment, signature: Signature, value: str, kind: int, n_dims: int
) -> tuple[str, int]:
    """Add labels; return their name and type."""
    if signature.decision == "argmax":
        number = fragment.add("ArgMax", value, axis=1, keepdims=0)
    else:
        second = fragment.add("Gather", value, fragment.tensor(torch.tensor(1)), axis=1)
        threshold = torch.tensor(signature.threshold, dtype=DTYPES[kind])
        above = fragment.add("Greater", second, fragment.tensor(threshold))
        number = fragment.add("Cast", above, to=_INT64)
    classes = signature.classes
    if n_dims > 2 or classes is None:
        return number, _INT64
    if classes.dtype.kind in "iu" and np.array_equal(classes, range(len(classes))):
        return number, _INT64
    table, own = _class_table(fragment, classes)
    return fragment.add("Gather", table, number), own


def _class_table(fragment: Fragment, classes: np.ndarray) -> tuple[str, int]:
    """Add what numbers of classes stand for; return its name and type."""
    if classes.dtype.kind in _CLASSES:
        table = torch.from_numpy(classes.astype(_CLASSES[classes.dtype.kind]))
        return fragment.tensor(table), TYPES[table.dtype]
    if all(isinstance(label, str) for label in classes):
        return fragment.strings(list(map(str, classes))), TensorProto.STRING
    msg = (
        f"ONNX has no labels such as {classes.tolist()}: fit to labels that are all "
        "str, int, float or bool."
    )
    raise TypeError(msg)
