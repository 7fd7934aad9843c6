"""What a user's data are to a net, as a value without data in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import column_or_1d, validate_data
from skorch.helper import SliceDataset
from torch import Tensor
from torch.utils.data import Dataset

from sklc.lstep.labels import writable
from sklc.lstep.net.parts import cast
from sklc.lstep.translation import Translation


@dataclass(frozen=True)
class Table:
    """What is known of the columns of a table.

    Attributes
    ----------
    owner : str
        What messages call the model.
    facts : dict
        ``n_features_in_``, and ``feature_names_in_`` if the columns had names.
    """

    owner: str
    facts: dict[str, Any]

    @classmethod
    def seen(cls, owner: str, X: Any, **how: Any) -> tuple["Table", Any]:
        """Return what is known of a table, and it (and its targets) as arrays."""
        model = _model(owner, {})
        checked = validate_data(model, X, **how)
        return cls(owner, dict(vars(model))), checked

    def checked(self, X: Any, **how: Any) -> Any:
        """Return another table with these columns, as an array."""
        return validate_data(_model(self.owner, self.facts), X, reset=False, **how)


def _model(name: str, facts: dict[str, Any]) -> BaseEstimator:
    """Return something that scikit-learn validates data for."""
    model = type(name, (BaseEstimator,), {})()
    vars(model).update(facts)
    return model


@dataclass(frozen=True, eq=False)
class Labels:
    """The classes that the outputs of a net stand for.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        By number of the output.
    ignored : int or None
        A label that is no class: samples that have it do not count.
    """

    classes: np.ndarray
    ignored: int | None = None

    def known(self, y: np.ndarray) -> np.ndarray:
        """Return which labels are classes, or ignored."""
        known: np.ndarray = np.isin(y, self.classes) | self._is_ignored(y)
        return known

    def numbers(self, y: Any) -> np.ndarray:
        """Return the numbers of labels; of such that are no classes, -1."""
        y = column_or_1d(y)
        order = np.argsort(self.classes, kind="stable")
        found = np.full(len(y), -1)
        known = np.isin(y, self.classes)
        found[known] = order[np.searchsorted(self.classes, y[known], sorter=order)]
        ignored = self._is_ignored(y) & ~known
        found[ignored] = y[ignored]
        return found

    def names(self, predicted: Any) -> Any:
        """Return the classes of predicted outputs; as they are, if they are others."""
        numbers = np.asarray(predicted)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iub":
            return predicted
        if numbers.max(initial=0) >= len(self.classes):
            msg = (
                f"The net predicts its output {numbers.max()}, but y had only "
                f"{len(self.classes)} classes (outputs from 0): give the module as "
                "many outputs as there are classes."
            )
            raise ValueError(msg)
        return self.classes[numbers.astype(int)]

    def _is_ignored(self, y: np.ndarray) -> np.ndarray:
        if self.ignored is None or y.dtype.kind not in "iuf":
            return np.zeros(len(y), dtype=bool)
        ignored: np.ndarray = y == self.ignored
        return ignored


@dataclass(frozen=True)
class NetTranslation(Translation):
    """How the data of the fit of a net were understood.

    Attributes
    ----------
    table : Table or None
        If the samples were rows of a table, or inputs by the names of its columns.
    names : tuple of str
        The inputs of the module, if they have names that the samples did not give.
    dtypes : dict of str to str
        What the net takes, by name of the part of the samples.
    given : dict of str to str
        The dtypes that these had in the fit.
    labels : Labels or None
        If the targets were labels.
    shape : {"flat", "column", ""}
        Of targets that were numbers, ``(n,)``, or columns of one, ``(n, 1)``; nothing
        where predictions have the right shape.
    """

    table: Table | None = None
    names: tuple[str, ...] = ()
    dtypes: dict[str, str] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)
    labels: Labels | None = None
    shape: str = ""

    @property
    def classes(self) -> np.ndarray | None:
        """What the outputs of a classifier stand for; None if it says so itself."""
        return None if self.labels is None else self.labels.classes

    @property
    def features(self) -> dict[str, Any]:
        """What is known of the columns of a table; nothing, if it was none."""
        return {} if self.table is None else self.table.facts

    def samples(self, X: Any) -> Any:
        if self.names:
            if self.table is not None and hasattr(X, "columns"):
                self.table.checked(X, skip_check_array=True)
            X = by_name(X, self.names)
        elif self.table is not None and is_table(X):
            X = writable(self.table.checked(X))
        return cast(as_array(X), self.dtypes)

    def targets(self, y: Any) -> Any:
        several = np.ndim(y) > 1 and np.shape(y)[1:] != (1,)
        if self.labels is None or y is None or several:
            return y
        y = np.asarray(y)
        unique_labels(self.labels.classes, y)  # texts and numbers are never equal
        return self.labels.numbers(y)

    def predictions(self, predicted: Any) -> Any:
        if self.labels is not None:
            return self.labels.names(predicted)
        if self.shape == "flat" and np.ndim(predicted) == 2:
            return predicted[:, 0]
        if self.shape == "column" and np.ndim(predicted) == 1:
            return predicted[:, None]
        return predicted


def is_table(X: Any) -> bool:
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


def as_array(X: Any) -> Any:
    """Return nested lists of numbers as an array, and all else as it is."""
    if not isinstance(X, list) or any(hasattr(part, "shape") for part in X):
        return X
    try:
        found = np.asarray(X)
    except ValueError:  # ragged
        return X
    return found if found.dtype.kind in "biuf" else X


def by_name(X: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Return inputs by name: columns of a frame, each of shape (n, 1), or of a list."""
    if hasattr(X, "columns"):
        found = {}
        for name in names:
            column = np.asarray(X[name])
            if column.dtype.kind not in "biuf":
                msg = (
                    f"The column {name!r} of X has no numbers, but {column.dtype}: "
                    "encode it first."
                )
                raise ValueError(msg)
            found[name] = writable(column)[:, None]
        return found
    if isinstance(X, list | tuple):
        if len(X) != len(names):
            msg = f"X has {len(X)} parts, but the net takes {', '.join(names)}."
            raise ValueError(msg)
        return {
            name: np.asarray(x) if isinstance(x, list) else x
            for name, x in zip(names, X, strict=True)
        }
    return X  # type: ignore[no-any-return]
