"""What a net is worth that predicts the same for every sample."""

from collections.abc import Iterable
from typing import Any

import torch
from skorch import (
    NeuralNet,
    NeuralNetBinaryClassifier,
    NeuralNetClassifier,
    NeuralNetRegressor,
)
from skorch.dataset import unpack_data
from torch import Tensor, nn

_KINDS = NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
#: Losses of skorch, which ask the criterion.
_LOSSES = {kind.get_loss for kind in _KINDS}


def constant_loss(net: NeuralNet, batches: Iterable[Any]) -> float | None:
    """Return the mean loss of the best constant prediction.

    Parameters
    ----------
    net : NeuralNet
        Initialized.
    batches : iterable
        Of the data.

    Returns
    -------
    float or None
        None if it is not known: it is for cross entropies without weights and mean
        squared errors.
    """
    if type(net).get_loss not in _LOSSES or not _is_plain(net.criterion_):
        return None
    targets = [unpack_data(batch)[1] for batch in batches]
    if not all(isinstance(target, Tensor) for target in targets):
        return None
    y = torch.cat(targets)
    if isinstance(net.criterion_, nn.MSELoss):
        return float((y.double() - y.double().mean(0)).square().mean())
    if isinstance(net.criterion_, nn.BCEWithLogitsLoss):
        share = y.double().mean(0)
        entropy = torch.special.entr(share) + torch.special.entr(1 - share)
        return float(entropy.mean())
    if y.is_floating_point() or y.ndim > 1:  # shares of classes
        return None
    shares = y.unique(return_counts=True)[1].double() / len(y)
    return float(torch.special.entr(shares).sum())


def _is_plain(criterion: Any) -> bool:
    """Whether a criterion is one that is known, with its usual options."""
    kind = type(criterion)
    if kind not in (nn.CrossEntropyLoss, nn.NLLLoss, nn.BCEWithLogitsLoss, nn.MSELoss):
        return False
    usual = kind()
    options = "weight", "pos_weight", "ignore_index", "label_smoothing", "reduction"
    return all(getattr(criterion, o, None) == getattr(usual, o, None) for o in options)
