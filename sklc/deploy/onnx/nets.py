"""The graph of a net as torch exports it, nothing compressed yet."""

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np
import torch
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from sklc.codes.dtypes import dtype_of
from sklc.deploy.onnx.fragment import TYPES
from sklc.deploy.onnx.graphs import make_free, prune, rename, replace_nodes, strip
from sklc.signature import Input

OPSET = 21  # the first with UINT4,
IR_VERSION = 10  # and the format that goes with it, which torch writes, too
BATCH = "N"
MAX_BYTES = 2**31 - 1  # of a file without others beside it
_INTEGERS = "bool", "uint8", "int8", "int16", "int32", "int64"


def exported(module: nn.Module, inputs: Sequence[Input]) -> ModelProto:
    """Return the graph of a module in evaluation mode, for any number of samples.

    Its initializers have the names of the parameters; of tied ones, one of the names.
    Its output is that of the module, or the first of several.

    Parameters
    ----------
    module : nn.Module
        It is copied, and stays as it is.
    inputs : sequence of Input

    Raises
    ------
    ValueError
        If torch cannot export it, and why; or if it is too large.
    """
    import_module("onnxscript")  # which the exporter of torch needs
    _check_size(module)
    module = deepcopy(module).cpu().eval()
    args, kwargs, shapes = _call(module, inputs)
    try:
        with _quietly(), torch.no_grad():
            program = torch.onnx.export(
                module,
                args,
                kwargs=kwargs,
                dynamic_shapes=shapes,
                opset_version=OPSET,
                dynamo=True,
                optimize=False,
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        msg = (
            f"torch cannot export {type(module).__name__} to ONNX for any number of "
            f"samples: {_cause(error)}"
        )
        raise ValueError(msg) from error
    assert program is not None
    model = program.model_proto
    (opset,) = (entry.version for entry in model.opset_import if not entry.domain)
    if opset < OPSET:
        msg = (
            f"torch exports {type(module).__name__} in opset {opset} of ONNX, but "
            f"{OPSET} is needed: upgrade onnxscript."
        )
        raise ValueError(msg)
    strip(model)
    del model.graph.output[1:]
    _drop_zero_biases(model.graph)
    prune(model.graph)
    return model


def _drop_zero_biases(graph: GraphProto) -> None:
    """Take away the biases that convolutions have in the graph only.

    Of those in three dimensions torch writes one, zeros in a shape that is not allowed.
    """
    by_output = {name: node for node in graph.node for name in node.output}

    def is_zero(name: str) -> bool:
        node = by_output.get(name)
        if node is not None and node.op_type in ("Expand", "CastLike"):
            return is_zero(node.input[0])
        if node is None or node.op_type != "Constant":
            return False
        value = helper.get_attribute_value(node.attribute[0])
        if isinstance(value, TensorProto):
            value = numpy_helper.to_array(value)
        return not np.any(value)

    for node in graph.node:
        if node.op_type == "Conv" and len(node.input) == 3 and is_zero(node.input[2]):
            del node.input[2:]


def _check_size(module: nn.Module) -> None:
    n_bytes = sum(held.nbytes for held in [*module.parameters(), *module.buffers()])
    if n_bytes > MAX_BYTES:
        msg = (
            f"{type(module).__name__} has {n_bytes:,} bytes before it is compressed, "
            f"and an ONNX file can hold {MAX_BYTES:,}: export parts of it one by one."
        )
        raise ValueError(msg)


def _call(
    module: nn.Module, inputs: Sequence[Input]
) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """Return what to call a module with, and which of their sizes vary.

    Inputs have the names of arguments, or are those of a list, or a single one.
    """
    samples = {entry.name: _samples(entry) for entry in inputs}
    varies: Any = {0: torch.export.Dim.DYNAMIC}
    parameters = signature(module.forward).parameters
    if list(samples) == ["X"]:
        first = next(iter(parameters.values()))
        several = first.kind is first.VAR_POSITIONAL
        return tuple(samples.values()), {}, ((varies,) if several else varies,)
    if all(name in parameters for name in samples):
        return (), samples, dict.fromkeys(samples, varies)
    return (list(samples.values()),), {}, ([varies] * len(inputs),)


def _samples(entry: Input) -> Tensor:
    """Return samples of no meaning: as indices, they are in any range."""
    return torch.zeros((2, *entry.shape), dtype=_dtype(entry.dtype))


def _dtype(name: str) -> torch.dtype:
    return torch.bool if name == "bool" else dtype_of(name)


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence what the exporter says of its own code, and keep it from fused layers."""
    fused = torch.backends.mha.get_fastpath_enabled()
    disabled = logging.root.manager.disable
    torch.backends.mha.set_fastpath_enabled(False)
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        torch.backends.mha.set_fastpath_enabled(fused)


def _cause(error: BaseException) -> str:
    """Return the first words of the error that all others come from."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])}"


def name_inputs(graph: GraphProto, names: Sequence[str]) -> None:
    """Give inputs their names, and the number of samples one name.

    Values that are called so are called otherwise.
    """
    batch = {
        value.type.tensor_type.shape.dim[0].dim_param
        for value in graph.input
        if value.type.tensor_type.shape.dim
    } - {""}
    own = [value.name for value in graph.input]
    if set(own) != set(names):
        make_free(graph, names)
        own = [value.name for value in graph.input]
        new = dict(zip(own, names, strict=True))
        rename(graph, lambda name: new.get(name, name))
    for value in [*graph.input, *graph.output]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(
                    r"\w+",
                    lambda word: BATCH if word[0] in batch else word[0],
                    dim.dim_param,
                )


def cast_inputs(graph: GraphProto, inputs: Sequence[Input]) -> None:
    """Let a graph take the integers, or truth values, that the fit got.

    Floats are left in the dtype of the net, which saves a runtime to convert them.
    """
    given = {entry.name: entry.given for entry in inputs if entry.given in _INTEGERS}
    casts = []
    for value in graph.input:
        name, old = value.name, value.type.tensor_type.elem_type
        kind = TYPES[_dtype(given[name])] if name in given else old
        if kind == old:
            continue
        make_free(graph, [name])
        casts.append(helper.make_node("Cast", [name], [value.name], to=old))
        value.name, value.type.tensor_type.elem_type = name, kind
    replace_nodes(graph, [*casts, *graph.node])
