"""What a net tells of its layers: kinds, groups, and how often a weight is used."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from skorch import NeuralNet
from skorch.dataset import get_len, unpack_data
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from sklc.layers import Grid, LayerInfo


def layer_infos(net: NeuralNet, module: nn.Module, batch: Any) -> dict[str, LayerInfo]:
    """Return what is known of the layer of each parameter of a module.

    How often weights are used is counted while the net evaluates a batch: those of
    linear, convolutional and recurrent layers, and of attention to oneself. Of others
    it is not known, nor of weights that a module uses without calling their layer.
    """
    count = _Count(get_len(unpack_data(batch)[0]))
    compiled = net.module_ is not module  # it would compile the counting, too
    eagerly: AbstractContextManager[Any] = (
        torch.compiler.set_stance("force_eager") if compiled else nullcontext()
    )
    handles = [
        layer.register_forward_hook(count, with_kwargs=True)
        for layer in module.modules()
    ]
    try:
        with eagerly:
            net.evaluation_step(batch, training=False)
    finally:
        for handle in handles:
            handle.remove()
    return {
        f"{name}.{parameter}" if name else parameter: LayerInfo(
            kind=type(layer).__name__,
            groups=getattr(layer, "groups", 1),
            output_axis=int(getattr(layer, "transposed", False)),
            uses=count.uses.get(id(weight)),
            grids=tuple(count.grids.get(id(weight), {}).values()),
        )
        for name, layer in module.named_modules()
        for parameter, weight in layer.named_parameters(recurse=False)
    }


class _Count:
    """A forward hook that counts how often a sample uses the weights of layers.

    Attributes
    ----------
    uses : dict of int to float or None
        By the id of the weight; None if it is also used in a way that is not known.
    grids : dict of int to dict
        Of the weights of convolutions, their grids by the sizes.
    """

    def __init__(self, n_samples: int) -> None:
        self.n_samples = n_samples
        self.uses: dict[int, float | None] = {}
        self.grids: dict[int, dict[Any, Grid]] = {}

    def __call__(
        self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> None:
        counted = list(_counted(layer, args, kwargs, out))
        known = {id(weight) for weight, _ in counted}
        for parameter in layer.parameters(recurse=False):
            if id(parameter) not in known:
                self.uses[id(parameter)] = None
        for weight, times in counted:
            before = self.uses.get(id(weight), 0.0)
            if before is not None:
                self.uses[id(weight)] = before + times / self.n_samples
        if counted and isinstance(layer, _ConvNd):
            self._add_grid(layer, _first([args, kwargs]), _first(out))

    def _add_grid(self, layer: _ConvNd, x: Any, y: Any) -> None:
        n_axes = len(layer.kernel_size)
        sizes = tuple(x.shape[-n_axes:]), tuple(y.shape[-n_axes:])
        grids = self.grids.setdefault(id(layer.weight), {})
        before = grids[sizes].times if sizes in grids else 0.0
        times = x.shape[: -n_axes - 1].numel() / self.n_samples
        grids[sizes] = Grid(*sizes, before + times)


def _counted(
    layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
) -> Iterator[tuple[Tensor, int]]:
    """Yield weights that a call of a layer used, and at how many positions.

    Nothing if the layer is of another kind, or was not called as its kind is.
    """
    x, y = _first([args, kwargs]), _first(out)
    if x is None or y is None or x.is_nested or y.is_nested:
        return
    if isinstance(layer, nn.Linear):
        n_features = layer.in_features, layer.out_features
        if (x.shape[-1], *y.shape) == (n_features[0], *x.shape[:-1], n_features[1]):
            yield layer.weight, x.shape[:-1].numel()
    elif isinstance(layer, _ConvNd) and min(x.ndim, y.ndim) > len(layer.kernel_size):
        behind = -len(layer.kernel_size)
        ways = [t.shape[: behind - 1].numel() for t in (x, y)]
        channels = tuple(t.shape[behind - 1] for t in (x, y))
        if ways[0] == ways[1] and channels == (layer.in_channels, layer.out_channels):
            positions = (x if layer.transposed else y).shape[behind:].numel()
            yield layer.weight, ways[0] * positions
    elif isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        for weight in layer.parameters(recurse=False):
            if weight.ndim > 1:
                yield weight, x.shape[:-1].numel()
    elif isinstance(layer, nn.MultiheadAttention):
        given = dict(zip(_INPUTS, args, strict=False)) | kwargs
        if set(_INPUTS) <= given.keys():
            yield from _attention(layer, *(given[name] for name in _INPUTS))


_INPUTS = ("query", "key", "value")


def _attention(
    layer: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor
) -> Iterator[tuple[Tensor, int]]:
    positions = [t.shape[:-1].numel() for t in (query, key, value)]
    if layer.in_proj_weight is None:
        for name, times in zip("qkv", positions, strict=True):
            yield getattr(layer, f"{name}_proj_weight"), times
    elif query is key is value:
        # one matrix for all three inputs: how often its factors run depends on them
        yield layer.in_proj_weight, positions[0]
    yield layer.out_proj.weight, positions[0]


def _first(value: Any) -> Tensor | None:
    """Return the first tensor in a value, of tuples, lists and dicts at any depth."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        found = (_first(part) for part in value)
        return next((tensor for tensor in found if tensor is not None), None)
    return None
