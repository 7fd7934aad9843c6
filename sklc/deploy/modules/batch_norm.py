"""Batch normalisation folded into the layers before it."""

import inspect
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sklc.deploy.modules.factors import Pair
from sklc.deploy.modules.packed import packings, scale_weight
from sklc.layers import LayerInfo
from sklc.ops.backend import sum_dtype
from sklc.ops.copies import deepcopied

_NORMS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: nn.BatchNorm1d,
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
    nn.ConvTranspose1d: nn.BatchNorm1d,
    nn.ConvTranspose2d: nn.BatchNorm2d,
    nn.ConvTranspose3d: nn.BatchNorm3d,
}


def foldable(
    module: nn.Module,
    layers: Mapping[str, LayerInfo],
    compressed: Collection[str],
    inputs: Collection[str] | None,
) -> tuple[dict[str, str], list[str]]:
    """Find the batch normalisations that take the whole output of one layer.

    They are found in graphs that :mod:`torch.fx` traces: of the module, or where that
    fails, of the modules in it.

    Parameters
    ----------
    module : Module
        In evaluation, before its layers are replaced.
    layers : dict of str to LayerInfo
    compressed : collection of str
        Names of the compressed parameters. Biases among them stay as they are, and
        weights of normalisations.
    inputs : collection of str or None
        The arguments that the module gets besides the first; None if that is not known.

    Returns
    -------
    pairs : dict of str to str
        Names of normalisations, and of the layers before them.
    left : list of str
        Names of the other normalisations.
    """
    own = dict(module.named_modules(remove_duplicate=False))
    kinds = *_NORMS.values(), nn.SyncBatchNorm
    norms = [name for name, layer in module.named_modules() if type(layer) in kinds]
    slots = Counter(map(id, own.values()))
    for part in module.modules():
        slots.update(map(id, part._parameters.values()))
    found = {}
    for norm, layer, whole in _sequences(deepcopied(module), "", inputs):
        parts = own[norm], own[layer]
        held = [*parts, *(p for part in parts for p in part._parameters.values())]
        if (
            all(slots[id(each)] == 1 for each in held if each is not None)
            and not any(f"{norm}.{name}" in compressed for name in ("weight", "bias"))
            and f"{layer}.bias" not in compressed
            and _can_be_folded(
                own[norm], own[layer], layers.get(f"{layer}.weight"), whole
            )
        ):
            found[norm] = layer
    return found, [name for name in norms if name not in found]


def _can_be_folded(norm: Any, layer: Any, info: LayerInfo | None, whole: bool) -> bool:
    """Whether a layer and a normalisation are of kinds that can be folded.

    A linear one must have outputs of two axes. Where the graph is not that of the
    whole, it must be known that the layer is used once.
    """
    kind = _NORMS.get(type(layer))
    if type(norm) is not kind and (kind is None or type(norm) is not nn.SyncBatchNorm):
        return False
    hooks = [
        getattr(part, name)
        for part in (norm, layer)
        for name in ("_forward_hooks", "_forward_pre_hooks")
    ]
    if any(hooks) or norm.running_mean is None or norm.training:
        return False
    if type(layer) is nn.Linear:
        return info is not None and info.uses == 1
    grids = () if info is None else info.grids
    return whole or sum(grid.times for grid in grids) == 1


def fold(layer: nn.Module, norm: nn.Module) -> None:
    """Fold a normalisation into the layer before it, and make it an identity.

    A pair of factors has it in the last of them, and a packed weight gets a scale.
    """
    assert isinstance(norm, _BatchNorm)
    last: Any = layer[1] if isinstance(layer, Pair) else layer
    assert norm.running_mean is not None
    assert norm.running_var is not None
    dtype = sum_dtype(norm.running_var)
    mean, scale = norm.running_mean.to(dtype), norm.running_var.to(dtype)
    scale = (scale + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    bias = -mean * scale
    if norm.bias is not None:
        bias = bias + norm.bias
    if last.bias is not None:
        bias = bias + last.bias * scale
    _multiply(last, scale)
    last.bias = nn.Parameter(bias.to(last.weight.dtype), requires_grad=False)
    norm._parameters.clear()
    norm._buffers.clear()
    norm.__class__ = nn.Identity  # type: ignore[assignment]


def _multiply(layer: Any, scale: Tensor) -> None:
    """Multiply the outputs of a layer, up to its bias."""
    weight = layer.weight
    rows, columns = weight.shape[:2]
    if getattr(layer, "transposed", False):
        groups = layer.groups
        scale = scale.view(groups, 1, columns).expand(groups, rows // groups, columns)
        scale = scale.reshape(rows, columns)
    else:
        scale = scale.view(rows, 1)
    scale = scale.view(*scale.shape, *[1] * (weight.ndim - 2))
    if "weight" in packings(layer):
        scale_weight(layer, "weight", scale.to(weight.dtype))
    else:
        weight.copy_(weight * scale)


# ---- graphs ----


class _Leaves(fx.Tracer):
    """Traces a module, but none of those in it."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _sequences(
    module: nn.Module, name: str, inputs: Collection[str] | None
) -> Iterator[tuple[str, str, bool]]:
    """Yield pairs of modules of which the second alone gets what the first returns.

    Parameters
    ----------
    module : Module
        A copy: tracing runs its code.
    name : str
        Of the module, in the whole.
    inputs : collection of str or None
        The arguments that it gets besides the first; None if that is not known.

    Yields
    ------
    last, first : str
        Their names in the whole.
    whole : bool
        Whether all uses of the first are in the graph.
    """
    prefix = f"{name}." if name else ""
    whole, graph = not name, _graph(fx.Tracer(), module, inputs)
    if graph is None:
        for child_name, child in module.named_children():
            yield from _sequences(child, prefix + child_name, None)
        whole, graph = False, _graph(_Leaves(), module, inputs)
    if graph is None:
        return
    calls = Counter(node.target for node in graph.nodes)  # of parameters, too
    for node in graph.nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if (
            isinstance(before, fx.Node)
            and before.op == "call_module"
            and list(before.users) == [node]
            and calls[before.target] == calls[node.target] == 1
            and not any(calls[f"{before.target}.{p}"] for p in ("weight", "bias"))
        ):
            yield prefix + str(node.target), prefix + str(before.target), whole


def _graph(
    tracer: fx.Tracer, module: nn.Module, inputs: Collection[str] | None
) -> fx.Graph | None:
    """Return the graph of a module, or None if it cannot be had.

    Nor can it if the module takes other arguments at choice, and it is not known which
    it gets.
    """
    try:
        _, *others = inspect.signature(module.forward).parameters.values()
        chosen = {p.name: p.default for p in others if p.default is not p.empty}
        if chosen and inputs is None:
            return None
        fixed = {name: chosen[name] for name in chosen.keys() - set(inputs or ())}
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return tracer.trace(module, concrete_args=fixed)
    except Exception:  # whatever the user's code does with what is no tensor
        return None
