"""What a net trains on and is measured by: targets, its reference, or both."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from skorch import NeuralNet

from sklc.lstep.net.distillation import Distillation, Teacher
from sklc.lstep.net.measure import Measure
from sklc.lstep.net.unlabelled import without_scores


class Objective:
    """The loss of a net that may learn from its reference.

    Parameters
    ----------
    net : NeuralNet
    measure : Measure
    distillation : Distillation
    batches : sequence of iterable
        What it trains on, is measured by and is validated with, or None for nothing.
    labelled : bool
        Whether these have targets.
    fit_params : dict
        What the module gets in training besides the samples.

    Attributes
    ----------
    distils : bool
        Whether it may learn from the reference.
    """

    def __init__(
        self,
        net: NeuralNet,
        measure: Measure,
        distillation: Distillation,
        batches: Sequence[Any],
        *,
        labelled: bool,
        fit_params: dict[str, Any],
    ) -> None:
        self._net, self._measure = net, measure
        self._distillation = distillation
        self._batches = [each for each in batches if each is not None]
        self._labelled = labelled
        self._fit_params = fit_params
        self._teacher: Teacher | None = None
        self._divergence = distillation.divergence(
            net, measure.criterion, labelled=labelled
        )
        self.distils = self._divergence is not None

    @property
    def trained_on(self) -> str:
        """What the loss is of (see :class:`~sklc.lstep.base.Learner`)."""
        if self._teacher is None:
            return "targets"
        alone = self._teacher.share == 1.0
        return "reference" if alone else "targets and reference"

    def begin(self) -> None:
        """Take the current weights as the reference, unless there is one."""
        if self._teacher is not None or self._divergence is None:
            return
        self._teacher = Teacher(
            self._net,
            self._divergence,
            self._distillation.share_of(labelled=self._labelled),
            self._batches,
            labelled=self._labelled,
            fit_params=self._fit_params,
        )

    @contextmanager
    def imposed(self) -> Iterator[None]:
        """Let the net train on it, for a while."""
        if self._teacher is None:
            yield
            return
        scored = nullcontext() if self._labelled else without_scores(self._net)
        with self._teacher.teaching(self._net), scored:
            yield

    def loss(self, *, quick: bool = False) -> float:
        """Return the mean loss over the samples to measure with, or a few of them."""
        with self.imposed():
            return self._measure.loss(quick=quick)

    def constant_loss(self) -> float:
        """Return a loss that no constant prediction is below; inf if not known."""
        own = self._own_constant_loss()
        if self._teacher is None:
            return own
        return self._teacher.constant_loss(own, self._measure.batches)

    def _own_constant_loss(self) -> float:
        return self._measure.constant_loss() if self._labelled else math.inf
