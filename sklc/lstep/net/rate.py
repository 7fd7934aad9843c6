"""The learning rates of the L steps."""

import math
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback


class Rate(Callback):
    """Learning rates of one L step: a start, lowered (or not) after each epoch.

    Every parameter group keeps its proportion to the first one that moves.

    Parameters
    ----------
    start : float or None
        The learning rate of the first epoch; None for that of the optimizer.
    factor : callable
        From the number of an epoch of this step, from 0, to what multiplies `start`.
    limit : float, default=inf
        An upper limit for plain SGD, as strong pulls need.
    """

    def __init__(self, start: float | None, factor: Any, limit: float = math.inf):
        self.start = start
        self.factor = factor
        self.limit = limit

    def prepare(self, net: NeuralNet) -> None:
        """Take hold of new optimizers, and set their rates for the first epoch."""
        self._groups = []
        for name in net._optimizers:
            optimizer = getattr(net, f"{name}_")
            limit = self.limit if isinstance(optimizer, torch.optim.SGD) else math.inf
            rates = [group["lr"] for group in optimizer.param_groups]
            first = next(filter(None, rates), 0.0)
            self._groups += [
                (group, self._first(group["lr"], first), limit)
                for group in optimizer.param_groups
            ]
        self._set(0)
        self._epoch = 0

    @property
    def current(self) -> float:
        """The learning rate of the first parameter group."""
        return float(self._groups[0][0]["lr"])

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        # an unchanged rate is not set again: schedulers of the user may have changed it
        if self._epoch and self.factor(self._epoch) != self.factor(self._epoch - 1):
            self._set(self._epoch)
        self._epoch += 1

    def _first(self, own: float, first: float) -> float:
        """Return where the rate of a group begins, `first` being that of the first."""
        if self.start is None:
            return own
        return own * (self.start / first) if first else self.start

    def _set(self, epoch: int) -> None:
        for group, start, limit in self._groups:
            group["lr"] = min(start * self.factor(epoch), limit)
