"""Distillation: the outputs of the reference as targets, beside y or instead of it."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.utils import get_tags
from skorch import NeuralNet
from torch import Tensor, nn

from sklc.lstep.net.batches import Batches, fits, n_numbers
from sklc.lstep.net.copies import with_attributes
from sklc.lstep.net.criterion import Criterion
from sklc.lstep.net.divergence import Divergence, divergence_of
from sklc.lstep.net.pull import replaced_loss
from sklc.ops.copies import deepcopied

_MANY = 256  # samples, that go through the reference at once
_FEW = 1000  # outputs of a sample, which are kept even if samples are smaller
#: Methods through which a batch of ours could reach the loss as another one.
_STEPS = (
    *("fit_loop", "run_single_epoch", "train_step", "train_step_single"),
    *("validation_step", "evaluation_step"),
)


@dataclass(frozen=True)
class Distillation:
    """How much a net learns from its reference.

    Attributes
    ----------
    share : float or None
        Of the reference in the loss; None to find out.
    temperature : float
    """

    share: float | None = 0.0
    temperature: float = 4.0

    def share_of(self, *, labelled: bool) -> float:
        """Return the share: where nothing says it, all without targets and else none.

        Beside targets it helps some nets and harms others, as measured.
        """
        if self.share is not None:
            return self.share
        return 0.0 if labelled else 1.0

    def replaces_targets(self, net: NeuralNet) -> bool:
        """Whether a net that comes trained needs no targets, or could do without.

        A loss that is not known may need none: it then stays as it is, unless the net
        says that it needs them.
        """
        if self.share is not None:
            return self.share == 1.0
        known = divergence_of(net, Criterion(net), self.temperature) is not None
        return known or get_tags(net).target_tags.required

    def divergence(
        self, net: NeuralNet, criterion: Criterion, *, labelled: bool
    ) -> Divergence | None:
        """Return the divergence to train on, or None to train on targets alone.

        Raises
        ------
        ValueError
            If it is wanted and what the outputs of the net mean is not known.
        """
        if not self.share_of(labelled=labelled):
            return None
        found = divergence_of(net, criterion, self.temperature)
        if found is not None:
            return found
        asked = "no targets" if self.share is None else f"distill={self.share}"
        msg = (
            f"NetLStep got {asked}, but what the outputs of the net mean does not "
            f"follow from its loss ({type(net.criterion_).__name__}, "
            f"{type(net).__name__}.get_loss): pass a function from outputs to "
            "probabilities of classes as the predict_nonlinearity of the net, take "
            "another criterion (CrossEntropyLoss, NLLLoss, BCEWithLogitsLoss, BCELoss, "
            "MSELoss, L1Loss, SmoothL1Loss, HuberLoss), or pass y and set distill=0.0."
        )
        raise ValueError(msg)


class Teacher:
    r"""The reference, as it was before compression, for a net that learns from it.

    .. math:: L = (1 - \mathrm{share})\, L_y + \mathrm{share}\, D

    is what the net trains on, and is measured by: D is the divergence of its outputs
    from those of the reference (in evaluation), L_y its own loss. Outputs on samples
    that are plain arrays are computed once; any other batch, which may be augmented,
    goes through a frozen copy of the reference.

    Parameters
    ----------
    net : NeuralNet
        At the weights of the reference.
    divergence : Divergence
    share : float
        Of D; above 0.0, at most 1.0.
    batches : sequence of iterable
        All that the net trains on, is validated with, and measured by.
    labelled : bool, default=True
        Whether these have targets.
    fit_params : dict or None, default=None
        What the module gets in training besides the samples.
    """

    def __init__(
        self,
        net: NeuralNet,
        divergence: Divergence,
        share: float,
        batches: Sequence[Any],
        *,
        labelled: bool = True,
        fit_params: dict[str, Any] | None = None,
    ) -> None:
        self.divergence = divergence
        self.share = share
        self._labelled = labelled
        self._fit_params = fit_params or {}
        self._kept: list[tuple[Batches, Tensor]] = []
        self._net: NeuralNet | None = net
        net._set_training(False)
        if not self._fit_params:
            self._keep(batches)
        own = any(
            getattr(type(net), name) is not getattr(NeuralNet, name) for name in _STEPS
        )
        if len(self._kept) == len(batches) and not own:
            self._net = None  # nobody will ask
        else:
            self._net = with_attributes(net, module_=_frozen(net.module_))

    @contextmanager
    def teaching(self, net: NeuralNet) -> Iterator[None]:
        """Let the loss of a net be the one above, for a while."""
        own = net.get_loss

        def get_loss(
            y_pred: Any, y_true: Any, X: Any = None, training: bool = False
        ) -> Tensor:
            target = self._target(X, y_true, training)
            labels = y_true if self._labelled else None
            found = self.share * self.divergence(y_pred, target, labels)
            if self.share == 1.0:
                return found
            loss: Tensor = own(y_pred, y_true, X=X, training=training)
            return (1 - self.share) * loss + found

        with replaced_loss(net, get_loss):
            yield

    def constant_loss(self, own: float, batches: Any) -> float:
        """Return a loss that no constant output is below; inf if none is known.

        Parameters
        ----------
        own : float
            The least own loss of a constant output.
        batches : iterable
            What the net is measured by.
        """
        kept = next((kept for each, kept in self._kept if each is batches), None)
        if kept is None:
            return math.inf
        rows = slice(None) if batches.order is None else batches.order
        labels = batches.y[rows] if self._labelled else None
        least = self.share * self.divergence.constant_loss(kept[rows], labels)
        return least if self.share == 1.0 else (1 - self.share) * own + least

    # ---- what the reference says ----

    def _target(self, X: Any, y: Any, training: bool) -> Tensor:
        """Return what it makes of a batch."""
        for batches, kept in self._kept:
            served = batches.served
            if served and y is served[1] and (X is None or X is served[0]):
                return kept[served[2]]
        if X is None:
            msg = (
                "A net that distills needs the samples of a batch for its loss, and "
                "its training step does not pass them: call get_loss(y_pred, y_true, "
                "X=X), or set distill=0.0 in NetLStep."
            )
            raise TypeError(msg)
        return self._of(X, **(self._fit_params if training else {}))

    def _of(self, X: Any, **parameters: Any) -> Tensor:
        assert self._net is not None
        with torch.no_grad():
            return self.divergence.target(self._net.infer(X, **parameters))

    def _keep(self, batches: Sequence[Any]) -> None:
        """Compute the targets of all samples that stay what they are."""
        known: list[tuple[Tensor, Tensor]] = []  # batches to measure share with others
        for each in batches:
            if not isinstance(each, Batches):
                continue
            kept = next((t for y, t in known if y is each.y), None)
            if kept is None:
                kept = self._of_all(each)
            if kept is not None:
                known.append((each.y, kept))
                self._kept.append((each, kept))

    def _of_all(self, batches: Batches) -> Tensor | None:
        """Return the targets of all samples; None if they take more memory than these.

        Then every batch goes through a copy of the reference.
        """
        n, device = len(batches.y), batches.y.device
        most = max(_FEW, n_numbers(batches.X) // n)
        size, order = max(_MANY, batches.batch_size), torch.arange(n, device=device)
        found: list[Tensor] = []
        for X, y in Batches(batches.X, batches.y, size, order=order):
            target = self._of(X)
            if not found:
                one = target[:1]
                whole = one.expand(n, *one.shape[1:])
                small = one.numel() <= most and fits(device, whole)
                if not small or len(target) != len(y):
                    return None
            found.append(target.to(device))
        return torch.cat(found)


def _frozen(module: nn.Module) -> nn.Module:
    """Return a copy of a module that stays as it is."""
    copy: nn.Module = deepcopied(module)
    return copy.eval().requires_grad_(False)
