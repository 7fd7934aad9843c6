"""Labels and arrays, in the forms that scikit-learn and torch share."""

from typing import Any

import numpy as np
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.multiclass import check_classification_targets


def writable(X: Any) -> Any:
    """Return an array that torch may share, a copy where it may not.

    It may not share one that is read-only, goes backwards, or has swapped bytes.
    """
    if not isinstance(X, np.ndarray):
        return X
    if min(X.strides, default=0) < 0 or not X.dtype.isnative:
        return X.astype(X.dtype.newbyteorder("="), order="C")
    return np.require(X, requirements="W")


def label_encoder(y: Any, *, least: int = 2) -> LabelEncoder:
    """Return what numbers the classes of a target, of which there are `least`."""
    check_classification_targets(y)
    encoder = LabelEncoder().fit(y)
    if len(encoder.classes_) < least:
        msg = (
            "A classifier needs two classes or more, but y has one class only: "
            f"{shown(encoder.classes_[0])}."
        )
        raise ValueError(msg)
    return encoder


def shown(label: Any) -> str:
    """Return a label as it would be typed in."""
    return repr(label.item() if isinstance(label, np.generic) else label)
