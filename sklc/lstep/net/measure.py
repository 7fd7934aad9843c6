"""What is measured of a net, always over the same samples of the training data."""

import math
from typing import Any

import torch
from skorch import NeuralNet
from skorch.dataset import get_len, unpack_data
from torch import Tensor

from sklc.lstep.net.batches import measuring_batches
from sklc.lstep.net.criterion import Criterion


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
    """

    def __init__(
        self, net: NeuralNet, dataset: Any, training: Any, n_samples: int
    ) -> None:
        self.net = net
        self.criterion = Criterion(net)
        # a loss that is not known may depend on the size of its batches
        free = self.criterion.known is not None
        self.batches: Any = measuring_batches(
            net, dataset, training, n_samples, larger=free
        )
        self._usual = type(net).evaluation_step is NeuralNet.evaluation_step

    def first(self) -> Any:
        """Return the first batch."""
        return next(iter(self.batches))

    def loss(self) -> float:
        """Return the mean loss over the samples."""
        net = self.net
        total: Any = 0.0
        parts: Any = 0
        net._set_training(False)
        for batch in self.batches:
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


def _product(share: Tensor | int, loss: Tensor) -> Tensor:
    """Return their product, of a batch without a share zero: its loss is no number."""
    if isinstance(share, Tensor):
        share = share.to(loss.device)
        return torch.where(share > 0, share * loss, 0.0)
    return share * loss
