"""Copies of nets and modules, to train: what the user gave is never written to."""

from typing import Any

import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNet, NeuralNetClassifier
from skorch.utils import to_device
from torch import nn

from sklc.exceptions import warn
from sklc.lstep.net.modules import check_device, check_mode, check_module
from sklc.ops.copies import deepcopied
from sklc.wrappers import unfrozen


def copied(estimator: Any, device: Any) -> tuple[NeuralNet, bool]:
    """Return an initialized copy of a net, and whether its weights are trained.

    Parameters
    ----------
    estimator : NeuralNet, Module or FrozenEstimator
        Never written to.
    device : str, torch.device or None
        Where the copy is to be; None for where the original is, "auto" for a GPU if
        there is one.

    Raises
    ------
    ValueError
        If the net or module cannot be compressed.
    """
    check_mode()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else None
    check_device(device)
    inner = unfrozen(estimator)
    if isinstance(inner, nn.Module):
        check_module(inner)
        return classifier_of(deepcopied(inner), device).initialize(), True
    if not isinstance(inner, NeuralNet):
        msg = f"NetLStep trains skorch nets and torch modules, got {inner!r}."
        raise TypeError(msg)
    trained = isinstance(estimator, FrozenEstimator)
    net = _fitted_copy(inner, device) if trained else _fresh_copy(inner, device)
    if len(net._modules) > 1:
        msg = (
            f"The net has several modules, {net._modules}, and only one can be "
            "compressed: make them parts of one module."
        )
        raise ValueError(msg)
    _refuse_old_weights(net)
    return net, trained


def classifier_of(module: nn.Module, device: Any = None) -> NeuralNetClassifier:
    """Return the net that a module becomes: a classifier around it, where it is."""
    if device is None:
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
    return NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        lr=0.05,
        max_epochs=20,
        iterator_train__shuffle=True,
        train_split=None,
        device=str(device),
        verbose=0,
    )


def _fresh_copy(net: NeuralNet, device: Any) -> NeuralNet:
    """Return a net of the same parameters, before its first training."""
    if net.initialized_ and net.history:
        msg = (
            "The net is fitted already, and is trained again from its "
            "initialisation: pass FrozenEstimator(net) to start from its weights."
        )
        warn(msg)
    if device is None:
        check_device(net.device)
    if isinstance(net.module, nn.Module):
        check_module(net.module)
    # clone would copy modules without our care
    modules = {
        name: value
        for name, value in vars(net).items()
        if isinstance(value, nn.Module) and name in net.get_params(deep=False)
    }
    fresh = clone(with_attributes(net, **dict.fromkeys(modules)))
    vars(fresh).update({name: deepcopied(m) for name, m in modules.items()})
    if device is not None:
        fresh.device = device
    fresh.initialize()
    check_module(getattr(fresh.module_, "_orig_mod", fresh.module_))
    return fresh


def with_attributes(net: NeuralNet, **attributes: Any) -> NeuralNet:
    """Return a net with some attributes replaced, sharing all others."""
    other = object.__new__(type(net))
    vars(other).update(vars(net) | attributes)
    return other


def _fitted_copy(net: NeuralNet, device: Any) -> NeuralNet:
    """Return a copy of a net as it is, but for its optimizer."""
    if not net.initialized_:
        msg = (
            "FrozenEstimator holds a net that is not fitted: fit it first, or pass "
            "it without FrozenEstimator to have it trained."
        )
        raise NotFittedError(msg)
    check_module(getattr(net.module_, "_orig_mod", net.module_))
    return duplicate(net, device)


def duplicate(net: NeuralNet, device: Any = None) -> NeuralNet:
    """Return a copy of an initialized net as it is, but with a fresh optimizer.

    Nothing is pickled on the way (as skorch would): functions without a name are fine.

    Parameters
    ----------
    net : NeuralNet
    device : str, torch.device or None, default=None
        Where the copy is to be; None for where the net is.
    """
    modules = [part for part in vars(net).values() if isinstance(part, nn.Module)]
    fresh = object.__new__(type(net))
    memo: dict[int, Any] = {id(net): fresh}
    optimizers = {f"{name}_" for name in net._optimizers}
    own = {name: value for name, value in vars(net).items() if name not in optimizers}
    vars(fresh).update(deepcopied(own, modules, memo))
    if device is not None:
        fresh.device = device
        for name in fresh._modules + fresh._criteria:
            part = getattr(fresh, f"{name}_")
            if isinstance(part, nn.Module):
                to_device(part, device)
    fresh.initialize_optimizer()
    return fresh


def _refuse_old_weights(net: NeuralNet) -> None:
    for name, callback in net.callbacks_:
        if getattr(callback, "load_best", False):
            msg = (
                f"The callback {name!r}, {type(callback).__name__}(load_best=True), "
                "would put old weights back after each L step: set load_best=False; "
                "LCCompressor keeps the best iterate by itself (keep='best')."
            )
            raise ValueError(msg)
