"""Targets as a net must have them: numbers of outputs, or rows like the outputs."""

from typing import Any

import numpy as np
import torch
from sklearn.base import is_regressor
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import Tensor

from sklc.lstep.labels import label_encoder, shown
from sklc.lstep.net.criterion import Criterion
from sklc.lstep.net.parts import Array, dtype_name, is_floating, to_dtype
from sklc.lstep.net.translation import Labels


def labels_of(
    net: NeuralNet, y: np.ndarray, output: Tensor | None, *, trained: bool, least: int
) -> Labels | None:
    """Return how labels are numbered; None if they stay as they are.

    Labels that are numbers of outputs stay: weights of classes, and targets that are
    ignored, go by them. Others are numbered in their order, or in that of the
    ``classes`` of the net.

    Parameters
    ----------
    net : NeuralNet
        A classifier.
    y : ndarray of shape (n_samples,)
    output : Tensor or None
        Of some samples, if it is known.
    trained : bool
        Whether the net knows its labels already.
    least : int
        The least number of classes.
    """
    ignored = Criterion(net).ignored
    given = getattr(net, "classes", None)
    if given is not None and len(given):
        labels = Labels(np.asarray(given), ignored)
        unknown = y[~labels.known(y)]
        numbers = Labels(np.arange(len(given)), ignored)
        if len(unknown) and numbers.known(y).all():  # as skorch itself has them
            return numbers
        if len(unknown):
            msg = (
                f"y has the label {shown(unknown[0])}, which is not among the classes="
                f"{list(given)} of the net: add it, or leave classes out."
            )
            raise ValueError(msg)
        return labels
    counted = y
    if ignored is not None and y.dtype.kind in "iuf":
        counted = y[y != ignored]
    classes = label_encoder(counted, least=least).classes_
    n_outputs = _n_outputs(net, output)
    binary = isinstance(net, NeuralNetBinaryClassifier)
    if binary and len(classes) > 2:
        msg = (
            f"{type(net).__name__} knows two classes, but y has {len(classes)}; a "
            "NeuralNetClassifier knows several."
        )
        raise ValueError(msg)
    is_number = classes.dtype.kind in "biuf"
    if trained and not is_number:
        msg = (
            f"y has labels such as {shown(classes[0])}, but a net that comes trained "
            "knows them as the numbers of its outputs, from 0: pass these, or give the "
            "net classes=[...], in the order of its outputs."
        )
        raise ValueError(msg)
    low, high = (classes[0], classes[-1]) if is_number else (-1, -1)
    if low >= 0 and n_outputs is not None and high < n_outputs:
        kind = int if classes.dtype.kind == "b" and n_outputs > 2 else classes.dtype
        return Labels(np.arange(n_outputs).astype(kind), ignored)
    return None if trained else Labels(classes, ignored)


def labels_of_outputs(net: NeuralNet, output: Tensor | None) -> Labels | None:
    """Return the labels of a net that comes trained, where nobody names any."""
    given = getattr(net, "classes", None)
    if given is not None and len(given):
        return Labels(np.asarray(given))
    n_outputs = _n_outputs(net, output)
    return None if n_outputs is None else Labels(np.arange(n_outputs))


def _n_outputs(net: NeuralNet, output: Tensor | None) -> int | None:
    """Return how many classes a net predicts, by its largest output."""
    if isinstance(net, NeuralNetBinaryClassifier):
        return 2
    kind = type(net)
    largest = getattr(kind, "predict", None) is NeuralNetClassifier.predict
    if output is None or output.ndim != 2 or not largest:
        return None
    return output.shape[1]


def check_labels(net: NeuralNet, labels: Labels | None, output: Any) -> None:
    """Raise unless a classifier has as many outputs as there are classes."""
    n_outputs = _n_outputs(net, output)
    if labels is None or n_outputs is None or not Criterion(net).by_index:
        return
    n_classes = len(labels.classes)
    if n_outputs != n_classes:
        msg = (
            f"y has {n_classes} classes, from {shown(labels.classes[0])} to "
            f"{shown(labels.classes[-1])}, but the net has {n_outputs} outputs: give "
            f"the module {n_classes}, or number the labels by the outputs, from 0."
        )
        raise ValueError(msg)


def fitted_targets(net: NeuralNet, y: Array, output: Tensor | None) -> Array:
    """Return targets in the shape and dtype that the loss of a net asks for.

    Parameters
    ----------
    net : NeuralNet
    y : array or tensor
    output : Tensor or None
        Of some samples, if it is known.

    Raises
    ------
    ValueError
        If they cannot be made to fit, such as numbers of outputs that there are not.
    """
    criterion = Criterion(net)
    if criterion.by_index:
        return _numbers(y, output)
    binary = isinstance(net, NeuralNetBinaryClassifier)
    if not (criterion.by_element or binary or is_regressor(net)):
        return y
    dtype = "" if output is None else dtype_name(output)
    if dtype and dtype_name(y):
        y = to_dtype(y, dtype)
    if output is None:
        return y
    if output.ndim == 2 and output.shape[1] == 1 and y.ndim == 1:
        return y[:, None]
    if output.ndim == 1 and y.ndim == 2 and y.shape[1] == 1:
        return y[:, 0]
    return y


def _numbers(y: Array, output: Tensor | None) -> Array:
    """Return numbers of outputs as whole numbers; rows of probabilities as they are."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if is_floating(y):
        if output is not None and y.ndim > 1 and y.shape[1:] == output.shape[1:]:
            return to_dtype(y, dtype_name(output))
        whole = torch.as_tensor(y)
        if not torch.equal(whole, whole.round()):
            msg = (
                "Unknown label type: continuous. A criterion of classes needs whole "
                "numbers of outputs, or rows of probabilities; for numbers, take "
                "another criterion, such as MSELoss."
            )
            raise ValueError(msg)
    elif output is not None and y.ndim == output.ndim == 2:
        msg = (
            f"y has shape {tuple(y.shape)}, one column per class, but the criterion "
            "needs the number of the class: pass y.argmax(1), or probabilities as "
            "floating-point numbers."
        )
        raise ValueError(msg)
    return to_dtype(y, "int64") if dtype_name(y) else y


def check_targets(net: NeuralNet, y: Any, output: Any) -> None:
    """Raise if a loss would read targets otherwise than they are meant.

    Parameters
    ----------
    net : NeuralNet
    y : object
        All targets, or those of a batch; only arrays and tensors are looked at.
    output : object
        Of a batch; only tensors are looked at.
    """
    if not isinstance(y, np.ndarray | Tensor) or not isinstance(output, Tensor):
        return
    criterion = Criterion(net)
    if criterion.by_element and tuple(y.shape[1:]) != tuple(output.shape[1:]):
        msg = (
            f"y has rows of shape {tuple(y.shape[1:])}, but the net outputs rows of "
            f"shape {tuple(output.shape[1:])}, which {type(criterion.known).__name__} "
            "would broadcast: make them equal."
        )
        raise ValueError(msg)
    if criterion.by_index and not is_floating(y) and output.ndim > 1:
        numbers = torch.as_tensor(y)
        if criterion.ignored is not None:
            numbers = numbers[numbers != criterion.ignored]
        if not numbers.numel():
            return
        low, high = int(numbers.min()), int(numbers.max())
        if low < 0 or high >= output.shape[1]:
            msg = (
                f"y has labels from {low} to {high}, but the net has "
                f"{output.shape[1]} outputs, numbered from 0."
            )
            raise ValueError(msg)
