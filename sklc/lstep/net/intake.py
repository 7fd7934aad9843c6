"""How the data of a fit are understood, and brought into the form a net takes."""

import inspect
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import get_tags
from sklearn.utils.validation import column_or_1d
from skorch import NeuralNet
from skorch.helper import SliceDataset
from torch import Tensor, nn
from torch.utils.data import Dataset

from sklc.lstep.labels import writable
from sklc.lstep.net.criterion import Criterion
from sklc.lstep.net.parts import Array, cast, check_parts, dtype_name, parts_of
from sklc.lstep.net.probe import probed
from sklc.lstep.net.targets import (
    check_labels,
    check_targets,
    fitted_targets,
    labels_of,
    labels_of_outputs,
)
from sklc.lstep.net.translation import (
    NetTranslation,
    Table,
    as_array,
    by_name,
    is_table,
)


def understood(
    net: NeuralNet,
    X: Any,
    y: Any,
    *,
    trained: bool,
    extra: Collection[str] = (),
    alone: bool = False,
) -> tuple[NetTranslation, Any, Any]:
    """Check the data of a fit, and translate them.

    Callbacks of a net that is not trained are told of its training, as they may give
    the module the shapes of the data.

    Parameters
    ----------
    net : NeuralNet
        Initialized.
    X, y : data
        As the user has them. Datasets are left as they are.
    trained : bool
        Whether the net knows its labels already: numbers of its outputs.
    extra : collection of str
        Inputs of the module besides the samples.
    alone : bool, default=False
        Whether it can do without targets.

    Returns
    -------
    translation : NetTranslation
    X, y : data
        As the net gets them.

    Raises
    ------
    ValueError, TypeError
        If they are no data for this net.
    """
    if isinstance(X, Dataset | SliceDataset) or isinstance(y, Dataset | SliceDataset):
        if not trained:
            net.notify("on_train_begin", X=X, y=y)
        return NetTranslation(), X, y
    if y is None and not alone:
        _require_targets(net, X)
    translation, X, y = _arrays(net, X, y, extra)
    table = translation.table is not None
    dtypes, output, error = probed(net, X, table=table)
    vector = isinstance(y, np.ndarray | Tensor) and y.ndim == 1
    if is_classifier(net) and vector:
        given = y.numpy(force=True) if isinstance(y, Tensor) else y
        labels = labels_of(net, given, output, trained=trained, least=2 if table else 1)
        translation = replace(translation, labels=labels)
        y = y if labels is None else _numbered(y, labels.numbers(given))
    if y is None and is_classifier(net):
        translation = replace(translation, labels=labels_of_outputs(net, output))
    if not trained:
        shapes = [parameter.shape for parameter in _known(net.module_)]
        module = net.module_
        net.notify("on_train_begin", X=cast(X, dtypes), y=y)
        anew = net.module_ is not module
        if anew or shapes != [parameter.shape for parameter in _known(net.module_)]:
            dtypes, output, error = probed(net, X, table=table)
    if error is not None:
        raise cannot_be_evaluated(error) from error
    given = {name: dtype_name(part) for name, part in parts_of(X).items()}
    X = cast(X, dtypes)
    translation = replace(translation, dtypes=dtypes, given=given)
    if isinstance(y, np.ndarray | Tensor):
        check_labels(net, translation.labels, output)
        numbers = is_regressor(net) or Criterion(net).by_element
        if numbers and not is_classifier(net):
            column = y.ndim == 2 and y.shape[1] == 1
            shape = "flat" if y.ndim == 1 else "column" if column else ""
            translation = replace(translation, shape=shape)
        y = writable(fitted_targets(net, y, output))
        check_targets(net, y, output)
    return translation, X, y


def cannot_be_evaluated(error: Exception) -> ValueError:
    """Return the error of a net that cannot be evaluated on its data."""
    msg = (
        f"The net cannot be evaluated on the data: {error}. If one of its "
        "callbacks sets the shape of the module when training begins, give the "
        "module that shape at once, or fit the net first and pass it as "
        "FrozenEstimator(net)."
    )
    return ValueError(msg)


def _known(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that have shapes."""
    return [p for p in module.parameters() if not nn.parameter.is_lazy(p)]


def _numbered(y: Array, numbers: np.ndarray) -> Array:
    """Return labels as numbers: themselves, if they are these."""
    if isinstance(y, np.ndarray):
        return y if y.dtype == np.int64 and np.array_equal(y, numbers) else numbers
    new = torch.as_tensor(numbers, device=y.device)
    return y if y.dtype == torch.int64 and torch.equal(y, new) else new


def _require_targets(net: NeuralNet, X: Any) -> None:
    if is_table(X) and get_tags(net).target_tags.required:
        msg = (
            f"This {type(net).__name__} estimator requires y to be passed, but the "
            "target y is None."
        )
        raise ValueError(msg)


def _arrays(
    net: NeuralNet, X: Any, y: Any, extra: Collection[str]
) -> tuple[NetTranslation, Any, Any]:
    """Return samples and targets as arrays, checked, and how the samples are read."""
    owner = type(net).__name__
    names = _names(net, X, y, extra)
    if names:
        table = None
        if hasattr(X, "columns"):
            table, _ = Table.seen(owner, X, skip_check_array=True)
        translation = NetTranslation(table, names)
        return translation, *_checked(net, by_name(X, names), y)
    if is_table(X) and not _is_pair(X, y):
        if y is None or isinstance(y, Tensor):
            table, X = Table.seen(owner, X)
            return NetTranslation(table), *_checked(net, writable(X), y)
        shape = np.asarray(y).shape
        several = len(shape) > 1 and not (is_classifier(net) and shape[1:] == (1,))
        if is_regressor(net) and shape[1:] == (1,):
            column_or_1d(y, warn=True)  # which scikit-learn expects; it stays one
        table, (X, y) = Table.seen(
            owner, X, y=y, multi_output=several, y_numeric=is_regressor(net)
        )
        return NetTranslation(table), writable(X), writable(y)
    return NetTranslation(), *_checked(net, as_array(X), y)


def _checked(net: NeuralNet, X: Any, y: Any) -> tuple[Any, Any]:
    """Return samples and targets, which are no table, as arrays, checked."""
    parts = parts_of(X)
    if y is not None and not isinstance(y, Tensor):
        array = np.asarray(y)
        if array.dtype.kind == "O" and array.ndim and not isinstance(array[0], str):
            return X, y  # targets of a kind of their own
        y = array
    if is_classifier(net) and y is not None and y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True) if isinstance(y, np.ndarray) else y[:, 0]
    if parts:
        named = {f"X[{name!r}]" if name else "X": part for name, part in parts.items()}
        check_parts(named if y is None else {**named, "y": y})
    return X, y


def _names(net: NeuralNet, X: Any, y: Any, extra: Collection[str]) -> tuple[str, ...]:
    """Return the inputs of a module that takes several, which X holds unnamed."""
    module = getattr(net.module_, "_orig_mod", net.module_)
    known = inspect.signature(module.forward).parameters
    needed = [
        name
        for name, p in known.items()
        if p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and name not in extra
    ]
    if len(needed) < 2:
        return ()
    takes = f"{type(module).__name__}.forward takes {', '.join(needed)}"
    if hasattr(X, "columns"):
        columns = list(X.columns)
        missing = [name for name in needed if name not in columns]
        unknown = [name for name in columns if name not in known]
        if not missing and not unknown:
            return tuple(columns)
        msg = (
            f"{takes}, but the columns of X are {columns}: name them so, or pass a "
            "dict of arrays."
        )
        raise ValueError(msg)
    if isinstance(X, list | tuple) and len(X) == len(needed):
        return tuple(needed)
    if isinstance(X, list | tuple) or (is_table(X) and not hasattr(X, "keys")):
        msg = f"{takes}: pass X as a dict of arrays with these names."
        raise ValueError(msg)
    return ()


def _is_pair(X: Any, y: Any) -> bool:
    """Whether a list of vectors holds inputs of a net, and not rows of a table."""
    if not isinstance(X, list | tuple) or not X or y is None:
        return False
    vectors = all(isinstance(part, np.ndarray | Tensor) for part in X)
    return vectors and len(X) != len(y) == len(X[0])
