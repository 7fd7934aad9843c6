"""How long and how fast each L step trains."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from sklc.lstep.net.rate import Rate

_PART = 16  # batches
_PARTS = 10  # of an epoch, at most
_UPDATES = 2000  # of all L steps, at least, where nothing says how long to train
_SAMPLES = 2_000_000  # that are seen in these, at most
_TO_FINETUNE = 3  # epochs before for each one of fine-tuning


@dataclass(frozen=True)
class Plan:
    """The epochs and learning rates of all L steps.

    Attributes
    ----------
    epochs : int or None
        Of each step; None to spread `total` over the steps, at least one each, and the
        remainder over the first of them.
    first_epochs : int or None
        Of the first step; None for `epochs`.
    total : int
    n_steps : int
        How many steps are to come, at most.
    lr : float or None
        The first learning rate; None for that of the optimizer.
    lr_decay : float
    lr_schedule : {"step", "epoch", "restart"}
        Whether the rate decays after each step, after each epoch, or after each epoch
        and begins anew at each step.
    clip_lr : bool
        Whether the rate of plain SGD is at most ``1/mu``.
    compressed : bool
        Whether an L step begins at the compressed weights.
    part : int or None
        Batches after which Θ follows the weights; None to find out.
    max_update : float or None
        The largest step of SGD, in units of the norm of the weights.
    """

    epochs: int | None = 1
    first_epochs: int | None = None
    total: int = 0
    n_steps: int = 0
    lr: float | None = None
    lr_decay: float = 1.0
    lr_schedule: str = "step"
    clip_lr: bool = True
    compressed: bool = False
    part: int | None = None
    max_update: float | None = None

    def scaled_to(
        self, max_epochs: int, n_batches: int | None, n_samples: int | None
    ) -> "Plan":
        """Return the plan for a net, and its batches and samples as far as known.

        Parameters
        ----------
        max_epochs : int
            Of the net.
        n_batches : int or None
        n_samples : int or None
            None where few samples are no reason to see them more often.
        """
        total = 2 * max_epochs
        part = self.part or _PART
        if n_batches and n_samples:
            most = math.ceil(_SAMPLES / n_samples)
            total = max(total, min(math.ceil(_UPDATES / n_batches), most))
        if n_batches:
            part = self.part or max(_PART, n_batches // _PARTS)
        return replace(self, total=total, part=part)

    def epochs_to_finetune(self, n_steps: int) -> int:
        """Return how long to train Θ after so many L steps."""
        trained = sum(self.epochs_of(step) for step in range(1, n_steps + 1))
        return math.ceil(trained / _TO_FINETUNE)

    def epochs_of(self, step: int) -> int:
        """Return the epochs of a step, from 1."""
        if step == 1 and self.first_epochs is not None:
            return self.first_epochs
        if self.epochs is not None:
            return self.epochs
        each, rest = divmod(self.total, max(self.n_steps, 1))
        return max(1, each + (step <= rest))

    def rate_of(self, step: int, mu: float) -> Rate:
        """Return the learning rates of a step with a pull."""
        before = sum(self.epochs_of(earlier) for earlier in range(1, step))
        exponent: dict[str, Callable[[int], int]] = {
            "step": lambda epoch: step - 1,
            "epoch": lambda epoch: before + epoch,
            "restart": lambda epoch: epoch,
        }
        of = exponent[self.lr_schedule]
        limit = 1 / mu if self.clip_lr else math.inf
        return Rate(self.lr, lambda epoch: self.lr_decay ** of(epoch), limit)

    def finetuning_rate(self, epochs: int) -> Rate:
        """Return the rates from the first one down to zero, along half a cosine."""
        return Rate(self.lr, lambda epoch: (1 + math.cos(math.pi * epoch / epochs)) / 2)
