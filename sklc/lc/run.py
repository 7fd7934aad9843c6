"""One run of the LC algorithm: it drives the loop, from a first state to the last."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from sklc.codes import Theta
from sklc.codes.theta import structure
from sklc.exceptions import DivergenceError, UselessResultWarning, warn
from sklc.lc.loop import Iterate, direct_compression, learning_compression
from sklc.lc.observers import Observer
from sklc.lc.record import Record
from sklc.lc.schedule import (
    GROWTH,
    Schedule,
    automatic_mu,
    exponential,
    growth_factor,
    listed,
)
from sklc.lc.state import State, objective
from sklc.lc.stationarity import dual_residual
from sklc.lc.verdict import Verdict
from sklc.lstep.base import Learner
from sklc.schemes.base import Scheme


@dataclass
class Run:
    """A run of the LC algorithm on a learner.

    Most parameters are those of :class:`~sklc.LCCompressor`.

    Parameters
    ----------
    observers : sequence of Observer
        Who watches, in this order.
    train_reference : callable or None
        What trains the reference, if not the learner alone.
    state : State or None
        To go on from, see :func:`~sklc.lc.resume.resumed`.
    keep_reference : bool
        Whether the last state has the reference and direct compression, too.

    Attributes
    ----------
    state : State or None
        What the run has reached, whatever ended it, an error too; None before the
        result of direct compression.
    termination : str
        Why it ended: converged, max_iter, callback, interrupted, diverged or failed.
    constant_loss : float
        The loss of the best constant prediction; infinite if that is not known.
    diverged : str
        What fine-tuning said if it diverged: then it is as if there was none.
    """

    learner: Learner
    scheme: Scheme
    mu_init: float | str | Sequence[float]
    mu_factor: float | str
    max_iter: int
    tol: float
    keep: str
    multipliers: bool
    finetune: int | str
    observers: Sequence[Observer] = ()
    train_reference: Callable[[], None] | None = None
    state: State | None = None
    keep_reference: bool = False

    termination: str = field(init=False, default="failed")
    constant_loss: float = field(init=False, default=math.inf)
    diverged: str = field(init=False, default="")

    def execute(self) -> State:
        """Compress, until convergence or the last step, and fine-tune.

        Returns
        -------
        State
            The last one.

        Raises
        ------
        DivergenceError
            If an L step left the finite numbers.
        KeyboardInterrupt
            If there is no result yet; otherwise an interrupt ends the run.
        """
        with ExitStack() as watched:
            for observer in self.observers:
                watched.callback(observer.close)
            try:
                return self._run()
            except KeyboardInterrupt:
                if self.state is None:
                    raise
                self.termination = "interrupted"
                msg = (
                    f"Interrupted after {self.state.iterate.step} of {self.max_iter} "
                    f"LC steps: the result is the iterate of step "
                    f"{self.state.kept.step}."
                )
                warn(msg)
                return self.state
            except DivergenceError:
                self.termination = "diverged"
                raise

    def _run(self) -> State:
        record = self._record()
        self.state = state = self.state or self._first(record)
        steps = learning_compression(
            self.learner,
            self.scheme,
            state.iterate,
            self._next_mu(),
            multipliers=self.multipliers,
        )
        end = self._told(state)
        while not end:
            before, iterate = state.iterate, next(steps)
            state = record.next(state, iterate, dual_residual(iterate, before))
            self.state = state
            end = self._told(state)
        self.state = state = record.settled(state)
        self.constant_loss = self.learner.constant_loss()
        n_steps = state.iterate.step
        if epochs := self._finetune_epochs(state.kept.theta, n_steps):
            self.state = state = self._finetuned(record, state, epochs)
        self.termination = end
        for observer in self.observers:
            observer.on_end(state, end)
        return state

    def _record(self) -> Record:
        seconds = self.state.entry["seconds"] if self.state else 0.0
        return Record(self.learner, self.scheme, self.keep, seconds)

    def _told(self, state: State) -> str:
        """Tell the observers of a step; return why to end, or nothing."""
        end = self._end(state)
        stops = [observer.on_step(state, end) for observer in self.observers]
        return end or ("callback" if any(stops) else "")

    def _end(self, state: State) -> str:
        step, gap = state.iterate.step, state.iterate.gap
        if step and gap <= self.tol and state.residual <= self.tol:
            return "converged"
        return "max_iter" if step >= self.max_iter else ""

    def _next_mu(self) -> Callable[[Iterate], float]:
        """Return the schedule, which sees the whole state of the run."""
        schedule: Schedule = exponential
        if isinstance(self.mu_init, Sequence) and not isinstance(self.mu_init, str):
            schedule = listed(self.mu_init)

        def next_mu(iterate: Iterate) -> float:
            assert self.state is not None
            return schedule(self.state)

        return next_mu

    # ---- where it begins ----

    def _first(self, record: Record) -> State:
        """Return step 0: the reference, trained, and compressed."""
        learner = self.learner
        (self.train_reference or learner.train_reference)()
        learner.begin()
        needed = self.keep_reference or learner.needs_reference
        reference_loss = learner.loss()
        reference = learner.state_dict() if needed else None
        iterate, mu_factor = self._direct()
        state = record.first(iterate, mu_factor, reference_loss, reference)
        keep = learner.exact or learner.stochastic or self.keep_reference
        return replace(state, direct=state.kept if keep else None)

    def _direct(self) -> tuple[Iterate, float]:
        """Return direct compression at the first pull, and the factor of its growth."""
        given = self.mu_init
        if isinstance(given, str):
            iterate, last = automatic_mu(self.learner, self.scheme)
            if not self.max_iter and self.scheme.has_cost:  # step 0 is the last, too
                theta = iterate.theta
                iterate = direct_compression(self.learner, self.scheme, last, theta)
        elif not isinstance(given, float):
            return direct_compression(self.learner, self.scheme, given[0]), 1.0
        else:
            iterate = direct_compression(self.learner, self.scheme, given)
            last = GROWTH * given
        if isinstance(self.mu_factor, str):
            return iterate, growth_factor(iterate.mu, last, self.max_iter)
        return iterate, self.mu_factor

    # ---- how it ends ----

    def _finetune_epochs(self, theta: Theta, n_steps: int) -> int:
        """Return how long to train Θ in the end."""
        if not isinstance(self.finetune, str):
            return self.finetune
        return self.learner.epochs_to_finetune(theta, n_steps)

    def _finetuned(self, record: Record, state: State, epochs: int) -> State:
        """Train Θ of the iterate that is kept; keep what comes of it if it is good.

        Where that is cheap, Θ of direct compression is trained, too, and so is that of
        other iterates.
        """
        weights, layers = self.learner.weights(), self.learner.layers()
        own = {name: weights[name] for name in self.scheme.covers(weights)}
        budgets = self.scheme.budgets(own, layers) if self.learner.exact else {}
        project = None
        if not self.scheme.keeps_feasible:
            project = partial(self.scheme.project, layers=layers)
        ends = []
        self.learner.load_state_dict(state.kept.learner, generators=False)
        for start in _distinct(state) if self.learner.exact else [state.kept.theta]:
            try:
                theta = (
                    self.learner.refit(start, budgets, project)
                    if self.learner.exact
                    else self.learner.finetune(start, epochs, project)
                )
            except DivergenceError as error:
                self.diverged = str(error)
            else:
                ends.append(record.finetuned(state, theta, self.constant_loss))
        if ends:
            self.diverged = ""
        return min(ends, key=lambda end: objective(end.entry), default=state)

    def warn_if_useless(self) -> None:
        """Warn, once, if the result is of little use, of all that is wrong with it."""
        if self.state is None:
            return
        verdict = Verdict(
            self.state,
            self.termination,
            self.scheme.has_cost,
            self.constant_loss,
            self.diverged,
            self.learner.exact,
        )
        if message := str(verdict):
            warn(message, UselessResultWarning)


def _distinct(state: State) -> list[Theta]:
    """Return the best Θ of a run that differ in structure, direct compression too."""
    direct = [state.direct] if state.direct else []
    every = [state.kept, *direct, *state.visited]
    return [*{structure(kept.theta): kept.theta for kept in every}.values()]
