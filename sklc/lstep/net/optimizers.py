"""What is known of the optimizers of a net: their rates, and how far they go."""

from collections.abc import Iterator
from typing import Any

import torch
from skorch import NeuralNet


def parameter_groups(net: NeuralNet) -> Iterator[dict[str, Any]]:
    """Yield the groups of parameters that a net optimizes."""
    for name in net._optimizers:
        yield from getattr(net, f"{name}_").param_groups


def learning_rate(net: NeuralNet) -> float:
    """Return that of the first parameters that a net optimizes, and that move."""
    return float(_first_group(net)["lr"])


def reach_of_batch(
    net: NeuralNet, how: str, lr: float | None = None, times: int = 1
) -> float:
    """Return how far a batch brings the weights where a pull of 1 leads them.

    Parameters
    ----------
    net : NeuralNet
    how : {"gradient", "loss", "decoupled"}
    lr : float or None, default=None
        The learning rate; None for that of the optimizer.
    times : int, default=1
        The number of samples, if the loss is the sum over them.
    """
    group = _first_group(net)
    if lr is not None:
        group = {**group, "lr": lr}
    return float(group["lr"]) if how == "decoupled" else times * reach_of(group)


def _first_group(net: NeuralNet) -> dict[str, Any]:
    """Return the first group of parameters that move; the very first if none does."""
    groups = list(parameter_groups(net))
    return next((group for group in groups if group["lr"]), groups[0])


def reach_of(group: dict[str, Any]) -> float:
    """Return how far a gradient moves the parameters of a group in the end."""
    momentum = group.get("momentum", 0.0)
    rest = (1 - momentum) / (1 - group.get("dampening", 0.0)) if momentum else 1.0
    return float(group["lr"] / rest) if rest else float(group["lr"])


def has_line_search(net: NeuralNet) -> bool:
    """Whether the optimizer of a net evaluates the loss several times per step."""
    kind = net.optimizer
    return isinstance(kind, type) and issubclass(kind, torch.optim.LBFGS)


def is_sgd(net: NeuralNet) -> bool:
    """Whether all optimizers of a net are torch's SGD."""
    return all(
        isinstance(getattr(net, f"{name}_"), torch.optim.SGD)
        for name in net._optimizers
    )
