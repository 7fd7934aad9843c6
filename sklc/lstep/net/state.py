"""All that training changes in a net, as tensors and JSON values."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from torch import Tensor, nn

from sklc.lstep import rng
from sklc.lstep.net.trees import flattened, restored

_PLAIN = bool | int | float | str


def state_of(net: NeuralNet) -> dict[str, Any]:
    """Return copies of all that training changes.

    That is parameters, buffers (those that are not persistent, too), extra state,
    numbers and texts that are attributes of layers, all of module and criterion; what
    an overridden ``state_dict`` adds; the history, but for its batches; and random
    generators.

    Raises
    ------
    TypeError
        If there is extra state of a kind that cannot be stored.
    """
    found: dict[str, Any] = {}
    for name, part in _parts(net):
        found |= _module_state(f"{name}.", part)
    found["history"] = [_epoch(epoch) for epoch in net.history]
    found |= {f"random.{name}": value for name, value in rng.state().items()}
    for name, generator in _generators(net):
        found[f"generator.{name}"] = generator.get_state()
    return found


def load(net: NeuralNet, state: Mapping[str, Any], *, generators: bool) -> None:
    """Go on from a :func:`state_of` a net.

    Parameters
    ----------
    net : NeuralNet
        With parts like those of the net that the state is of.
    state : dict
    generators : bool
        Whether to set random generators, too.
    """
    for name, part in _parts(net):
        _load_module(f"{name}.", part, state)
    _load_history(net, state["history"])
    if generators:
        rng.restore(_below(state, "random."))
        for name, generator in _generators(net):
            if f"generator.{name}" in state:
                generator.set_state(state[f"generator.{name}"].cpu())


def buffers_to_predict(module: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that a module cannot predict without, nor make anew.

    These are the persistent ones, but for the counts of batches that normalisation has
    seen, which only training uses.
    """
    return {
        name: buffer.detach()
        for name, buffer in module.named_buffers()
        for owner, own in [_owner(module, name)]
        if own not in owner._non_persistent_buffers_set and own != "num_batches_tracked"
    }


def _parts(net: NeuralNet) -> Iterator[tuple[str, nn.Module]]:
    for name in net._modules + net._criteria:
        part = getattr(net, f"{name}_")
        part = getattr(part, "_orig_mod", part)  # what torch.compile wraps
        if isinstance(part, nn.Module):
            yield name, part


def _below(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in state.items()
        if name.startswith(prefix)
    }


# ---- modules ----


def _module_state(prefix: str, module: nn.Module) -> dict[str, Any]:
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    found: dict[str, Any] = {
        f"{prefix}tensor.{name}": tensor.detach().clone()
        for name, tensor in own.items()
    }
    numbers = {}
    for name, layer in module.named_modules():
        attributes = _attributes(layer)
        if attributes:
            numbers[name] = attributes
        if _has(layer, "get_extra_state"):
            with _named(name, layer, "get_extra_state"):
                extra = layer.get_extra_state()
                found |= flattened(extra, f"{prefix}extra.{name}")
    found[f"{prefix}numbers"] = numbers
    if _is_overridden(module):
        given = module.state_dict()
        rest = {name: part for name, part in given.items() if name not in own}
        with _named("", module, "state_dict"):
            found |= flattened(rest, f"{prefix}rest")
            found[f"{prefix}order"] = list(given)
    return found


def _load_module(prefix: str, module: nn.Module, state: Mapping[str, Any]) -> None:
    tensors = _below(state, f"{prefix}tensor.")
    if _is_overridden(module):  # it may do more with it than we know
        rest = restored(state, f"{prefix}rest")
        module.load_state_dict(
            {
                name: rest[name] if name in rest else tensors[name]
                for name in state[f"{prefix}order"]
            }
        )
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(tensors[name])
    buffers = dict(module.named_buffers())
    for name in buffers.keys() | tensors.keys() - dict(module.named_parameters()):
        _load_buffer(module, name, tensors.get(name))
    layers = dict(module.named_modules())
    for name, numbers in state[f"{prefix}numbers"].items():
        for attribute, value in numbers.items():
            if vars(layers[name]).get(attribute) != value:
                setattr(layers[name], attribute, value)
    for name, layer in layers.items():
        if _has(layer, "get_extra_state"):
            layer.set_extra_state(restored(state, f"{prefix}extra.{name}"))


def _load_buffer(module: nn.Module, name: str, value: Tensor | None) -> None:
    """Set a buffer, in place where it can be."""
    owner, own = _owner(module, name)
    now = owner._buffers[own]
    if now is None or value is None or now.shape != value.shape:
        like = next(module.parameters(), torch.empty(0))
        owner._buffers[own] = None if value is None else value.clone().to(like.device)
    else:
        with torch.no_grad():
            now.copy_(value)


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, own = name.rpartition(".")
    return module.get_submodule(path), own


def _attributes(layer: nn.Module) -> dict[str, Any]:
    """Return what a layer has that is a number or a text, such as a temperature."""
    return {
        name: value
        for name, value in vars(layer).items()
        if not name.startswith("_") and name != "training" and isinstance(value, _PLAIN)
    }


def _has(layer: nn.Module, method: str) -> bool:
    """Whether a layer has a method of its own."""
    return getattr(type(layer), method) is not getattr(nn.Module, method)


def _is_overridden(module: nn.Module) -> bool:
    return any(
        _has(layer, "state_dict")
        or _has(layer, "_save_to_state_dict")
        or bool(layer._state_dict_hooks)
        for layer in module.modules()
    )


@contextmanager
def _named(name: str, layer: nn.Module, method: str) -> Iterator[None]:
    """Say what cannot be stored."""
    try:
        yield
    except TypeError as error:
        kind = type(layer).__name__
        msg = (
            f"{method}() of {f'the layer {name!r} ({kind})' if name else kind} returns "
            f"{error}: checkpoints and the iterate that is kept hold tensors, arrays, "
            "numbers, texts and None, in dicts, lists and tuples."
        )
        raise TypeError(msg) from error


# ---- history and generators ----


def _epoch(epoch: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is recorded of an epoch, but for its batches."""
    return {
        name: copy.deepcopy(_plain(value))
        for name, value in epoch.items()
        if name != "batches"
    }


def _plain(value: Any) -> Any:
    """Return numbers and arrays of NumPy as those of Python."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _load_history(net: NeuralNet, epochs: list[dict[str, Any]]) -> None:
    """Set the history, and keep the epochs that are in it already as they are."""
    known = 0
    for own, epoch in zip(net.history, epochs, strict=False):
        if _epoch(own) != epoch:
            break
        known += 1
    del net.history[known:]
    net.history.extend({**copy.deepcopy(e), "batches": []} for e in epochs[known:])


def _generators(net: NeuralNet) -> Iterator[tuple[str, torch.Generator]]:
    """Yield the generators of torch that are parameters of a net."""
    for name, value in vars(net).items():
        if isinstance(value, torch.Generator):
            yield name, value
