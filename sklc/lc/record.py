"""The history of a run of the LC algorithm, and the iterate that becomes its result."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sklc.codes import Code, decompress, nbits
from sklc.exceptions import warn
from sklc.lc.loop import Iterate, Layout
from sklc.lstep.base import Learner
from sklc.schemes.base import Scheme


@dataclass(frozen=True, eq=False)
class Kept:
    """An iterate that may become the result.

    Attributes
    ----------
    step : int
    objective : tuple of float and int
        Loss plus cost, and bits: the lower, the better.
    theta : dict of str to Code
    snapshot : dict
        All of the model, Δ(Θ) in it.
    """

    step: int
    objective: tuple[float, int]
    theta: dict[str, Code]
    snapshot: dict[str, Any]


class Record:
    """The history of the iterates, and the one to keep.

    Parameters
    ----------
    scheme : Scheme
    learner : Learner
    keep : {"best", "last"}
    """

    kept: Kept

    def __init__(self, scheme: Scheme, learner: Learner, keep: str) -> None:
        self.scheme, self.learner, self.keep = scheme, learner, keep
        self.layers = learner.layers()
        self.start = time.perf_counter()
        self.history: list[dict[str, Any]] = []

    def add(self, iterate: Iterate) -> None:
        """Measure Δ(Θ) in place of the weights, and keep it if it should be kept."""
        learner = self.learner
        state = learner.state_dict()
        weights = learner.weights()
        layout = Layout.of({name: weights[name] for name in iterate.theta})
        learner.substitute(decompress(iterate.theta))
        found = self._measure(
            iterate.step,
            iterate.mu,
            iterate.gap,
            iterate.theta,
            layout.split(iterate.weights),
        )
        first = iterate.step == 0
        if first or self.keep == "last" or found.objective < self.kept.objective:
            self.kept = found
        learner.load_state_dict(state)

    def add_finetuned(self, theta: dict[str, Code]) -> None:
        """Measure a fine-tuned Θ, which the model holds, and keep it if it is better.

        It stands at the end of the history as if `mu` had become infinite.
        """
        weights = decompress(theta)
        self.learner.substitute(weights)
        step = self.history[-1]["step"] + 1
        found = self._measure(step, math.inf, 0.0, theta, weights)
        if found.objective < self.kept.objective:
            self.kept = found

    def go_on(self, history: list[dict[str, Any]]) -> None:
        """Go on from the history of an earlier process."""
        self.history = history
        self.start = time.perf_counter() - history[-1]["seconds"]

    def _measure(
        self,
        step: int,
        mu: float,
        gap: float,
        theta: dict[str, Code],
        weights: Mapping[str, Tensor],
    ) -> Kept:
        """Extend the history by what the model, which holds Δ(Θ), is worth."""
        loss = self.learner.loss()
        cost = self.scheme.cost(theta, weights, self.layers)
        size = nbits(theta)
        objective = loss + cost
        if math.isnan(objective):
            objective = math.inf
        measured = Kept(step, (objective, size), theta, self.learner.state_dict())
        self.history.append(
            {
                "step": step,
                "mu": mu,
                "gap": gap,
                "loss": loss,
                "cost": cost,
                "nbits": size,
                "seconds": time.perf_counter() - self.start,
            }
        )
        return measured

    def warn_if_useless(self, reference: float) -> None:
        """Warn if nothing improved on direct compression."""
        direct, *steps = [entry["loss"] + entry["cost"] for entry in self.history]
        kept = self.kept.objective[0]
        if not steps or direct <= reference or kept < direct:
            return
        what, advice = (
            ("Fine-tuning", "Train longer (finetune_epochs), or")
            if math.isinf(self.history[1]["mu"])
            else (
                "The LC steps",
                "Train longer in each (epochs), begin with a smaller mu_init, or",
            )
        )
        msg = (
            f"{what} did not improve on direct compression: loss + cost is {kept:.4g} "
            f"at the step kept and {direct:.4g} without any. {advice} check the "
            "learning rate."
        )
        warn(msg)
