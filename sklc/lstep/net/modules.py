"""Modules that cannot be compressed, told before anything is trained."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def check_module(module: nn.Module) -> None:
    """Raise unless the weights of a module are its parameters, and can be trained.

    Raises
    ------
    ValueError
        That says which layer is to blame, and what to do.
    """
    if isinstance(module, torch.jit.ScriptModule):
        _refuse(module, "is compiled by TorchScript", "pass the module it was made of")
    for name, layer in module.named_modules():
        _check_layer(name, layer)
    parameters = dict(module.named_parameters())
    if not parameters:
        _refuse(module, "has no parameters", "there is nothing to compress")
    for name, parameter in parameters.items():
        _check_parameter(module, name, parameter)


def check_trainable(module: nn.Module) -> None:
    """Raise unless at least one parameter of a module is trained."""
    if not any(p.requires_grad for p in module.parameters()):
        msg = (
            f"No parameter of {type(module).__name__} requires a gradient, so there is "
            "nothing to train: call requires_grad_(True) on what may adapt, or pass "
            "the trained model with max_iter=0 for direct compression."
        )
        raise ValueError(msg)


def check_fit_params(module: nn.Module, fit_params: Mapping[str, Any]) -> None:
    """Raise if there are parameters of a fit that a module's forward does not take."""
    known = inspect.signature(module.forward).parameters
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return
    for name in fit_params:
        if name not in known:
            msg = (
                f"fit got {name}, which skorch hands on to the module, but "
                f"{type(module).__name__}.forward does not take it: leave "
                "it out, or write a forward that does."
            )
            raise ValueError(msg)


def check_device(device: Any) -> None:
    """Raise unless there is a device to train on."""
    if device is None:
        return
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        msg = (
            f"device={str(device)!r} cannot be used here ({reason}): choose another, "
            "or 'auto' in NetLStep for a GPU if there is one."
        )
        raise ValueError(msg) from error


def check_mode() -> None:
    """Raise if gradients are switched off where a net is to be trained."""
    if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
        mode = "inference_mode" if torch.is_inference_mode_enabled() else "no_grad"
        msg = f"fit trains by gradients: call it outside of torch.{mode}()."
        raise ValueError(msg)


def _check_layer(name: str, layer: nn.Module) -> None:
    where = f"{name!r} ({type(layer).__name__})" if name else type(layer).__name__
    path = f"module.{name}" if name else "module"
    computed: Any = layer.parametrizations if parametrize.is_parametrized(layer) else {}
    for weight, steps in computed.items():
        kinds = ", ".join(type(step).__name__ for step in steps)
        _refuse_computed(
            f"{where} computes its {weight} by a parametrization ({kinds})",
            f"torch.nn.utils.parametrize.remove_parametrizations({path}, {weight!r})",
        )
    for weight, value in vars(layer).items():  # of prune, and of hooks of old
        kept = [f"{weight}_{end}" for end in ("orig", "g", "v")]
        found = [each for each in kept if each in layer._parameters]
        if isinstance(value, Tensor) and found:
            undo = {
                "orig": f"torch.nn.utils.prune.remove({path}, {weight!r}) or "
                f"remove_spectral_norm({path}, {weight!r})",
                "g": f"torch.nn.utils.remove_weight_norm({path}, {weight!r})",
            }
            _refuse_computed(
                f"{where} computes its {weight} from {' and '.join(found)}",
                undo[found[0].rpartition("_")[2]],
            )
    if getattr(layer, "max_norm", None) is not None and isinstance(
        layer, nn.Embedding | nn.EmbeddingBag
    ):
        _refuse_computed(
            f"{where} changes its weight whenever it is used (max_norm)",
            f"{path}.max_norm = None",
        )
    if hasattr(layer, "weight_fake_quant"):
        _refuse_computed(
            f"{where} rounds its weight when it is used (quantization aware training)",
            "torch.ao.quantization.convert, or take the layers it was made of",
        )
    if ".quantized" in type(layer).__module__ and "torch" in type(layer).__module__:
        msg = (
            f"The layer {where} is quantized already, and cannot be trained: pass the "
            "module it was made of."
        )
        raise ValueError(msg)


def _refuse_computed(what: str, undo: str) -> None:
    msg = (
        f"The layer {what}, so the parameters are not the weights that are used, and "
        f"to compress them would compress nothing. Undo it in the trained module, by "
        f"{undo}, and pass that (in a FrozenEstimator, if it is a net)."
    )
    raise ValueError(msg)


def _check_parameter(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
    if is_lazy(parameter):
        return
    what = f"has the parameter {name!r} "
    if parameter.is_meta:
        _refuse(
            module,
            what + "on the meta device, without values",
            "load its weights first, for example by load_state_dict(..., assign=True)",
        )
    if parameter.is_inference():
        _refuse(
            module,
            what + "made in torch.inference_mode(), which cannot be trained",
            "make the module outside of it",
        )
    if parameter.layout != torch.strided or is_traceable_wrapper_subclass(parameter):
        _refuse(
            module,
            what + f"of the kind {type(parameter.data).__name__}, {parameter.layout}",
            "make it a plain tensor",
        )


def _refuse(module: nn.Module, what: str, instead: str) -> None:
    msg = f"The module {type(module).__name__} {what}: {instead}."
    raise ValueError(msg)
