"""LC, and what one would do without it: from the same reference, for equal epochs.

Every method takes a :class:`Run` and leaves a module of the scheme's form.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor, nn

from benchmarks.rivals.cells import KEPT, covered
from benchmarks.rivals.tasks import Task
from benchmarks.rivals.training import (
    TEMPERATURE,
    Distilled,
    Hooks,
    Loss,
    steps_per_epoch,
    train,
)
from sklc import LCCompressor
from sklc.codes import Code, Quantized, Scaled, Sparse, Sum, decompress
from sklc.codes.theta import degrees_of_freedom, multiplicities, trainable
from sklc.exceptions import UselessResultWarning
from sklc.lstep import NetLStep
from sklc.schemes import ConstraintL0Pruning, Scheme

#: Batches between two C steps of a straight-through run.
PERIOD = 10
#: The share of a run after which supports stay as they are.
SETTLED = 0.75


@dataclass
class Run:
    """What a method is given: a task, a scheme by name and as such, and a budget."""

    task: Task
    name: str
    scheme: Scheme
    epochs: int
    loss: Loss
    lr: float | None

    def train(self, module: nn.Module, **options: object) -> nn.Module:
        """Train a module for all epochs, as every rival does."""
        train(
            module,
            self.task.train,
            self.loss,
            lr=self.lr,
            epochs=self.epochs,
            batch_size=self.task.recipe.batch_size,
            seed=self.task.seed,
            **options,
        )
        return module

    @property
    def n_steps(self) -> int:
        """How many batches that are."""
        recipe = self.task.recipe
        return self.epochs * steps_per_epoch(self.task.train, recipe.batch_size)


class BatchCount(Callback):
    """How many batches all nets have trained on that have this callback."""

    total = 0

    def on_batch_end(self, net: NeuralNet, training: bool, **_: object) -> None:
        """Count a batch."""
        BatchCount.total += training


def lc(run: Run) -> nn.Module:
    """LC without tuning: it is told its epochs, and the loss."""
    distilled = isinstance(run.loss, Distilled)
    net = run.task.net([BatchCount()])
    compressor = LCCompressor(
        FrozenEstimator(net),
        run.scheme,
        l_step=NetLStep(epochs=1, distill=float(distilled), temperature=TEMPERATURE),
        max_iter=l_steps(run.epochs),
        random_state=run.task.seed,
    )
    X, y = (tensor.numpy() for tensor in run.task.train)
    BatchCount.total = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UselessResultWarning)
        compressor.fit(X, None if distilled else y)
    if BatchCount.total > run.n_steps:
        msg = f"LC trained on {BatchCount.total} batches, and was given {run.n_steps}."
        raise AssertionError(msg)
    return compressor.estimator_.module_


def l_steps(epochs: int) -> int:
    """Return how many L steps of an epoch leave a third as many for fine-tuning."""
    return max(n for n in range(epochs) if n + math.ceil(n / 3) <= epochs)


class DirectHooks(Hooks):
    """The weights are those of a Θ in training, which receives their gradients."""

    def __init__(self, weights: dict[str, nn.Parameter], scheme: Scheme) -> None:
        self.weights = weights
        theta = scheme.compress({n: w.detach() for n, w in weights.items()}, mu=1.0)
        self.theta = trainable(theta)
        self.free = degrees_of_freedom(self.theta)
        # a value of many weights moves by the mean of their gradients
        self.shares = [(t, 1 / n.clamp(min=1)) for t, n in multiplicities(self.theta)]

    @torch.no_grad()
    def before(self, step: int) -> None:
        """Write Δ(Θ) into the module."""
        for name, dense in decompress(self.theta).items():
            self.weights[name].copy_(dense)

    def after_backward(self, step: int) -> None:
        """Hand the gradients down."""
        for tensor in self.free:
            tensor.grad = None
        for name, code in self.theta.items():
            code.dense().backward(self.weights[name].grad)
        for tensor, share in self.shares:
            tensor.grad *= share

    def finish(self) -> None:
        """Leave Δ(Θ) in the module."""
        self.before(0)


def direct(run: Run) -> nn.Module:
    """Direct compression; then values, non-zeros or factors are trained."""
    module = run.task.module()
    hooks = DirectHooks(covered(run.scheme, module), run.scheme)
    compressed = {id(weight) for weight in hooks.weights.values()}
    others = [p for p in module.parameters() if id(p) not in compressed]
    return run.train(module, hooks=hooks, parameters=[*others, *hooks.free])


class GMPHooks(Hooks):
    """Masks that shrink by the cubic schedule of Zhu and Gupta, and then stay."""

    def __init__(self, weights: dict[str, nn.Parameter], keep: float, end: int) -> None:
        self.weights, self.keep, self.end = weights, keep, end
        self.period = max(1, end // 100)
        self.masks = {name: torch.ones_like(w) for name, w in weights.items()}

    def before(self, step: int) -> None:
        """Prune the smallest weights of all layers together, now and then."""
        if step > self.end or (step % self.period and step < self.end):
            return
        share = min(1.0, step / self.end)
        density = self.keep + (1 - self.keep) * (1 - share) ** 3
        weights = {name: w.detach() for name, w in self.weights.items()}
        theta = ConstraintL0Pruning(density).compress(weights, mu=1.0)
        self.masks = {n: (d != 0).float() for n, d in decompress(theta).items()}
        self.after_step(step)

    def after_backward(self, step: int) -> None:
        """Train what is left."""
        for name, weight in self.weights.items():
            weight.grad *= self.masks[name]

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Keep zeros at zero, whatever momentum says."""
        for name, weight in self.weights.items():
            weight *= self.masks[name]


def gmp(run: Run) -> nn.Module:
    """Gradual magnitude pruning; for the last quarter the masks are fixed."""
    module = run.task.module()
    end = int(SETTLED * run.n_steps)
    hooks = GMPHooks(covered(run.scheme, module), KEPT[run.name], end)
    return run.train(module, hooks=hooks)


class StraightThroughHooks(Hooks):
    """Gradients are taken at the compressed weights, and move the latent ones."""

    def __init__(self, weights: dict[str, nn.Parameter], scheme: Scheme) -> None:
        self.weights, self.scheme = weights, scheme
        self.theta: dict[str, Code] = {}
        self.latent = {name: w.detach().clone() for name, w in weights.items()}

    @torch.no_grad()
    def before(self, step: int) -> None:
        """Compress: by a C step at times, else by the values that there are."""
        for name, weight in self.weights.items():
            self.latent[name].copy_(weight)
        if step % PERIOD == 0:
            self.theta = self.scheme.compress(self.latent, 1.0, self.theta)
            compressed = decompress(self.theta)
        else:
            compressed = {
                name: nearest(code, self.latent[name])
                for name, code in self.theta.items()
            }
        for name, weight in self.weights.items():
            weight.copy_(compressed[name])

    @torch.no_grad()
    def after_backward(self, step: int) -> None:
        """Put the latent weights back, for the optimizer."""
        for name, weight in self.weights.items():
            weight.copy_(self.latent[name])

    def finish(self) -> None:
        """Leave the weights compressed, by a C step."""
        self.before(0)


def nearest(code: Code, weight: Tensor) -> Tensor:
    """Return the nearest weight with the values, or the support, of a code."""
    match code:
        case Quantized(codebook=codebook):
            return _nearest_value(codebook[0].sort().values, weight)
        case Scaled(scale=scale, levels=levels):
            return _nearest_value(scale * scale.new_tensor(levels), weight)
        case Sparse():
            return weight * (code.dense() != 0)
        case Sum(terms={"codes": codes, "corrections": corrections}):
            return torch.where(corrections.dense() != 0, weight, nearest(codes, weight))
    msg = f"There is no quick projection for {type(code).__name__}."
    raise TypeError(msg)


def _nearest_value(values: Tensor, weight: Tensor) -> Tensor:
    middles = (values[1:] + values[:-1]) / 2
    return values[torch.bucketize(weight, middles)]


def straight_through(run: Run) -> nn.Module:
    """Straight-through training, with our C step as projector."""
    module = run.task.module()
    hooks = StraightThroughHooks(covered(run.scheme, module), run.scheme)
    return run.train(module, hooks=hooks)


Method = Callable[[Run], nn.Module]
