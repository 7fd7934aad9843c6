"""Data without targets, for nets that learn from a reference alone."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import BatchScoring, EpochScoring
from skorch.dataset import Dataset, ValidSplit, get_len
from torch.utils.data import Subset

from sklc.lstep.net.batches import Batches


class Pairs:
    """The batches of an iterator, as pairs: what comes without targets gets zeros.

    Parameters
    ----------
    iterator : iterable

    Attributes
    ----------
    labelled : bool
        Whether all batches so far came with targets.
    """

    def __init__(self, iterator: Any) -> None:
        self._iterator = iterator
        self.labelled = True

    def __len__(self) -> int:
        return len(self._iterator)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._iterator:
            if is_pair(batch):
                yield batch
            else:
                self.labelled = False
                alone = isinstance(batch, list | tuple) and len(batch) == 1
                X = batch[0] if alone else batch
                yield X, torch.zeros(get_len(X), 1)


def paired(batches: Any) -> Any:
    """Return batches in pairs; as they are, if there are none or they are of ours."""
    ours = batches is None or isinstance(batches, Batches)
    return batches if ours else Pairs(batches)


def is_pair(batch: Any) -> bool:
    """Whether a batch holds samples and targets, as far as can be seen."""
    return isinstance(batch, list | tuple) and len(batch) == 2


def has_targets(dataset: Any) -> bool:
    """Whether a dataset of arrays, or part of one, has targets; True of others."""
    while type(dataset) is Subset:
        dataset = dataset.dataset
    return not (isinstance(dataset, Dataset) and dataset.y is None)


def split_without_targets(
    net: NeuralNet, X: Any, fit_params: dict[str, Any]
) -> tuple[Any, Any]:
    """Return what to train on and what to validate with, as the net splits data.

    A split that is stratified is drawn as if it was not.
    """
    split = net.train_split
    if isinstance(split, ValidSplit) and split.stratified:
        net.train_split = copy.copy(split)
        net.train_split.stratified = False
    try:
        return net.get_split_datasets(X, None, **fit_params)  # type: ignore[no-any-return]
    finally:
        net.train_split = split


@contextmanager
def without_scores(net: NeuralNet) -> Iterator[None]:
    """Take out, for a while, the callbacks that score predictions of targets."""
    callbacks = net.callbacks_
    net.callbacks_ = [
        (name, callback)
        for name, callback in callbacks
        if not isinstance(callback, EpochScoring | BatchScoring)
        or not isinstance(callback.scoring, str)
    ]
    try:
        yield
    finally:
        net.callbacks_ = callbacks
