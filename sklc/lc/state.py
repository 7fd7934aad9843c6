"""The state of a run: all that the next step, and the result, depend on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from sklc.codes import Code, to
from sklc.lc.loop import Iterate


@dataclass(frozen=True, eq=False)
class Kept:
    """The iterate that becomes the result, unless a better one comes.

    Attributes
    ----------
    step : int
    theta : dict of str to Code
    learner : dict
        The state of the learner that holds Δ(Θ): all of the model.
    """

    step: int
    theta: dict[str, Code]
    learner: dict[str, Any]


@dataclass(frozen=True, eq=False)
class State:
    """A run of the LC algorithm after a step, as one value.

    Whoever has it can go on from there: a run that was killed, or a next run that
    starts where this one ended.

    Attributes
    ----------
    iterate : Iterate
    residual : float
        How far the iterate is from standing still, see
        :func:`sklc.lc.stationarity.dual_residual`; infinite at step 0.
    history : list of dict
        An entry for every step, from step 0 on, and one more for fine-tuning.
    kept : Kept
    direct : Kept or None
        Direct compression, if it is needed at the end.
    visited : tuple of Kept
        Iterates of other structures, the best one first, where fine-tuning is so cheap
        that it is tried on several. They hold Θ alone.
    mu_init, mu_factor : float
        The first pull, and the factor by which it grows.
    reference_loss : float
        The loss of the model before it was compressed.
    learner : dict
        The state of the learner, at the weights of the iterate.
    reference : dict or None
        The state of the learner before compression, if that is needed.
    """

    iterate: Iterate
    residual: float
    history: list[dict[str, Any]]
    kept: Kept
    direct: Kept | None
    mu_init: float
    mu_factor: float
    reference_loss: float
    learner: dict[str, Any]
    reference: dict[str, Any] | None = None
    visited: tuple[Kept, ...] = ()

    @property
    def entry(self) -> dict[str, Any]:
        """The entry of the history for the last step."""
        return self.history[-1]

    @property
    def kept_entry(self) -> dict[str, Any]:
        """The entry of the history for the iterate that is kept."""
        return self.history[self.kept.step]

    def on(self, device: torch.device) -> "State":
        """Return the state with Θ and the multipliers on a device.

        What the learner's states hold stays where it is: the learner takes it from
        anywhere.
        """
        iterate = replace(
            self.iterate,
            weights=self.iterate.weights.to(device),
            multipliers=self.iterate.multipliers.to(device),
            theta=to(self.iterate.theta, device),
        )
        kept = replace(self.kept, theta=to(self.kept.theta, device))
        direct = self.direct and replace(
            self.direct, theta=to(self.direct.theta, device)
        )
        visited = tuple(
            replace(each, theta=to(each.theta, device)) for each in self.visited
        )
        return replace(self, iterate=iterate, kept=kept, direct=direct, visited=visited)


def objective(entry: Mapping[str, Any]) -> tuple[float, int]:
    """Return what an entry of the history is judged by, the lower the better.

    Loss plus cost (infinite if it is not a number), and bits where that ties.
    """
    total = entry["loss"] + entry["cost"]
    return (math.inf if math.isnan(total) else total), entry["nbits"]


def no_better(loss: float, constant: float) -> bool:
    """Whether a loss is that of a constant prediction, or worse.

    Parameters
    ----------
    loss : float
    constant : float
        The loss of the best constant; infinite if that is not known.
    """
    known = math.isfinite(constant)
    return not loss < (constant - 1e-3 * abs(constant) if known else math.inf)
