"""How curved the loss of a net is, in the direction where it is curved the most."""

from typing import Any

import torch
from skorch import NeuralNet
from skorch.dataset import unpack_data

_STEPS = 12  # of the power method
_LENGTH = 1e-3  # of the weights: how far a difference of gradients looks


def sharpness(net: NeuralNet, batch: Any) -> float:
    """Return about the largest eigenvalue of the Hessian of the loss; 0.0 if unknown.

    By the power method, on differences of gradients in evaluation. It is unknown of
    modules that have no gradients in evaluation, and of weights in half precision.

    Parameters
    ----------
    net : NeuralNet
        Its weights, gradients and buffers are as they were afterwards.
    batch : object
    """
    inputs, y = unpack_data(batch)
    weights = [p for p in net.module_.parameters() if p.requires_grad]
    kept = [p.detach().clone() for p in weights]
    if not kept or any(p.element_size() < 4 for p in kept):
        return 0.0
    size = torch.stack([p.square().sum() for p in kept]).sum().sqrt()
    distance = float(_LENGTH * size) or _LENGTH
    generator = torch.Generator().manual_seed(0)
    way = [torch.randn(p.shape, generator=generator).to(p) for p in kept]
    found = 0.0

    def gradients(sign: float) -> list[torch.Tensor]:
        with torch.no_grad():
            for p, start, v in zip(weights, kept, way, strict=True):
                p.copy_(start + sign * distance * v)
        loss = net.get_loss(net.infer(inputs), y, X=inputs, training=False)
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        pairs = zip(found, weights, strict=True)
        return [torch.zeros_like(p) if g is None else g for g, p in pairs]

    net._set_training(False)
    try:
        for _ in range(_STEPS):
            length = torch.stack([v.square().sum() for v in way]).sum().sqrt()
            if not 0 < length < float("inf"):
                return 0.0
            way = [v / length for v in way]
            above, below = gradients(1.0), gradients(-1.0)
            way = [(a - b) / (2 * distance) for a, b in zip(above, below, strict=True)]
        found = float(torch.stack([v.square().sum() for v in way]).sum().sqrt())
    except RuntimeError:  # no gradients, such as of cuDNN's recurrent layers
        return 0.0
    finally:
        with torch.no_grad():
            for p, start in zip(weights, kept, strict=True):
                p.copy_(start)
    return found
