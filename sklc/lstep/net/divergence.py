"""How far the outputs of a net are from those of its reference."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from skorch import NeuralNet, NeuralNetClassifier
from torch import Tensor, nn
from torch.nn import functional as F

from sklc.lstep.net.criterion import Criterion
from sklc.lstep.net.probe import first_output

_NUMBERS = nn.HuberLoss, nn.L1Loss, nn.MSELoss, nn.SmoothL1Loss


class Divergence:
    r"""The mean squared distance of numbers, and what other divergences share.

    .. math:: D = \mathrm{mean}\; (z - r)^2

    over the outputs z and those of the reference, r. The mean is that of the criterion:
    a sum, where that sums.

    Parameters
    ----------
    criterion : Criterion
    """

    #: Whether weights of samples make their mean a weighted one.
    normalized = False

    def __init__(self, criterion: Criterion) -> None:
        self.criterion = criterion

    def __call__(self, output: Any, target: Tensor, y: Any = None) -> Tensor:
        """Return D of a batch, differentiable.

        Parameters
        ----------
        output : Tensor
        target : Tensor
            What :meth:`target` made of the outputs of the reference.
        y : Tensor or None
            The labels of the batch, if there are any: weights go by them.
        """
        return self._mean(self._distance(self._scaled(output), target), y)

    def target(self, output: Any) -> Tensor:
        """Return what is to be known of outputs of the reference."""
        return self._scaled(output)

    def constant_loss(self, target: Tensor, y: Tensor | None) -> float:
        """Return the least D of a constant output.

        Parameters
        ----------
        target : Tensor
            Of all samples.
        y : Tensor or None
            Their labels, if there are any.
        """
        target = target.double()
        scaled = self._constant(target, self._weights(target, y))
        return float(self._mean(self._distance(scaled.expand_as(target), target), y))

    def _scaled(self, output: Any) -> Tensor:
        tensor = first_output(output)
        if tensor is None:
            msg = (
                f"The net returns a {type(output).__name__}, and distillation needs "
                "tensors, alone or first of several: set distill=0.0 in NetLStep."
            )
            raise TypeError(msg)
        return tensor.float() if tensor.element_size() < 4 else tensor

    def _distance(self, scaled: Tensor, target: Tensor) -> Tensor:
        return (scaled - target).square()

    def _constant(self, target: Tensor, weights: Tensor | None) -> Tensor:
        return _mean_over_samples(target, weights)

    def _weights(self, elements: Tensor, y: Any) -> Tensor | None:
        return None

    def _mean(self, elements: Tensor, y: Any) -> Tensor:
        weights = self._weights(elements, y)
        total = elements if weights is None else weights * elements
        if self.criterion.summed:
            return total.sum()
        if weights is None or not self.normalized:
            return total.mean()
        tiny = torch.finfo(total.dtype).tiny
        return total.sum() / weights.sum().clamp(min=tiny)


class OfEvents(Divergence):
    r"""That of probabilities of events that do not exclude each other.

    .. math:: D = \mathrm{mean}\; T^2\, \mathrm{KL}(
        \mathrm{Bernoulli}(\sigma(r/T)) \,\|\, \mathrm{Bernoulli}(\sigma(z/T)))

    Parameters
    ----------
    criterion : Criterion
        Its weights, also those of positive labels, apply.
    logits : callable
        From outputs to z.
    temperature : float
        T.
    """

    def __init__(
        self,
        criterion: Criterion,
        logits: Callable[[Tensor], Tensor],
        temperature: float,
    ) -> None:
        super().__init__(criterion)
        self._logits = logits
        self.temperature = temperature

    def _scaled(self, output: Any) -> Tensor:
        return self._logits(super()._scaled(output)) / self.temperature

    def target(self, output: Any) -> Tensor:
        return self._scaled(output).sigmoid()

    def _distance(self, scaled: Tensor, target: Tensor) -> Tensor:
        crossed = F.binary_cross_entropy_with_logits(scaled, target, reduction="none")
        own: Tensor = torch.special.entr(target) + torch.special.entr(1 - target)
        return (crossed - own) * self.temperature**2

    def _constant(self, target: Tensor, weights: Tensor | None) -> Tensor:
        share = _mean_over_samples(target, weights)
        return share.logit(eps=torch.finfo(share.dtype).eps)

    def _weights(self, elements: Tensor, y: Any) -> Tensor | None:
        weight: Tensor | None = getattr(self.criterion.known, "weight", None)
        positive: Tensor | None = getattr(self.criterion.known, "pos_weight", None)
        found = None if weight is None else weight.to(elements.device)
        if positive is not None and isinstance(y, Tensor):
            y = y.to(elements.device)
            of_label = 1 + y * (positive.to(elements.device) - 1)
            found = of_label if found is None else found * of_label
        return None if found is None else found.expand_as(elements)


class OfClasses(OfEvents):
    r"""That of probabilities of classes, which are the dimension 1.

    .. math:: D = \mathrm{mean}\; T^2\, \mathrm{KL}(
        \mathrm{softmax}(r/T) \,\|\, \mathrm{softmax}(z/T))

    Parameters
    ----------
    criterion : Criterion
        Its weights of classes apply by the label; labels that it ignores do not count.
    logits : callable
        From outputs to z.
    temperature : float
        T.
    """

    normalized = True

    def target(self, output: Any) -> Tensor:
        return self._scaled(output).softmax(1)

    def _distance(self, scaled: Tensor, target: Tensor) -> Tensor:
        each = F.kl_div(scaled.log_softmax(1), target, reduction="none")
        return each.sum(1) * self.temperature**2

    def _constant(self, target: Tensor, weights: Tensor | None) -> Tensor:
        rows = target.movedim(1, -1).flatten(0, -2)
        if weights is not None:
            weights = weights.reshape(-1, 1).expand_as(rows)
        shares = _mean_over_samples(rows, weights)
        logarithms = shares.clamp(min=torch.finfo(shares.dtype).tiny).log()
        return logarithms.view(1, -1, *(1,) * (target.ndim - 2))

    def _weights(self, elements: Tensor, y: Any) -> Tensor | None:
        if not isinstance(y, Tensor) or y.is_floating_point():
            return None
        without_classes = elements.shape[:1] + elements.shape[2:]
        if y.shape not in (elements.shape, without_classes):
            return None
        return self.criterion.weights(y.to(elements.device)).to(elements.dtype)


def divergence_of(
    net: NeuralNet, criterion: Criterion, temperature: float
) -> Divergence | None:
    """Return the divergence of the outputs of a net; None if their meaning is unknown.

    It is known of most of torch's criteria, with a ``get_loss`` of skorch's. For any
    other loss a ``predict_nonlinearity`` that is a function says it: from outputs to
    probabilities of classes.

    Parameters
    ----------
    net : NeuralNet
    criterion : Criterion
        Its own.
    temperature : float
        To divide logits by.
    """
    known = criterion.known
    if isinstance(known, nn.CrossEntropyLoss):
        return OfClasses(criterion, _as_they_are, temperature)
    if isinstance(known, nn.NLLLoss):  # of which skorch takes the logarithms
        takes = isinstance(net, NeuralNetClassifier)
        logits = _logarithms if takes else _as_they_are
        return OfClasses(criterion, logits, temperature)
    if isinstance(known, nn.BCEWithLogitsLoss):
        return OfEvents(criterion, _as_they_are, temperature)
    if isinstance(known, nn.BCELoss):
        return OfEvents(criterion, _log_odds, temperature)
    if isinstance(known, _NUMBERS):
        return Divergence(criterion)
    given = getattr(net, "predict_nonlinearity", None)
    if known is None and callable(given):
        return OfClasses(criterion, partial(_logarithms, of=given), temperature)
    return None


def _as_they_are(output: Tensor) -> Tensor:
    return output


def _logarithms(
    output: Tensor, of: Callable[[Tensor], Tensor] = _as_they_are
) -> Tensor:
    probabilities = of(output)
    return (probabilities + torch.finfo(probabilities.dtype).eps).log()


def _log_odds(output: Tensor) -> Tensor:
    return _logarithms(output) - _logarithms(1 - output)


def _mean_over_samples(values: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of each column, over all but the last dimension if weighted."""
    if weights is None:
        return values.mean(0)
    return (weights * values).sum(0) / weights.sum(0)
