"""Training of Θ itself: its degrees of freedom, with the structure fixed."""

from collections.abc import Mapping
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor, nn

from sklc.codes import Code, decompress, degrees_of_freedom
from sklc.codes.theta import multiplicities
from sklc.lstep.base import Projection

Theta = dict[str, Code]


class Unfolded(Callback):
    """A net whose compressed weights are Δ(Θ) at every forward pass.

    The gradients of the weights are handed down to the degrees of freedom of Θ, which
    the optimizer trains in their place. Where one of them stands for many weights, its
    gradient is their mean and not their sum: the weights then move as far as by a step
    of their own, projected on what the code can represent.

    Parameters
    ----------
    module : Module
    theta : dict of str to Code
    project : callable or None
        From Θ to the nearest feasible Θ of its structure, after each batch.
    """

    def __init__(
        self, module: nn.Module, theta: Mapping[str, Code], project: Projection | None
    ) -> None:
        copies: dict[int, Tensor] = {}

        def copy(tensor: Tensor) -> Tensor:  # what is shared stays shared
            if id(tensor) not in copies:
                new = tensor.detach().clone()
                copies[id(tensor)] = new.requires_grad_(new.is_floating_point())
            return copies[id(tensor)]

        self.theta = {name: code.map(copy) for name, code in theta.items()}
        self.project = project
        self.free = degrees_of_freedom(self.theta)
        self._shares = multiplicities(self.theta)
        self._weights = {name: module.get_parameter(name) for name in theta}

    @torch.no_grad()
    def substitute(self, *_: Any) -> None:
        """Put Δ(Θ) into the module."""
        for name, dense in decompress(self.theta).items():
            self._weights[name].copy_(dense)

    def on_grad_computed(self, net: NeuralNet, **kwargs: Any) -> None:
        names = [
            name for name, weight in self._weights.items() if weight.grad is not None
        ]
        dense = decompress({name: self.theta[name] for name in names})
        with_graph = [name for name in names if dense[name].requires_grad]
        if with_graph:
            torch.autograd.backward(
                [dense[name] for name in with_graph],
                [self._weights[name].grad for name in with_graph],
                inputs=self.free,
            )
        for tensor, share in self._shares:
            if tensor.grad is not None:
                tensor.grad /= share.clamp(min=1)
        for weight in self._weights.values():
            weight.grad = None

    def on_batch_end(self, net: NeuralNet, training: bool, **kwargs: Any) -> None:
        if self.project is None or not training:
            return
        with torch.no_grad():
            projected = degrees_of_freedom(self.project(self.theta))
            for tensor, new in zip(self.free, projected, strict=True):
                tensor.copy_(new)

    def result(self) -> Theta:
        """Return Θ as it was trained."""
        done: dict[int, Tensor] = {}

        def detach(tensor: Tensor) -> Tensor:
            return done.setdefault(id(tensor), tensor.detach())

        return {name: code.map(detach) for name, code in self.theta.items()}
