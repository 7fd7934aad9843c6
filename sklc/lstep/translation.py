"""What a user's data are to a model, and a model's predictions to a user."""

from typing import Any

import numpy as np


class Translation:
    """From the user's samples and targets to the model's, and from predictions back.

    A small value without data in it, which outlives the training. This one changes
    nothing.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,) or None
        What the outputs of a classifier stand for; None if the model says so itself.
    features : dict
        What is known of the columns of a table: ``n_features_in_`` and
        ``feature_names_in_``, or nothing.
    """

    @property
    def classes(self) -> np.ndarray | None:
        """What the outputs of a classifier stand for, if it is known here."""
        return None

    @property
    def features(self) -> dict[str, Any]:
        """What is known of the columns of a table."""
        return {}

    def samples(self, X: Any) -> Any:
        """Return samples as the model takes them, checked."""
        return X

    def targets(self, y: Any) -> Any:
        """Return targets as the model knows them, to score its predictions by."""
        return y

    def predictions(self, predicted: Any) -> Any:
        """Return predictions in the terms of the user's targets."""
        return predicted
