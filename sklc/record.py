"""The history of a run of the LC algorithm, and the iterate that becomes its result."""

import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sklc.codes import Code, decompress, nbits
from sklc.loop import Iterate, Layout

if TYPE_CHECKING:
    from sklc.lstep.base import Learner
    from sklc.schemes.base import Scheme


@dataclass(frozen=True, eq=False)
class Kept:
    """An iterate that may become the result."""

    step: int
    objective: tuple[float, int]
    theta: dict[str, Code]
    snapshot: dict[str, Tensor]


class Record:
    """The history of the iterates, and the one to keep."""

    kept: Kept

    def __init__(
        self, scheme: "Scheme", learner: "Learner", keep: str, start: float
    ) -> None:
        self.scheme, self.learner = scheme, learner
        self.layers = learner.layers()
        self.keep, self.start = keep, start
        self.history: list[dict[str, Any]] = []

    def add(self, iterate: Iterate) -> None:
        """Measure Δ(Θ) in place of the weights, and keep it if it should be kept."""
        learner, theta = self.learner, iterate.theta
        weights = learner.weights()
        layout = Layout.of({name: weights[name] for name in theta})
        own = layout.split(iterate.weights)
        learner.set_weights(decompress(theta))
        loss = learner.loss()
        cost = self.scheme.cost(theta, own, self.layers)
        size = nbits(theta)
        self.history.append(
            {
                "step": iterate.step,
                "mu": iterate.mu,
                "gap": iterate.gap,
                "loss": loss,
                "cost": cost,
                "nbits": size,
                "seconds": time.perf_counter() - self.start,
            }
        )
        objective = loss + cost, size
        first = iterate.step == 0
        if first or self.keep == "last" or objective < self.kept.objective:
            self.kept = Kept(iterate.step, objective, theta, learner.snapshot())
        learner.set_weights(own)

    def warn_if_useless(self, reference: float) -> None:
        """Warn if the steps did not improve on direct compression."""
        direct, *steps = [entry["loss"] + entry["cost"] for entry in self.history]
        kept = self.kept.objective[0]
        if steps and direct > reference and kept >= direct:
            msg = (
                f"The LC steps did not improve on direct compression: loss + cost is "
                f"{kept:.4g} at the step kept and {direct:.4g} without any. Train "
                "longer in each (epochs), begin with a smaller mu_init, or check the "
                "learning rate."
            )
            warnings.warn(msg, UserWarning, stacklevel=4)
