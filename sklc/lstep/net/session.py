"""One training of a skorch net: its epochs, and what its callbacks may do to it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from skorch import NeuralNet
from skorch.callbacks import EarlyStopping
from skorch.history import History
from torch import nn

from sklc.lstep.net.pull import first_callback
from sklc.lstep.net.rate import Rate


@contextmanager
def session(net: NeuralNet, X: Any, y: Any, rate: Rate | None) -> Iterator[None]:
    """Train as `partial_fit` does, but lose neither interrupts nor weights.

    Parameters
    ----------
    net : NeuralNet
    X, y : data
    rate : Rate or None
        Of an L step, which goes on from the weights with a fresh optimizer; None for a
        first training.

    Raises
    ------
    RuntimeError
        If a callback made the module anew, and it is another one, or in training.
    """
    module = net.module_
    if rate is not None:
        net.initialize_optimizer()
        rate.prepare(net)
    with first_callback(net, rate) if rate is not None else nullcontext():
        with _anew(net):
            net.notify("on_train_begin", X=X, y=y)
        if net.module_ is not module and rate is not None:
            _put_back(net, module)
            net.initialize_optimizer()
            rate.prepare(net)
        module = net.module_
        try:
            yield
        except KeyboardInterrupt:
            if not _stopped_early(net):
                raise
        net.notify("on_train_end", X=X, y=y)
    if net.module_ is not module:
        net.module_ = module
        msg = (
            "A callback of the net made its module anew while it was training, and "
            "so lost its weights: do that in on_train_begin, or not at all."
        )
        raise RuntimeError(msg)


@contextmanager
def quiet(net: NeuralNet) -> Iterator[None]:
    """Keep skorch from printing its table of epochs, for a while."""
    verbose, net.verbose = net.verbose, 0
    try:
        yield
    finally:
        net.verbose = verbose


def run_epochs(
    net: NeuralNet,
    epochs: int,
    data: tuple[Any, Any],
    split: tuple[Any, Any],
    batches: tuple[Any, Any],
    fit_params: dict[str, Any],
) -> None:
    """Train for some epochs, within a :func:`session`.

    As the net's own loop does, but with one split and the given batches.

    Parameters
    ----------
    net : NeuralNet
    epochs : int
    data : tuple of data
        X and y, for a loop that is the user's.
    split : tuple of Dataset
        To train on, and to validate with (or None).
    batches : tuple of iterable
        Of these.
    fit_params : dict
    """
    if type(net).fit_loop is not NeuralNet.fit_loop:
        net.fit_loop(*data, epochs=epochs, **fit_params)
        return
    datasets = {"dataset_train": split[0], "dataset_valid": split[1]}
    steps = ("train", net.train_step), ("valid", net.validation_step)
    for _ in range(epochs):
        net.notify("on_epoch_begin", **datasets)
        for (prefix, step), iterator in zip(steps, batches, strict=True):
            net.run_single_epoch(
                iterator,
                training=prefix == "train",
                prefix=prefix,
                step_fn=step,
                **fit_params,
            )
        net.notify("on_epoch_end", **datasets)


@contextmanager
def _anew(net: NeuralNet) -> Iterator[None]:
    """Let callbacks begin as in a first training, without past or best score."""
    for _, callback in net.callbacks_:
        if hasattr(callback, "best_score_"):
            callback.initialize()
    history, net.history = net.history, History()
    try:
        yield
    finally:
        net.history = history


def _put_back(net: NeuralNet, module: nn.Module) -> None:
    """Put the module back that a callback has replaced by an untrained one."""
    made, net.module_ = net.module_, module
    shapes, expected = (
        {name: tensor.shape for name, tensor in each.state_dict().items()}
        for each in (made, module)
    )
    if shapes != expected:
        msg = (
            "A callback of the net made its module anew, and the weights no longer fit "
            "in: give the module the shape of the data at once, or fit the net first "
            "and pass it as FrozenEstimator(net) without that callback."
        )
        raise RuntimeError(msg)


def _stopped_early(net: NeuralNet) -> bool:
    """Whether EarlyStopping, which raises KeyboardInterrupt, ended the training."""
    return any(
        isinstance(callback, EarlyStopping) and callback.misses_ == callback.patience
        for _, callback in net.callbacks_
    )
