"""Tables and targets, as a net must have them."""

from typing import Any

import numpy as np
import torch
from sklearn.base import is_regressor
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import Tensor, nn

from sklc.lstep.labels import writable

_DTYPES = {
    torch.float16: np.float16,
    torch.float32: np.float32,
    torch.float64: np.float64,
}


def input_dtype(module: nn.Module) -> Any:
    """Return the NumPy dtype of what a module computes with; None to leave data be."""
    # numbers of an embedding stay what they are
    if any(isinstance(layer, nn.Embedding) for layer in module.modules()):
        return None
    dtypes = [p.dtype for p in module.parameters() if p.is_floating_point()]
    return _DTYPES.get(dtypes[0]) if dtypes else None


def cast(net: NeuralNet, X: Any, y: Any, dtype: Any) -> tuple[Any, Any]:
    """Return plain tables, and the targets of regressions, in the net's dtype."""
    if dtype is None or not isinstance(X, np.ndarray) or X.ndim != 2:
        return X, y
    X = writable(X.astype(dtype, copy=False))
    numbers = is_regressor(net) or isinstance(net, NeuralNetBinaryClassifier)
    if numbers and isinstance(y, np.ndarray):
        y = y.astype(dtype, copy=False)
    if is_regressor(net) and isinstance(y, np.ndarray) and y.ndim == 1:
        # a column, unless the net returns numbers
        net._set_training(False)
        with torch.no_grad():
            output = net.infer(torch.as_tensor(X[:1], device=net.device))
        if isinstance(output, Tensor) and output.ndim == 2:
            y = y[:, None]
    return X, writable(y)


def check_labels(net: NeuralNet, y: Any, batch: Any) -> None:
    """Raise if a classifier lacks outputs for labels.

    Parameters
    ----------
    net : NeuralNet
    y : object
        Its targets; only vectors of integers are looked at.
    batch : object
        Some of its data.
    """
    if not isinstance(net, NeuralNetClassifier) or not hasattr(y, "shape"):
        return
    labels = np.asarray(y.cpu() if isinstance(y, Tensor) else y)
    if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iu":
        return
    output = net.evaluation_step(batch, training=False)
    if not isinstance(output, Tensor) or output.ndim != 2:
        return
    low, high, n_outputs = labels.min(), labels.max(), output.shape[1]
    if low < 0 or high >= n_outputs:
        msg = (
            f"y has labels from {low} to {high}, but the net has {n_outputs} outputs, "
            "numbered from 0."
        )
        raise ValueError(msg)
