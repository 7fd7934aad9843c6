"""Statistics of batch normalisation, measured anew when the weights were replaced."""

from collections.abc import Iterable
from typing import Any

import torch
from skorch import NeuralNet
from skorch.dataset import get_len, unpack_data
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

_Norm = _BatchNorm | _InstanceNorm


def with_statistics(net: NeuralNet, module: nn.Module) -> list[_Norm]:
    """Return the layers of normalisation whose running statistics training changes.

    A module may keep some in evaluation, or let them forget nothing: they are fixed.
    """
    found = [
        layer
        for layer in module.modules()
        if isinstance(layer, _Norm)
        and layer.running_mean is not None
        and layer.momentum != 0.0
    ]
    if found:
        net._set_training(True)
        found = [layer for layer in found if layer.training]
        net._set_training(False)
    return found


def reestimate(net: NeuralNet, layers: Iterable[_Norm], batches: Iterable[Any]) -> None:
    """Set the running statistics of layers to those of data, sample by sample.

    Everything else is as in evaluation: no dropout, no gradients. A batch of one sample
    beside larger ones is left out, as it may have no variance.
    """
    layers = list(layers)
    momenta = [layer.momentum for layer in layers]
    net._set_training(False)
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
    largest = seen = 0
    try:
        with torch.no_grad():
            for batch in batches:
                inputs, _ = unpack_data(batch)
                size = get_len(inputs)
                largest = max(size, largest)
                if size == 1 < largest:
                    continue
                seen += size
                for layer in layers:  # a running average over all that was seen
                    layer.momentum = size / seen
                net.infer(inputs)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
