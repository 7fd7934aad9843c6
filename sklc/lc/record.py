"""What iterates are worth: their history, and the one that becomes the result."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from sklc.codes import Code, decompress
from sklc.codes.theta import structure
from sklc.lc.loop import Iterate, Layout
from sklc.lc.sizes import Sizes, facts_by_weight
from sklc.lc.state import Kept, State, no_better, objective
from sklc.lstep.base import Learner
from sklc.schemes.base import Scheme


class Record:
    """Measures iterates and decides which to keep.

    Parameters
    ----------
    learner : Learner
    scheme : Scheme
    keep : {"best", "last"}
    seconds : float, default=0.0
        How long the run has taken already, in an earlier process.

    Attributes
    ----------
    sizes : Sizes
    """

    def __init__(
        self, learner: Learner, scheme: Scheme, keep: str, seconds: float = 0.0
    ) -> None:
        self.learner, self.scheme, self.keep = learner, scheme, keep
        self.layers = learner.layers()
        self.sizes = Sizes.of(learner, scheme.covers(learner.weights()))
        self._start = time.perf_counter() - seconds

    def first(
        self,
        iterate: Iterate,
        mu_factor: float,
        reference_loss: float,
        reference: dict[str, Any] | None = None,
    ) -> State:
        """Return the state at step 0, the learner being at its weights."""
        entry, kept, learner = self._measured(iterate)
        return State(
            iterate=iterate,
            residual=math.inf,
            history=[entry],
            kept=kept,
            direct=None,
            mu_init=iterate.mu,
            mu_factor=mu_factor,
            reference_loss=reference_loss,
            learner=learner,
            reference=reference,
        )

    def next(self, state: State, iterate: Iterate, residual: float) -> State:
        """Return the state at the step after, the learner being at its weights.

        Of a stochastic learner the loss is estimated from some of the samples, until
        :meth:`settled`.
        """
        quick = self.learner.stochastic
        entry, found, learner = self._measured(iterate, quick=quick)
        better = objective(entry) < objective(state.kept_entry)
        return replace(
            state,
            iterate=iterate,
            residual=residual,
            history=[*state.history, entry],
            kept=found if better or self.keep == "last" else state.kept,
            learner=learner,
            visited=self._visited(state, entry, found),
        )

    def _visited(
        self, state: State, entry: dict[str, Any], found: Kept
    ) -> tuple[Kept, ...]:
        """Return the best iterates, each of another structure."""
        if not self.learner.tries:
            return ()
        entries = [*state.history, entry]
        every = [*state.visited, replace(found, learner={})]
        every.sort(key=lambda kept: objective(entries[kept.step]))
        distinct = {structure(kept.theta): kept for kept in reversed(every)}
        best = [kept for kept in every if kept in distinct.values()]
        return tuple(best[: self.learner.tries])

    def finetuned(self, state: State, theta: dict[str, Code], constant: float) -> State:
        """Return the state after fine-tuning, the learner being where that ended.

        It stands at the end of the history as if `mu` had become infinite.

        Parameters
        ----------
        state : State
        theta : dict of str to Code
            As it was trained.
        constant : float
            The loss of the best constant prediction: a model that is no better is dead.
        """
        weights = decompress(theta)
        self.learner.substitute(weights)
        step = state.entry["step"] + 1
        loss = self.learner.loss()
        entry = self._entry(step, math.inf, 0.0, theta, weights, loss)
        kept, alive = state.kept, not no_better(entry["loss"], constant)
        if alive and objective(entry) < objective(state.kept_entry):
            kept = Kept(step, theta, self.learner.state_dict())
        return replace(state, history=[*state.history, entry], kept=kept)

    def settled(self, state: State) -> State:
        """Return the last state with the best iterate, measured on all samples.

        The iterate that is kept so far may owe that to an estimate: it is measured
        again, and so is the last one. The best of them and direct compression is kept.
        """
        if not state.entry["estimated"]:
            return state
        learner, history = self.learner, [*state.history]
        last = Kept(state.iterate.step, state.iterate.theta, state.learner)
        found = [] if self.keep == "last" or not state.direct else [state.direct]
        for each in {state.kept.step: state.kept, last.step: last}.values():
            if history[each.step]["estimated"]:
                learner.load_state_dict(each.learner, generators=False)
                learner.substitute(decompress(each.theta))
                loss = float(learner.loss())
                entry = {**history[each.step], "loss": loss, "estimated": False}
                history[each.step] = entry
                found.append(replace(each, learner=learner.state_dict()))
        best = found[-1]
        if self.keep == "best":
            best = min(found, key=lambda each: objective(history[each.step]))
        learner.load_state_dict(state.learner)
        return replace(state, kept=best, history=history)

    def _measured(
        self, iterate: Iterate, *, quick: bool = False
    ) -> tuple[dict[str, Any], Kept, dict[str, Any]]:
        """Measure Δ(Θ) in place of the weights, which come back.

        Returns
        -------
        entry : dict
            Of the history.
        kept : Kept
            In case that the iterate is kept.
        learner : dict
            The state of the learner, at the weights of the iterate.
        """
        learner, theta = self.learner, iterate.theta
        state = learner.state_dict()
        weights = learner.weights()
        layout = Layout.of({name: weights[name] for name in theta})
        split = layout.split(iterate.weights)
        dense = decompress(theta)
        if quick:
            loss = learner.estimate(dense)
        else:
            learner.substitute(dense)
            loss = learner.loss()
        entry = self._entry(iterate.step, iterate.mu, iterate.gap, theta, split, loss)
        entry["estimated"] = quick
        kept = Kept(iterate.step, theta, learner.state_dict())
        learner.load_state_dict(state)
        return entry, kept, state

    def _entry(
        self,
        step: int,
        mu: float,
        gap: float,
        theta: dict[str, Code],
        weights: Mapping[str, Tensor],
        loss: float,
    ) -> dict[str, Any]:
        """Return what the model, which holds Δ(Θ), is worth."""
        layers = facts_by_weight(theta, self.scheme, weights, self.layers)
        size = sum(facts["nbits"] for facts in layers.values())
        return {
            "step": step,
            "mu": mu,
            "gap": gap,
            "loss": float(loss),
            "estimated": False,
            "trained_on": self.learner.trained_on,
            "cost": float(self.scheme.cost(theta, weights, self.layers)),
            "nbits": size,
            "compression_ratio": self.sizes.ratio(size),
            "layers": layers,
            "seconds": time.perf_counter() - self._start,
        }
