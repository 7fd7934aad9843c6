"""Compressed weights in the place of dense initializers of a graph."""

from collections.abc import Mapping

import torch
from onnx import GraphProto, TensorProto
from torch import Tensor, nn

from sklc.codes import Code, Factored, Theta
from sklc.deploy.onnx.decoding import add_decoded
from sklc.deploy.onnx.fragment import DTYPES, Fragment
from sklc.deploy.onnx.graphs import names_in, prune, replace_nodes
from sklc.deploy.onnx.layers import add_layers
from sklc.exceptions import warn
from sklc.layers import LayerInfo

_ROUNDINGS = 16  # that a weight and what its code stands for may differ by
_HALF = 2.0**-10  # the relative error in float16 of a tensor that it does not spoil


def compress(
    graph: GraphProto,
    theta: Theta,
    layers: Mapping[str, LayerInfo],
    names: Mapping[str, list[str]],
    *,
    half: bool,
) -> None:
    """Put compressed weights in the place of dense ones, where that saves bytes.

    Parameters
    ----------
    graph : GraphProto
    theta : dict of str to Code
        On the CPU.
    layers : dict of str to LayerInfo
    names : dict of str to list of str
        The names that initializers of the weights may have.
    half : bool
        Whether floats of codes may be rounded to float16.

    Warns
    -----
    UserWarning
        If a weight stays dense because the graph has none of its name and values, and
        if one keeps its precision because float16 would spoil it.
    """
    held = {initializer.name: initializer for initializer in graph.initializer}
    fragment = Fragment(names_in(graph))
    strangers, precise = [], []
    replaced = set()
    for name, code in theta.items():
        if not code.shape.numel():
            continue
        found = next((own for own in names.get(name, [name]) if own in held), None)
        if found is None or not _equal(held[found], code.dense()):
            strangers.append(name)
            continue
        fragment.half = half and all(map(_survives_half, code.tensors()))
        if half and not fragment.half:
            precise.append(name)
        if isinstance(code, Factored):
            add_layers(graph, fragment, found, code, layers.get(name))
        if _put(fragment, code, held[found]):
            replaced.add(found)
    kept = [own for own in graph.initializer if own.name not in replaced]
    del graph.initializer[:]
    graph.initializer.extend([*fragment.initializers, *kept])
    replace_nodes(graph, [*fragment.nodes, *graph.node])
    prune(graph)
    _tell(strangers, precise)


def _put(fragment: Fragment, code: Code, dense: TensorProto) -> bool:
    """Add a code under the name of a dense initializer, if that is larger."""

    def kept(into: Fragment) -> str:
        into.n_bytes += dense.ByteSize()
        return dense.name

    def decoded(into: Fragment) -> str:
        into.put("Identity", [add_decoded(into, code)], dense.name)
        return ""

    return not fragment.smallest([kept, decoded])


def _equal(initializer: TensorProto, dense: Tensor) -> bool:
    """Whether an initializer holds these values, to rounding."""
    dtype = DTYPES.get(initializer.data_type)
    if dtype != dense.dtype or list(initializer.dims) != list(dense.shape):
        return False
    own = torch.frombuffer(bytearray(initializer.raw_data), dtype=dtype)
    largest = dense.abs().nan_to_num(0.0, 0.0).max()
    bound = float(_ROUNDINGS * torch.finfo(dtype).eps * largest)
    own = own.reshape(dense.shape)
    return torch.allclose(own, dense, rtol=0.0, atol=bound, equal_nan=True)


def _survives_half(tensor: Tensor) -> bool:
    """Whether float16 keeps numbers up to its rounding: none so large, nor so small."""
    if tensor.dtype not in (torch.float32, torch.float64):
        return True
    error = (tensor - tensor.half()).norm()
    return bool(error <= _HALF * tensor.norm())


def _tell(strangers: list[str], precise: list[str]) -> None:
    if strangers:
        msg = (
            f"{', '.join(strangers)}: written dense, if the graph that torch exports "
            "needs them at all. It has no initializers of these names that hold what "
            "the codes stand for."
        )
        warn(msg)
    if precise:
        msg = (
            f"{', '.join(precise)}: kept in full precision, as float16 does not hold "
            "numbers so large, or so small."
        )
        warn(msg)


def names_of(module: nn.Module) -> dict[str, list[str]]:
    """Return for each parameter of a module the names that it has, its own first."""
    by_identity: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        by_identity.setdefault(id(parameter), []).append(name)
    return {name: names for names in by_identity.values() for name in names}
