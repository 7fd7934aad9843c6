"""What a net is given and what it returns, as scikit-learn has it.

Plain two-dimensional data are checked; labels become numbers, and numbers labels again.
Everything else (images, dicts, tensors, datasets) goes through untouched.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import is_classifier, is_regressor
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.validation import column_or_1d, validate_data
from skorch import NeuralNetBinaryClassifier
from skorch.helper import SliceDataset
from torch import Tensor
from torch.utils.data import Dataset

from sklc.lstep.labels import label_encoder, shown, writable
from sklc.wrappers import unfrozen


@dataclass
class Inputs:
    """How the data of a fit were understood.

    Attributes
    ----------
    plain : bool
        Whether the samples are rows of a table.
    encoder : LabelEncoder or None
        From labels to numbers, if that is needed.
    flat : bool
        Whether the targets of a regression are numbers, not rows of numbers.
    dtype : dtype or None
        What the net computes in; None to leave the data as they are.
    """

    plain: bool = False
    encoder: LabelEncoder | None = None
    flat: bool = False
    dtype: Any = None

    def prepared(self, owner: Any, X: Any) -> Any:
        """Return samples to predict from, checked."""
        if not (self.plain and is_plain(X)):
            return X
        X = validate_data(owner, X, reset=False)
        return writable(X if self.dtype is None else X.astype(self.dtype, copy=False))

    def encoded(self, y: Any) -> Any:
        """Return targets as the net knows them; labels that it does not, as -1."""
        if self.encoder is None or y is None:
            return y
        y, classes = column_or_1d(y), self.encoder.classes_
        known = np.isin(y, classes)
        numbers = np.full(len(y), -1)
        numbers[known] = self.encoder.transform(y[known])
        return numbers

    def decoded(self, predicted: Any) -> Any:
        """Return predictions in the terms of the targets of the fit."""
        if self.encoder is not None:
            numbers, classes = np.asarray(predicted).astype(int), self.encoder.classes_
            if numbers.max(initial=0) >= len(classes):
                msg = (
                    f"The net predicts its output {numbers.max()}, but y had only "
                    f"{len(classes)} classes (outputs from 0): give the module as "
                    "many outputs as there are classes."
                )
                raise ValueError(msg)
            return classes[numbers]
        if self.flat and np.ndim(predicted) == 2:
            return predicted[:, 0]
        return predicted


def understood(owner: Any, X: Any, y: Any, *, trained: bool) -> tuple[Inputs, Any, Any]:
    """Check and encode the data of a fit.

    Parameters
    ----------
    owner : estimator
        Gets ``n_features_in_`` and ``feature_names_in_``.
    X, y : data
    trained : bool
        Whether the net knows its labels already: numbers of its outputs.

    Returns
    -------
    inputs : Inputs
    X, y : data
        As the net gets them, but for its dtype.
    """
    if not is_plain(X) or isinstance(y, Tensor | Dataset):
        return Inputs(), X, y
    inputs = Inputs(plain=True)
    if y is None:
        return inputs, validate_data(owner, X, y), y
    shape = np.asarray(y).shape
    several = len(shape) > 1 and shape[1:] != (1,)
    X, y = validate_data(
        owner, X, y, multi_output=several, y_numeric=is_regressor(owner)
    )
    if is_classifier(owner) and not several:
        encoder = label_encoder(y)
        net = unfrozen(owner.estimator)
        if isinstance(net, NeuralNetBinaryClassifier) and len(encoder.classes_) > 2:
            msg = (
                f"{type(net).__name__} knows two classes, but y has "
                f"{len(encoder.classes_)}; a NeuralNetClassifier knows several."
            )
            raise ValueError(msg)
        if trained and not np.issubdtype(np.asarray(y).dtype, np.number):
            msg = (
                f"y has labels such as {shown(encoder.classes_[0])}, but a net that "
                "comes trained knows them as the numbers of its outputs, from 0: pass "
                "these."
            )
            raise ValueError(msg)
        if not trained:
            inputs.encoder, y = encoder, encoder.transform(y)
    inputs.flat = is_regressor(owner) and y.ndim == 1
    return inputs, X, y


def is_plain(X: Any) -> bool:
    """Whether samples are rows of a table: an array, a frame, lists of numbers."""
    if sparse.issparse(X) or hasattr(X, "columns"):
        return True
    if isinstance(X, Tensor | Dataset | SliceDataset | Mapping):
        return False
    if isinstance(X, list | tuple) and any(hasattr(part, "shape") for part in X):
        return all(np.ndim(part) == 1 for part in X)  # rows, not inputs of the net
    try:
        return np.asarray(X).ndim <= 2
    except (TypeError, ValueError):  # ragged, or no array at all
        return False
