"""One run of the LC algorithm: who consumes its iterates, and when they end."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from torch import Tensor

from sklc.codes import Code, decompress
from sklc.exceptions import DivergenceError, warn
from sklc.lc.checkpoint import Checkpoint
from sklc.lc.loop import Iterate, direct_compression, learning_compression
from sklc.lc.progress import Progress
from sklc.lc.record import Kept, Record
from sklc.lc.schedule import GROWTH, automatic_mu, exponential, growth_factor, listed
from sklc.lc.stationarity import dual_residual
from sklc.lstep.base import Learner
from sklc.schemes.base import Scheme


@dataclass
class Run:
    """A run of the LC algorithm on a learner.

    The parameters are those of :class:`~sklc.LCCompressor`, but for two functions:
    `done` is called after every step with whether it is the last, and says whether to
    stop; `train_reference` is what trains the reference, if not the learner alone.
    Whatever ends the run, an error too, `record` holds what it reached.

    Attributes
    ----------
    record : Record
    reference_loss : float
    n_iter : int
        LC steps done.
    termination : str
        Why it ended: converged, max_iter, callback, interrupted, diverged or failed.
    """

    learner: Learner
    scheme: Scheme
    mu_init: float | str | Sequence[float]
    mu_factor: float | str
    max_iter: int
    tol: float
    keep: str
    multipliers: bool
    finetune_epochs: int
    checkpoint: Checkpoint | None
    verbose: int
    done: Callable[[bool], bool] | None = None
    train_reference: Callable[[], None] | None = None

    record: Record = field(init=False)
    reference_loss: float = field(init=False)
    n_iter: int = field(init=False, default=0)
    termination: str = field(init=False, default="failed")
    _direct: Kept | None = field(init=False, default=None)
    _before: Iterate | None = field(init=False, default=None)

    def execute(self) -> None:
        """Compress, until convergence or the last step, and fine-tune."""
        self.record = Record(self.scheme, self.learner, self.keep)
        progress = Progress(self.verbose, self.max_iter)
        try:
            end = self._iterate(progress)
            if self.finetune_epochs:
                self._finetune()
            self.termination = end
        except KeyboardInterrupt:
            if not self.record.history:
                raise
            self.termination = "interrupted"
            msg = (
                f"Interrupted after {self.n_iter} of {self.max_iter} LC steps: the "
                f"result is the iterate of step {self.record.kept.step}."
            )
            warn(msg)
        except DivergenceError:
            self.termination = "diverged"
            raise
        finally:
            progress.close()

    def _iterate(self, progress: Progress) -> str:
        for iterate in self._iterates():
            self.n_iter = iterate.step
            entry = self.record.history[-1]
            progress.tell(entry, self.ratio(entry["nbits"]))
            end = self._end(iterate)
            stopped = self.done is not None and self.done(bool(end))
            if end or stopped:
                return end or "callback"
        raise AssertionError  # the iterates have no end

    def _end(self, iterate: Iterate) -> str:
        """Return why to end after an iterate, or nothing."""
        before, self._before = self._before, iterate
        if before and iterate.gap <= self.tol >= dual_residual(iterate, before):
            return "converged"
        return "max_iter" if iterate.step >= self.max_iter else ""

    def _iterates(self) -> Iterator[Iterate]:
        """Yield the iterates, recorded and saved, from the first or a saved one on."""
        saved = self.checkpoint.load(self.record) if self.checkpoint else None
        if saved:
            first, mu, mu_factor, self.reference_loss = saved
            yield first
        else:
            (self.train_reference or self.learner.train_reference)()
            self.reference_loss = self.learner.loss()
            first, mu_factor = self._start()
            mu = first.mu
        following = learning_compression(
            self.learner,
            self.scheme,
            first,
            self._next_mu(mu, mu_factor),
            multipliers=self.multipliers,
        )
        for iterate in chain([] if saved else [first], following):
            self.record.add(iterate)
            if iterate.step == 0:
                self._direct = self.record.kept
            if self.checkpoint:
                self.checkpoint.save(
                    iterate, self.record, mu, mu_factor, self.reference_loss
                )
            yield iterate

    def _start(self) -> tuple[Iterate, float]:
        """Return direct compression at the first pull, and the factor of its growth."""
        if isinstance(self.mu_init, str):
            iterate, last = automatic_mu(self.learner, self.scheme)
        elif isinstance(self.mu_init, Sequence):
            first = float(self.mu_init[0])
            return direct_compression(self.learner, self.scheme, first), 1.0
        else:
            iterate = direct_compression(self.learner, self.scheme, self.mu_init)
            last = GROWTH * self.mu_init
        if isinstance(self.mu_factor, str):
            return iterate, growth_factor(iterate.mu, last, self.max_iter)
        return iterate, self.mu_factor

    def _next_mu(self, first: float, mu_factor: float) -> Callable[[Iterate], float]:
        if isinstance(self.mu_init, Sequence) and not isinstance(self.mu_init, str):
            return listed(self.mu_init)
        return exponential(first, mu_factor)

    def _finetune(self) -> None:
        """Fine-tune what is kept; where that costs little, direct compression too."""
        found = [self.record.kept]
        if self._direct and found[0].step > 0 and self.learner.exact:
            found.append(self._direct)
        trained = [self._trained(kept) for kept in found]
        _, theta, state = min(trained, key=lambda candidate: candidate[0])
        self.learner.restore(state)
        self.record.add_finetuned(theta)

    def _trained(self, kept: Kept) -> tuple[float, dict[str, Code], dict[str, Any]]:
        """Return loss + cost of a fine-tuned Θ, itself, and the learner's state."""
        self.learner.restore(kept.snapshot)
        project = None if self.scheme.keeps_feasible else self.scheme.project
        theta = self.learner.finetune(kept.theta, self.finetune_epochs, project)
        weights, layers = decompress(theta), self.learner.layers()
        cost = self.scheme.cost(theta, weights, layers)
        return self.learner.loss() + cost, theta, self.learner.snapshot()

    def ratio(self, theta_bits: int) -> float:
        """Return the compression ratio of the model, with so many bits for Θ."""
        weights = self.learner.weights().values()
        return sum(map(_bits, weights)) / self.size(theta_bits)

    def size(self, theta_bits: int) -> int:
        """Return the bits of the model: those of Θ and of what it does not cover."""
        covered = self.record.kept.theta
        weights = self.learner.weights().items()
        rest = sum(_bits(weight) for name, weight in weights if name not in covered)
        return theta_bits + rest


def _bits(weight: Tensor) -> int:
    return weight.numel() * weight.element_size() * 8
