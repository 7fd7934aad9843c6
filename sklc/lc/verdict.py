"""Whether the result of a run is of any use, and what to do if it is not."""

import math
from dataclasses import dataclass
from typing import Any

from sklc.codes import Code
from sklc.lc.state import State, no_better

#: A model that is not smaller by this factor is hardly smaller.
SMALLER = 1.05
#: A gap that is larger at the end is open: the weights are not those of Θ.
OPEN = 0.2


@dataclass(frozen=True)
class Verdict:
    """What is known of a run when it is judged.

    Attributes
    ----------
    state : State
        The last one.
    termination : str
    has_cost : bool
        Whether the scheme has a price that may be changed.
    constant_loss : float
        The loss of the best constant prediction; infinite if that is not known.
    diverged : str
        What fine-tuning said if it diverged; empty if it did not.
    exact : bool
        Whether L steps are solved: then no learning rate or longer training helps.
    """

    state: State
    termination: str
    has_cost: bool
    constant_loss: float = math.inf
    diverged: str = ""
    exact: bool = False

    def __str__(self) -> str:
        """Return all that is to be said, in one message; nothing if all is well."""
        found = [
            self._hardly_smaller(),
            self._open_gap(),
            self._constant(),
            self._no_better_than_direct(),
            self._finetuning(),
        ]
        said = " ".join(filter(None, found))
        return f"The result may be of little use. {said}" if said else ""

    @property
    def _steps(self) -> list[dict[str, Any]]:
        """The entries of the LC steps: without direct compression and fine-tuning."""
        return self.state.history[1 : self.state.iterate.step + 1]

    @property
    def _is_open(self) -> bool:
        ended = self.termination in ("max_iter", "callback")
        still = bool(self._steps) and ended and self._steps[-1]["gap"] > OPEN
        return still and not self._is_zero

    @property
    def _is_finetuned(self) -> bool:
        """Whether what is kept was trained as Θ: then there is no gap any more."""
        return self.state.kept.step > self.state.iterate.step

    @property
    def _is_zero(self) -> bool:
        """Whether a constraint leaves nothing but zero: relatively, no gap closes."""
        return not self.has_cost and is_empty(self.state.iterate.theta)

    @property
    def _as_good(self) -> bool:
        """Whether what is kept, Δ(Θ), has lost nothing of a model that was trained."""
        reference = self.state.reference_loss
        trained = not no_better(reference, self.constant_loss)
        return trained and self.state.kept_entry["loss"] <= reference

    def _hardly_smaller(self) -> str:
        ratio = self.state.kept_entry["compression_ratio"]
        if ratio >= SMALLER:
            return ""
        advice = (
            "Raise the price of what is stored (alpha)."
            if self.has_cost
            else "Choose a stronger compression (fewer values, weights or ranks), or "
            "one that covers more of the model."
        )
        return f"It is hardly smaller: the compression ratio is {ratio:.2f}. {advice}"

    def _open_gap(self) -> str:
        if not self._is_open or self._as_good or self._is_finetuned:
            return ""
        last = self._steps[-1]
        found = (
            f"The gap is still open after {last['step']} steps "
            f"(||w - Δ(Θ)|| / ||w|| = {last['gap']:.2g})"
        )
        weak = f"the pull ended too weak (mu = {last['mu']:.2g})"
        if self.has_cost and is_empty(self.state.iterate.theta):
            return (
                f"{found}: {weak} for any weight to be worth its price, and Θ is "
                "empty. Give a larger mu_factor or mu_init, more steps (max_iter), or "
                "a lower price (alpha)."
            )
        stronger = "a larger mu_factor or mu_init"
        if self.exact:
            return f"{found}. Give more steps (max_iter), or {stronger}."
        return (
            f"{found}: the steps trained too little, or {weak}. Train longer in each "
            "(epochs) or with a larger learning rate, do more of them (max_iter), or "
            "give a larger mu_factor or mu_init."
        )

    def _constant(self) -> str:
        loss = self.state.kept_entry["loss"]
        if not no_better(loss, self.constant_loss):
            return ""
        found = (
            f"It predicts no better than a constant: its loss is {loss:.4g}, that of "
            f"the best constant {self.constant_loss:.4g}."
        )
        reference = self.state.reference_loss
        if no_better(reference, self.constant_loss):
            advice = (
                "check its penalty and data."
                if self.exact
                else "train that longer, or check its learning rate and data."
            )
            return f"{found} Nor did the model before ({reference:.4g}): {advice}"
        longer = "" if self.exact else ", or train longer"
        return f"{found} Choose a weaker compression{longer}."

    def _no_better_than_direct(self) -> str:
        state, history = self.state, self.state.history
        direct, kept = (
            entry["loss"] + entry["cost"] for entry in (history[0], state.kept_entry)
        )
        if len(history) == 1 or direct <= state.reference_loss or kept < direct:
            return ""
        if self._is_zero:
            return ""
        what, rate = "The LC steps", " the learning rate."
        if not self._steps:
            what, advice = "Fine-tuning", "Train longer (finetune), or check"
        elif self._is_open:
            advice = "Close the gap first, and check"
        else:
            advice = (
                "Train longer in each (epochs), begin with a smaller mu_init, or check"
            )
        if self.exact:
            rate = ""
            advice = (
                "Close the gap first."
                if self._is_open
                else "Begin with a smaller mu_init, and give more steps (max_iter)."
            )
        return (
            f"{what} did not improve on direct compression: loss + cost is {kept:.4g} "
            f"at the step kept and {direct:.4g} without any. {advice}{rate}"
        )

    def _finetuning(self) -> str:
        if self.diverged:
            return f"{self.diverged} The result is that before fine-tuning."
        state = self.state
        ended = state.entry
        if self.exact:  # it is the best that it can be
            return ""
        if not math.isinf(ended["mu"]) or state.kept.step == ended["step"]:
            return ""
        if no_better(ended["loss"], self.constant_loss):
            how = "in a model that predicts no better than a constant"
        elif self._steps and _worse(ended, state.kept_entry) and not self._as_good:
            how = "worse than it began"
        else:
            return ""
        kept = state.kept_entry
        what = "loss + cost" if ended["cost"] or kept["cost"] else "loss"
        return (
            f"Fine-tuning ended {how} ({what} {ended['loss'] + ended['cost']:.4g}, and "
            f"{kept['loss'] + kept['cost']:.4g} before), which is not kept. Lower the "
            "learning rate, or train longer (finetune)."
        )


def is_empty(theta: dict[str, Code]) -> bool:
    """Whether Δ(Θ) is zero."""
    return not any(bool(code.dense().any()) for code in theta.values())


def _worse(entry: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether loss + cost is higher by more than rounding."""
    total, bar = (each["loss"] + each["cost"] for each in (entry, other))
    return not total <= bar + 1e-6 * abs(bar)
