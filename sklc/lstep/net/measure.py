"""What is measured of a net, always over the same samples of the training data."""

import math
from typing import Any

import torch
from skorch import NeuralNet
from skorch.dataset import get_len, unpack_data
from torch import Tensor
from torch.utils.data import IterableDataset

from sklc.lstep.net.batches import measuring_batches
from sklc.lstep.net.criterion import Criterion
from sklc.lstep.net.unlabelled import paired

_SHARE = 10  # samples of an epoch for each one to estimate with
_FEW = 256  # of these, at least


class Measure:
    """The mean loss of a net, over batches of a fixed permutation of some samples.

    Data are often sorted; of a permutation every batch resembles the whole. The mean
    does not depend on how the samples fall into batches, as far as the criterion is
    known to be a mean over samples.

    Parameters
    ----------
    net : NeuralNet
    dataset : Dataset
        What the net trains on.
    training : object
        Its batches for training.
    n_samples : int
        How many samples to measure with, at most.

    Attributes
    ----------
    batches : iterable
        What is measured with.
    few : iterable
        A part of that, to estimate with: it takes little time beside an epoch.
    """

    def __init__(
        self, net: NeuralNet, dataset: Any, training: Any, n_samples: int
    ) -> None:
        self.net = net
        self.criterion = Criterion(net)
        # a loss that is not known may depend on the size of its batches
        free = self.criterion.known is not None
        self.batches, self.few = (
            measuring_batches(net, dataset, training, number, larger=free)
            for number in (n_samples, min(n_samples, _enough(dataset)))
        )
        self._usual = type(net).evaluation_step is NeuralNet.evaluation_step

    def first(self) -> Any:
        """Return the first batch."""
        return next(iter(self.batches))

    def pair(self) -> None:
        """Let batches be pairs, of samples that have no targets."""
        self.batches, self.few = paired(self.batches), paired(self.few)

    def loss(self, *, quick: bool = False) -> float:
        """Return the mean loss over the samples, or a few of them."""
        net = self.net
        total: Any = 0.0
        parts: Any = 0
        net._set_training(False)
        for batch in self.few if quick else self.batches:
            inputs, y = unpack_data(batch)
            with torch.no_grad():
                output = net.infer(inputs) if self._usual else self.output(batch)
                loss = net.get_loss(output, y, X=inputs, training=False)
                size = get_len(inputs)
                share = self.criterion.share(y, size)
                part = loss if self.criterion.summed else _product(share, loss)
            total, parts = total + part.detach(), parts + share
        return float(total) / float(parts)

    def output(self, batch: Any) -> Any:
        """Return what the net makes of a batch, in evaluation."""
        return self.net.evaluation_step(batch, training=False)

    def constant_loss(self) -> float:
        """Return the least mean loss of a constant prediction; inf if not known."""
        if self.criterion.known is None:
            return math.inf
        targets = [unpack_data(batch)[1] for batch in self.batches]
        if not all(isinstance(y, Tensor) for y in targets):
            return math.inf
        return self.criterion.constant_loss(torch.cat(targets))


def _enough(dataset: Any) -> int:
    """Return how many samples of a dataset take little time, and say enough."""
    n = 0 if isinstance(dataset, IterableDataset) else get_len(dataset)
    return max(_FEW, n // _SHARE)


def _product(share: Tensor | int, loss: Tensor) -> Tensor:
    """Return their product, of a batch without a share zero: its loss is no number."""
    if isinstance(share, Tensor):
        share = share.to(loss.device)
        return torch.where(share > 0, share * loss, 0.0)
    return share * loss
