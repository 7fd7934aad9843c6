"""Layers that hold codes instead of weights, and decode them when they are used.

A layer stays the object that it is, and gets a class of its own, in which the weight is
a property. So whoever reads it gets the decoded weight, wherever that is done: the
layer itself, others, or a function. The tensors of the code lie beside it, floats as
parameters (so that what several codes share stays one tensor, whatever is done with the
module), packed numbers as buffers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import new_class
from typing import Any

import torch
from torch import Tensor, nn

from sklc.codes import Code
from sklc.deploy.modules.streams import Reader, packed

#: Parameters that several codes share, by the id of the tensor that they were made of.
Shared = dict[int, nn.Parameter]


@dataclass
class Packing:
    """How a weight is decoded from attributes of its layer.

    Attributes
    ----------
    code : Code
        Its tensors are empty.
    parts : list of (str, Reader)
        For each of its tensors, in their order: the attribute with what is stored of
        it, and what reads that.
    like : str
        The attribute, an empty tensor, whose dtype the weight has.
    scale : str
        The attribute by which the weight is multiplied; none if empty.
    """

    code: Code
    parts: list[tuple[str, Reader]]
    like: str
    scale: str = ""

    def weight(self, layer: nn.Module) -> Tensor:
        """Return the weight of a layer."""
        parts = iter(self.parts)

        def read(_: Tensor) -> Tensor:
            name, reader = next(parts)
            return reader(getattr(layer, name))

        weight = self.code.map(read).dense()
        if self.scale:
            weight = weight * getattr(layer, self.scale)
        return weight.to(getattr(layer, self.like).dtype)


def pack_weight(layer: nn.Module, weight: str, code: Code, shared: Shared) -> None:
    """Replace a parameter of a layer by its code.

    Parameters
    ----------
    layer : Module
        Gets a class of its own, derived from the one that it has.
    weight : str
        The name of the parameter.
    code : Code
    shared : dict
        Parameters that codes may share; those of this one are added.
    """
    old = layer._parameters[weight]
    assert old is not None
    streams = {
        id(stream.tensor): (name, stream) for name, stream in code.streams().items()
    }
    parts: list[tuple[str, Reader]] = []
    own: dict[int, tuple[str, Reader]] = {}
    for tensor in code.tensors():
        if id(tensor) not in own:
            # what has no stream is fixed, and so small that it is a setting
            name, stream = streams.get(id(tensor), ("fixed", None))
            stored, reader = packed(stream, tensor)
            name = _free(layer, f"{weight}_{name.replace('.', '_')}")
            _register(layer, name, stored.to(old.device), tensor, shared)
            own[id(tensor)] = name, reader
        parts.append(own[id(tensor)])
    like = _free(layer, f"{weight}_like")
    layer.register_buffer(like, old.new_empty(0), persistent=False)
    packings = dict(getattr(layer, _PACKINGS, {}))
    packings[weight] = Packing(code.map(lambda t: t.new_empty(0)), parts, like)
    vars(layer)[_PACKINGS] = packings
    del layer._parameters[weight]
    layer.__class__ = _derived(_plain(type(layer)), tuple(packings))


def packings(layer: nn.Module) -> dict[str, Packing]:
    """Return how the weights of a layer are decoded, by name."""
    return vars(layer).get(_PACKINGS, {})


def scale_weight(layer: nn.Module, weight: str, scale: Tensor) -> None:
    """Multiply a weight that is decoded by a scale; its code stays as it is."""
    packing = packings(layer)[weight]
    packing.scale = _free(layer, f"{weight}_scale")
    layer.register_parameter(packing.scale, nn.Parameter(scale, requires_grad=False))


_PACKINGS = "weight_packings"


def _register(
    layer: nn.Module, name: str, stored: Tensor, tensor: Tensor, shared: Shared
) -> None:
    if not stored.is_floating_point():
        layer.register_buffer(name, stored)
        return
    if id(tensor) not in shared:
        shared[id(tensor)] = nn.Parameter(stored.clone(), requires_grad=False)
    layer.register_parameter(name, shared[id(tensor)])


def _free(layer: nn.Module, name: str) -> str:
    """Return a name that no attribute of a layer has."""
    while hasattr(layer, name):
        name += "_"
    return name


# ---- classes ----


def _plain(kind: type[nn.Module]) -> type[nn.Module]:
    """Return the class that a class was derived from."""
    found: type[nn.Module] = vars(kind).get("_derived_from", kind)
    return found


@lru_cache(maxsize=None)
def _derived(kind: type[nn.Module], weights: tuple[str, ...]) -> type[nn.Module]:
    """Return a class of layers with weights that are decoded."""

    def body(names: dict[str, Any]) -> None:
        names["__module__"] = kind.__module__
        names["__doc__"] = f"{kind.__name__} with weights that are decoded when used."
        names["__reduce_ex__"] = _reduce
        names["_derived_from"] = kind
        for weight in weights:
            names[weight] = property(_decoder(weight))
        if issubclass(kind, nn.RNNBase):
            names["_flat_weights"] = property(_flat_weights, lambda layer, value: None)

    return new_class(f"Packed{kind.__name__}", (kind,), exec_body=body)


def _decoder(weight: str) -> Callable[[nn.Module], Tensor]:
    def decoded(layer: nn.Module) -> Tensor:
        return layer.weight_packings[weight].weight(layer)  # type: ignore[union-attr,operator,index,no-any-return]

    return decoded


def _flat_weights(layer: nn.RNNBase) -> list[Tensor | None]:
    """Return the weights of a recurrent layer, which keeps a list of them."""
    return [getattr(layer, name, None) for name in layer._flat_weights_names]


def _reduce(layer: nn.Module, protocol: Any) -> tuple[Any, ...]:
    """Pickle and copy a layer by the class that its own was derived from."""
    _, _, *state = object.__reduce_ex__(layer, protocol)
    return _blank, (_plain(type(layer)), tuple(packings(layer))), *state


def _blank(kind: type[nn.Module], weights: tuple[str, ...]) -> nn.Module:
    """Return an uninitialized layer of a derived class."""
    derived = _derived(kind, weights)
    layer: nn.Module = derived.__new__(derived)
    return layer
