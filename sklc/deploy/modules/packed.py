"""Layers that hold codes instead of weights, and decode them when they are used.

A layer stays the object that it is, and gets a class of its own, in which the weight is
a property. So whoever reads it gets the decoded weight, wherever that is done: the
layer itself, others, or a function. The tensors of the code lie beside it, floats as
parameters (so that what several codes share stays one tensor, whatever is done with the
module), packed numbers as buffers.

Packed numbers do not say how they are packed. So the state of a layer has a number that
stands for it, and a layer takes no state that is packed in another way.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from hashlib import blake2b
from types import new_class
from typing import Any

import torch
from torch import Tensor, nn

from sklc.codes import Code
from sklc.deploy.modules.streams import Reader, packed

#: What is stored of tensors, which several weights may share, by the id of the tensor.
Shared = dict[int, tuple[Tensor, Reader]]


@dataclass
class Packing:
    """How a weight is decoded from attributes of its layer.

    Attributes
    ----------
    code : Code
        Its tensors are empty, and stay on the CPU.
    parts : list of (str, Reader)
        For each of its tensors, in their order: the attribute with what is stored of
        it, and what reads that.
    like : str
        The attribute, an empty tensor, whose dtype the weight has.
    layout : str
        What the state calls the number that stands for the layout.
    shares : list of int or None
        For each tensor, which one of those that weights before have stored it is.
    scale : str
        The attribute by which the weight is multiplied; none if empty.
    """

    code: Code
    parts: list[tuple[str, Reader]]
    like: str
    layout: str
    shares: list[int | None]
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

    def number(self) -> Tensor:
        """Return a number that stands for the layout of the code."""
        text = _described([self.code, self.parts, self.shares])
        digest = blake2b(text.encode(), digest_size=8).digest()
        return torch.tensor(int.from_bytes(digest, "big", signed=True))


def _described(value: Any) -> str:
    """Return a text that is the same for the same settings, in any process."""
    if isinstance(value, int | float | str | None):
        return repr(value)
    if isinstance(value, Tensor):
        return "-"
    if isinstance(value, dict):
        parts = [part for pair in value.items() for part in pair]
    elif is_dataclass(value):
        parts = [getattr(value, field.name) for field in fields(value)]
    else:
        parts = list(value) if isinstance(value, list | tuple) else []
    return f"{type(value).__name__}({', '.join(map(_described, parts))})"


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
        What other weights have stored; what this one stores is added.
    """
    old = layer._parameters[weight]
    assert old is not None
    streams = {
        id(stream.tensor): (name, stream) for name, stream in code.streams().items()
    }
    parts: dict[int, tuple[str, Reader]] = {}
    before = {key: number for number, key in enumerate(shared)}
    for tensor in code.tensors():
        key = id(tensor)
        # what has no stream is fixed, and so small that it is a setting
        field, stream = streams.get(key, ("fixed", None))
        if key not in shared:
            stored, reader = packed(stream, tensor)
            stored = stored.to(old.device, copy=True)
            if stored.is_floating_point():
                stored = nn.Parameter(stored, requires_grad=False)
            shared[key] = stored, reader
        if key not in parts:
            stored, reader = shared[key]
            name = _free(layer, f"{weight}_{field.replace('.', '_')}")
            if isinstance(stored, nn.Parameter):
                layer.register_parameter(name, stored)
            else:
                layer.register_buffer(name, stored)
            parts[key] = name, reader
    order = [parts[id(tensor)] for tensor in code.tensors()]
    # a parameter, as nets ask their first one for its dtype, and need to have one
    like = _free(layer, f"{weight}_like")
    empty = nn.Parameter(old.new_empty(0), requires_grad=False)
    layer.register_parameter(like, empty)
    settings = code.map(lambda tensor: torch.empty(0, dtype=tensor.dtype))
    shares = [before.get(id(tensor)) for tensor in code.tensors()]
    layout = _free(layer, f"{weight}_layout")
    packing = Packing(settings, order, like, layout, shares)
    every = packings(layer) | {weight: packing}
    vars(layer)[_PACKINGS] = every
    del layer._parameters[weight]
    layer.__class__ = _derived(type(layer), tuple(every))


def packings(layer: nn.Module) -> dict[str, Packing]:
    """Return how the weights of a layer are decoded, by name."""
    found: dict[str, Packing] = vars(layer).get(_PACKINGS, {})
    return found


def scale_weight(layer: nn.Module, weight: str, scale: Tensor) -> None:
    """Multiply a weight that is decoded by a scale; its code stays as it is."""
    packing = packings(layer)[weight]
    packing.scale = _free(layer, f"{weight}_scale")
    layer.register_parameter(packing.scale, nn.Parameter(scale, requires_grad=False))


_PACKINGS = "_sklc_packings"


def _free(layer: nn.Module, name: str) -> str:
    """Return a name that no attribute of a layer has."""
    while hasattr(layer, name):
        name += "_"
    return name


# ---- classes ----


class Packed:
    """A layer with weights that are decoded when they are used.

    It comes first among the bases of a class that is derived from that of the layer.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keep the class from registries of the user's."""

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickle and copy by the class of the layer: its own has no place."""
        reduced: Any = object.__reduce_ex__(self, protocol)
        kind = type(self).__bases__[1]
        return _blank, (kind, tuple(vars(self)[_PACKINGS])), *reduced[2:]

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        layer: Any = super()
        layer._save_to_state_dict(destination, prefix, keep_vars)
        for packing in vars(self)[_PACKINGS].values():
            destination[prefix + packing.layout] = packing.number()

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        """Load nothing that is packed in another way."""
        errors: list[str] = args[-1]
        for weight, packing in vars(self)[_PACKINGS].items():
            layout = state_dict.pop(prefix + packing.layout, None)
            if any(prefix + name in state_dict for name, _ in packing.parts) and (
                layout is None or layout.is_meta or int(layout) != packing.number()
            ):
                errors.append(
                    f"{prefix}{weight} is packed in another way (other sizes of its "
                    "code, or other numbers that weights share): load the state into "
                    "the module of the same fit, or pickle whole modules."
                )
                return
        layer: Any = super()
        layer._load_from_state_dict(state_dict, prefix, *args)


def _derived(kind: Any, weights: tuple[str, ...]) -> Any:
    """Return the class of layers of a class with some weights that are decoded."""
    return _made(kind.__bases__[1] if issubclass(kind, Packed) else kind, weights)


@cache
def _made(kind: Any, weights: tuple[str, ...]) -> Any:
    def body(names: dict[str, Any]) -> None:
        names["__module__"] = kind.__module__
        names["__doc__"] = f"{kind.__name__} with weights that are decoded when used."
        for weight in weights:
            names[weight] = property(_decoder(weight))
        if issubclass(kind, nn.RNNBase):
            names["_flat_weights"] = property(_flat_weights, lambda layer, value: None)

    return new_class(f"Packed{kind.__name__}", (Packed, kind), exec_body=body)


def _decoder(weight: str) -> Callable[[nn.Module], Tensor]:
    def decoded(layer: nn.Module) -> Tensor:
        return packings(layer)[weight].weight(layer)

    return decoded


def _flat_weights(layer: nn.RNNBase) -> list[Tensor | None]:
    """Return the weights of a recurrent layer, which keeps a list of them."""
    return [getattr(layer, name, None) for name in layer._flat_weights_names]


def _blank(kind: Any, weights: tuple[str, ...]) -> nn.Module:
    """Return an uninitialized layer of a derived class."""
    layer: nn.Module = object.__new__(_derived(kind, weights))
    return layer
