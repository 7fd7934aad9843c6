"""What the criterion of a net is known to be."""

import math
from typing import Any

import torch
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import Tensor, nn

_BY_INDEX = nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss
_NEVER = -(2**62)  # no number of an output
_BY_ELEMENT = (
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
    nn.HuberLoss,
    nn.L1Loss,
    nn.MSELoss,
    nn.PoissonNLLLoss,
    nn.SmoothL1Loss,
)


class Criterion:
    """What is known of the loss of a net: only of torch's own is anything.

    Parameters
    ----------
    net : NeuralNet
        Initialized.

    Attributes
    ----------
    known : Module or None
        The criterion, if the loss is that of one of torch's classes, alone.
    by_index : bool
        Whether targets are numbers of outputs.
    by_element : bool
        Whether targets have the shape of the outputs.
    summed : bool
        Whether the loss of a batch is the sum over its samples, not their mean.
    ignored : int or None
        The target of samples that do not count, of any criterion that has one.
    """

    def __init__(self, net: NeuralNet) -> None:
        criterion = getattr(net.criterion_, "_orig_mod", net.criterion_)
        usual = "get_loss" not in vars(net) and type(net).get_loss in (
            NeuralNet.get_loss,
            NeuralNetClassifier.get_loss,
        )
        self.known = criterion if usual and _is_torchs(criterion) else None
        self.by_index = isinstance(self.known, _BY_INDEX)
        self.by_element = isinstance(self.known, _BY_ELEMENT)
        self.summed = getattr(criterion, "reduction", "mean") == "sum"
        self.ignored: int | None = getattr(criterion, "ignore_index", None)
        self._binary = isinstance(net, NeuralNetBinaryClassifier)

    def share(self, y: Any, size: int) -> Tensor | int:
        """Return what the mean loss of a batch is divided by, up to a constant.

        Weights of classes and targets that are ignored make it another number than
        that of the samples.

        Parameters
        ----------
        y : object
            Targets of the batch.
        size : int
            Number of its samples.
        """
        kinds = nn.CrossEntropyLoss, nn.NLLLoss
        if not isinstance(self.known, kinds) or self.summed:
            return size
        if not isinstance(y, Tensor) or y.is_floating_point():  # probabilities
            return size
        return self.weights(y).sum()

    def weights(self, y: Tensor) -> Tensor:
        """Return the weight of each of some targets, which are numbers of outputs."""
        counts = y != (_NEVER if self.ignored is None else self.ignored)
        weight: Tensor | None = getattr(self.known, "weight", None)
        if weight is None:
            return counts
        numbers = y.masked_fill(~counts, 0)
        found: Tensor = weight.detach().to(y.device)[numbers] * counts
        return found

    def constant_loss(self, y: Tensor) -> float:
        """Return the least mean loss of a constant prediction; inf if not known.

        Parameters
        ----------
        y : Tensor
            Targets of all samples.
        """
        known = self.known
        if isinstance(known, nn.CrossEntropyLoss | nn.NLLLoss):
            smooth: float = getattr(known, "label_smoothing", 0.0)
            if y.is_floating_point() or smooth:
                return math.inf
            total = self.weights(y).double().flatten()
            numbers = y.flatten().masked_fill(total == 0, 0)
            shares = torch.bincount(numbers, total) / total.sum()
            return float(torch.special.entr(shares).sum())
        plain = getattr(known, "weight", None) is None
        if isinstance(known, nn.MSELoss):
            return float(y.double().var(0, correction=0).mean())
        if isinstance(known, nn.BCELoss | nn.BCEWithLogitsLoss) and plain:
            if getattr(known, "pos_weight", None) is not None:
                return math.inf
            share = y.double().mean(0)
            return float(
                (torch.special.entr(share) + torch.special.entr(1 - share)).mean()
            )
        return math.inf


def _is_torchs(criterion: Any) -> bool:
    """Whether a criterion computes what one of torch's classes does."""
    for kind in type(criterion).__mro__:
        if kind.__module__ == "torch.nn.modules.loss":
            return bool(type(criterion).forward is vars(kind)["forward"])
    return False
