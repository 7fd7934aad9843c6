"""Batches of plain arrays, cut by whole batches from tensors that lie on the device."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.dataset import Dataset, get_len
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset

from sklc.exceptions import warn

_OPTIONS = {"batch_size", "shuffle", "drop_last"}
#: To measure with: samples of a batch, and numbers in it, up to which larger is faster.
_MANY = 256
_LARGE = 2**18
_Data = Tensor | dict[str, Tensor]


class Batches:
    """Batches of a tensor (or a dict of tensors) and of its targets.

    A `DataLoader` would fetch them sample by sample. Shuffling draws from torch's
    global generator.

    Parameters
    ----------
    X : Tensor or dict of str to Tensor
    y : Tensor
    batch_size : int
    shuffle : bool, default=False
    drop_last : bool, default=False
        Whether to leave out a last batch that is not full.
    order : Tensor of shape (n,) or None
        The numbers of some samples: only these are used, in this order.

    Attributes
    ----------
    served : tuple or None
        The last batch: its samples, its targets, and which rows of all they are.
    """

    def __init__(
        self,
        X: _Data,
        y: Tensor,
        batch_size: int,
        shuffle: bool = False,
        drop_last: bool = False,
        order: Tensor | None = None,
    ) -> None:
        self.X, self.y = X, y
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.order = order
        self.served: tuple[_Data, Tensor, Any] | None = None

    def _n_samples(self) -> int:
        return len(self.y if self.order is None else self.order)

    def __len__(self) -> int:
        full, rest = divmod(self._n_samples(), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[_Data, Tensor]]:
        order = self.order
        if self.shuffle:
            order = torch.randperm(self._n_samples()).to(self.y.device)
        for number in range(len(self)):
            part: Any = slice(number * self.batch_size, (number + 1) * self.batch_size)
            if order is not None:
                part = order[part]
            X, y = _apply(self.X, partial(_rows, part=part)), _rows(self.y, part)
            self.served = X, y, part
            yield X, y


def batches(net: NeuralNet, dataset: Any, *, training: bool) -> Any:
    """Return the iterator of a net over a dataset: a fast one, where it is equal.

    That is where the data are plain arrays or tensors, and the net has skorch's own
    dataset and iterators, torch's `DataLoader`, without options beyond those of
    :class:`Batches`. They are moved to the device of the net, unless they would fill
    more than half of what it has free; then each batch is moved when it is used.
    """
    options = _options(net, training=training)
    data = _plain(dataset) if _usual(net, options, training=training) else None
    if data is None:
        return net.get_iterator(dataset, training=training)
    X, y = data
    if options["batch_size"] == -1:
        options["batch_size"] = len(y)
    if fits(net.device, X, y):
        X, y = _apply(X, lambda x: x.to(net.device)), y.to(net.device)
    return Batches(X, y, **options)


def n_of(batches: Any) -> int | None:
    """Return the number of batches; None if nobody knows."""
    try:
        return len(batches)
    except (TypeError, NotImplementedError):
        return None


def measuring_batches(
    net: NeuralNet, dataset: Any, training: Any, n_samples: int, *, larger: bool
) -> Any:
    """Return batches of evenly spaced samples, in an order that is random but fixed.

    They are at least as large as those of the training. A stream of data, or an
    iterator that chooses the samples itself, is used as it is.

    Parameters
    ----------
    net : NeuralNet
    dataset : Dataset
        What the net trains on.
    training : object
        Its :func:`batches` for training, to share their tensors.
    n_samples : int
        How many samples to use, at most.
    larger : bool
        Whether batches of plain data may be larger than that.
    """
    options = _options(net, training=False)
    chosen = options.keys() & {"sampler", "batch_sampler"}
    if isinstance(dataset, IterableDataset) or chosen:
        return net.get_iterator(dataset, training=False)
    n = get_len(dataset)
    index = np.linspace(0, n - 1, min(n, n_samples)).round().astype(int)
    index = np.random.default_rng(0).permutation(index)
    sizes = [options["batch_size"], _options(net, training=True)["batch_size"]]
    size = max([n if each == -1 else each for each in sizes if each] or [1])
    if _usual(net, options, training=False):
        plain = training if isinstance(training, Batches) else None
        if plain is None and _plain(dataset) is not None:
            plain = batches(net, dataset, training=False)
        if isinstance(plain, Batches):
            order = torch.as_tensor(index).to(plain.y.device)
            least = _LARGE // max(1, n_numbers(plain.X) // n) if larger else 1
            size = max(size, min(least, _MANY))
            return Batches(plain.X, plain.y, size, order=order)
    subset = Subset(dataset, index.tolist())
    if type(net).get_iterator is not NeuralNet.get_iterator:
        return net.get_iterator(subset, training=False)
    fixed = {"batch_size": size, "shuffle": False, "drop_last": False}
    if options["batch_size"] is None:  # the dataset makes its own batches
        fixed = {}
    return net.iterator_valid(subset, **{**options, **fixed})


def _options(net: NeuralNet, *, training: bool) -> dict[str, Any]:
    """Return the options of an iterator of a net."""
    prefix = "iterator_train" if training else "iterator_valid"
    return {"batch_size": net.batch_size, **net.get_params_for(prefix)}


def _usual(net: NeuralNet, options: dict[str, Any], *, training: bool) -> bool:
    """Whether an iterator of a net is torch's, with options of :class:`Batches`."""
    size = options["batch_size"]
    return (
        type(net).get_iterator is NeuralNet.get_iterator
        and (net.iterator_train if training else net.iterator_valid) is DataLoader
        and options.keys() <= _OPTIONS
        and type(size) is int
        and (size > 0 or size == -1)
    )


def warn_unless_shuffled(net: NeuralNet, dataset: Any) -> None:
    """Warn if the default iterator serves many batches in the order of the data."""
    if net.iterator_train is not DataLoader or isinstance(dataset, IterableDataset):
        return
    options = _options(net, training=True)
    own_order = options.keys() & {"shuffle", "sampler", "batch_sampler"}
    size = options["batch_size"]
    if not own_order and size is not None and 0 < size < get_len(dataset):
        msg = (
            "The net trains on its batches in the order of the data, which slows "
            "stochastic training down or misleads it: set "
            "iterator_train__shuffle=True (or False, to say that you mean it)."
        )
        warn(msg)


def _rows(data: Tensor, part: Any) -> Tensor:
    """Return rows in memory of their own: how kernels round depends on where it is."""
    rows = data[part]
    return rows.clone() if isinstance(part, slice) else rows


def _plain(dataset: Any) -> tuple[_Data, Tensor] | None:
    """Return the tensors of a dataset of arrays, or None if it is another one."""
    if type(dataset) is Subset:
        inner = _plain(dataset.dataset)
        if inner is None:
            return None
        index = torch.as_tensor(np.asarray(dataset.indices, dtype=np.int64))
        return _apply(inner[0], lambda x: x[index.to(x.device)]), inner[1][
            index.to(inner[1].device)
        ]
    if type(dataset) is not Dataset:
        return None
    if isinstance(dataset.X, Mapping):
        parts = {name: _tensor(x) for name, x in dataset.X.items()}
        if any(x is None for x in parts.values()):
            return None
        X: Any = parts
    else:
        X = _tensor(dataset.X)
    y = torch.zeros(len(dataset), 1) if dataset.y is None else _tensor(dataset.y)
    if X is None or y is None or get_len([X, y]) != len(dataset):
        return None
    return X, y


def _tensor(array: Any) -> Tensor | None:
    if isinstance(array, Tensor):
        return array if array.layout == torch.strided else None
    if isinstance(array, np.ndarray) and array.dtype.kind in "buif" and array.ndim:
        # torch warns of memory that it must not write to
        return torch.from_numpy(np.require(array, requirements=["C", "W"]))
    return None


def fits(device: Any, *data: _Data) -> bool:
    """Whether data take no more than half of what a device has free."""
    if device is None:  # the user's business: accelerate, for example
        return False
    device = torch.device(device)
    if device.type != "cuda":
        return True
    sizes: list[int] = []
    for part in data:
        _apply(part, lambda x: sizes.append(x.numel() * x.element_size()))
    return sum(sizes) < torch.cuda.mem_get_info(device)[0] / 2


def n_numbers(data: _Data) -> int:
    """Return how many numbers there are in all."""
    parts = [data] if isinstance(data, Tensor) else data.values()
    return sum(part.numel() for part in parts)


def _apply(data: _Data, function: Callable[[Tensor], Any]) -> Any:
    if isinstance(data, Tensor):
        return function(data)
    return {name: function(x) for name, x in data.items()}
