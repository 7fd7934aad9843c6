"""The loop that trains references and rivals, the losses, and what is measured."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from torch.optim import SGD, Optimizer

TEMPERATURE = 4.0
CHUNK = 1000  # samples that are evaluated at once


class Data(NamedTuple):
    """Samples and their labels."""

    X: Tensor
    y: Tensor


class DivergedError(RuntimeError):
    """The training loss is no number any more."""


class Labels:
    """The cross entropy to labels."""

    def __init__(self, y: Tensor) -> None:
        self.y = y

    def __call__(self, logits: Tensor, index: Tensor) -> Tensor:
        """Return the mean loss of the samples of an index."""
        return cross_entropy(logits, self.y[index])


class Distilled:
    """The divergence from what the reference says, at a temperature; no labels."""

    def __init__(self, reference: nn.Module, X: Tensor) -> None:
        self.targets = log_softmax(outputs(reference, X) / TEMPERATURE, 1)

    def __call__(self, logits: Tensor, index: Tensor) -> Tensor:
        """Return the mean loss of the samples of an index."""
        own = log_softmax(logits / TEMPERATURE, 1)
        divergence = kl_div(
            own, self.targets[index], reduction="batchmean", log_target=True
        )
        return TEMPERATURE**2 * divergence


Loss = Labels | Distilled


class Hooks:
    """What a method does around the batches of a plain loop: nothing."""

    def before(self, step: int) -> None:
        """Act before the forward pass of a batch."""

    def after_backward(self, step: int) -> None:
        """Act when there are gradients."""

    def after_step(self, step: int) -> None:
        """Act when the optimizer has made its step."""

    def finish(self) -> None:
        """Act when all is done."""


@dataclass
class Clock:
    """Seconds of the process and of the wall."""

    process: float = 0.0
    wall: float = 0.0

    def __enter__(self) -> "Clock":
        """Start."""
        self._start = process_time(), perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        process, wall = self._start
        self.process, self.wall = process_time() - process, perf_counter() - wall


def train(
    module: nn.Module,
    data: Data,
    loss: Loss,
    *,
    lr: float,
    epochs: int,
    batch_size: int,
    seed: int,
    hooks: Hooks | None = None,
    parameters: Iterable | None = None,
    wrap: Callable[[Optimizer], Optimizer] | None = None,
) -> None:
    """Train a module by SGD (Nesterov, 0.9) with a cosine rate to zero, by batch.

    Parameters
    ----------
    module : Module
    data : Data
    loss : Labels or Distilled
    lr : float
        The rate to begin with.
    epochs, batch_size, seed : int
    hooks : Hooks, default=None
    parameters : iterable, default=None
        What the optimizer trains; by default all parameters.
    wrap : callable, default=None
        From the optimizer to the one whose steps are made.

    Raises
    ------
    DivergedError
        If the loss is not finite at the end of an epoch.
    """
    hooks = hooks or Hooks()
    given = module.parameters() if parameters is None else parameters
    base = SGD(given, lr, momentum=0.9, nesterov=True)
    optimizer = base if wrap is None else wrap(base)
    generator = torch.Generator().manual_seed(seed)
    n_steps = epochs * steps_per_epoch(data, batch_size)
    step = 0
    for _ in range(epochs):
        module.train()
        order = torch.randperm(len(data.X), generator=generator)
        for index in order.split(batch_size):
            rate = lr * (1 + math.cos(math.pi * step / n_steps)) / 2
            for group in base.param_groups:
                group["lr"] = rate
            hooks.before(step)
            module.zero_grad(set_to_none=True)
            value = loss(module(data.X[index]), index)
            value.backward()
            hooks.after_backward(step)
            optimizer.step()
            hooks.after_step(step)
            step += 1
        if not math.isfinite(value.item()):
            raise DivergedError
    hooks.finish()


def steps_per_epoch(data: Data, batch_size: int) -> int:
    """Return how many batches an epoch has."""
    return math.ceil(len(data.X) / batch_size)


@torch.no_grad()
def outputs(module: nn.Module, X: Tensor) -> Tensor:
    """Return the logits, in eval mode."""
    module.eval()
    return torch.cat([module(part) for part in X.split(CHUNK)])


def test_error(module: nn.Module, data: Data) -> float:
    """Return the error on samples, in per cent."""
    wrong = outputs(module, data.X).argmax(1) != data.y
    return 100 * wrong.double().mean().item()


def training_loss(module: nn.Module, data: Data, loss: Loss) -> float:
    """Return the mean loss over all training samples, in eval mode."""
    return loss(outputs(module, data.X), torch.arange(len(data.X))).item()
