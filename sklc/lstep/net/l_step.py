"""The L step of nets: stochastic optimisation by skorch, pulled through gradients."""

import copy
from typing import Any

import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNet, NeuralNetClassifier
from skorch.utils import to_device
from torch import nn

from sklc.checks import (
    check,
    check_bool,
    check_int,
    check_option,
    check_positive,
    is_positive,
)
from sklc.exceptions import warn
from sklc.lstep.base import LStep, register
from sklc.lstep.net.learner import NetLearner
from sklc.wrappers import unfrozen


class NetLStep(LStep):
    r"""Train a net with its own optimizer, criterion, batches and device.

    Each L step goes on from the last weights with a fresh optimizer. Callbacks of the
    net act inside each L step, from ``on_train_begin`` to ``on_train_end``: learning
    rate schedulers begin anew, early stopping ends the step.

    Plain in-memory arrays are cut into batches on the device of the net; iterators and
    datasets of your own are used as they are. A validation split is drawn once for all
    steps, and only the rest is trained on. Parameters that require no gradient are
    compressed at once, and the others adapt to them.

    Parameters
    ----------
    epochs : int or "auto", default="auto"
        Epochs per L step. ``"auto"`` spreads twice the ``max_epochs`` of the net over
        the steps, at least one epoch each, and the remainder over the first of them.
    first_epochs : int or None, default=None
        Epochs of the first L step; None for `epochs`.
    lr : float or None, default=None
        Learning rate of the first L step; None for that of the net.
    lr_decay : float, default=0.98
        Factor of the learning rate, see `lr_schedule`; above 0.0, at most 1.0.
    lr_schedule : {"step", "epoch", "restart"}, default="step"
        Whether the learning rate is multiplied by `lr_decay` after each L step, after
        each epoch, or after each epoch, beginning anew at each step. With the last two,
        leave schedulers of your own out: each would undo the other.
    clip_lr : bool, default=True
        Lower the learning rate of plain SGD to ``1/mu`` where it is above: with a
        larger one strong pulls diverge.
    pull : {"auto", "gradient", "loss"}, default="auto"
        How the pull acts: added to the gradients, which costs next to nothing and
        leaves the losses that the net records without it; or to the loss, as optimizers
        that evaluate it several times per step (LBFGS) and training steps of your own
        (gradient scaling or accumulation, Accelerate) need. ``"auto"`` sees to that.
    reestimate_batch_norm : bool, default=True
        Whether the statistics of batch normalisation are measured anew, on the training
        data, for the compressed weights.
    loss_samples : int, default=10000
        Iterates are compared by their mean loss over at most this many samples of the
        training data, evenly spaced and always the same.
    device : str, torch.device or None, default=None
        Where to train, such as ``"cuda"``; None for the device of the net, ``"auto"``
        for a GPU if there is one.

    Examples
    --------
    >>> from sklc.lstep import NetLStep
    >>> NetLStep(epochs=5)
    NetLStep(epochs=5)

    References
    ----------
    M. A. Carreira-Perpinan and Y. Idelbayev, Model compression as constrained
    optimization, with application to neural nets. Part II: quantization,
    arXiv:1707.04319, 2017 (the clipped learning rates).
    """

    def __init__(
        self,
        epochs: int | str = "auto",
        first_epochs: int | None = None,
        lr: float | None = None,
        lr_decay: float = 0.98,
        lr_schedule: str = "step",
        clip_lr: bool = True,
        pull: str = "auto",
        reestimate_batch_norm: bool = True,
        loss_samples: int = 10_000,
        device: Any = None,
    ) -> None:
        self.epochs = epochs
        self.first_epochs = first_epochs
        self.lr = lr
        self.lr_decay = lr_decay
        self.lr_schedule = lr_schedule
        self.clip_lr = clip_lr
        self.pull = pull
        self.reestimate_batch_norm = reestimate_batch_norm
        self.loss_samples = loss_samples
        self.device = device

    def start(
        self, estimator: Any, X: Any, y: Any, *, n_steps: int, **fit_params: Any
    ) -> NetLearner:
        """Return a learner of a copy of the net (see :meth:`LStep.start`)."""
        self._validate()
        net, trained = self.copied(estimator)
        learner = NetLearner(self, net, trained, n_steps, X, y, fit_params)
        learner.warn_unless_shuffled()
        return learner

    def copied(self, estimator: Any) -> tuple[NeuralNet, bool]:
        """Return an initialized copy of a net, and whether its weights are trained."""
        net, trained = _initialized_copy(estimator, self.device)
        if len(net._modules) > 1:
            msg = (
                f"The net has several modules, {net._modules}, and only one can be "
                "compressed: make them parts of one module."
            )
            raise ValueError(msg)
        _refuse_old_weights(net)
        return net, trained

    def _validate(self) -> None:
        check_int(self, "epochs", 1, also=("auto",))
        check_int(self, "first_epochs", 1, also=(None,))
        check_positive(self, "lr", also=(None,))
        decay = self.lr_decay
        good = is_positive(decay) and decay <= 1
        check(self, "lr_decay", good, "above 0.0 and at most 1.0")
        check_option(self, "lr_schedule", ("step", "epoch", "restart"))
        check_bool(self, "clip_lr")
        check_option(self, "pull", ("auto", "gradient", "loss"))
        check_bool(self, "reestimate_batch_norm")
        check_int(self, "loss_samples", 1)
        if self.device not in (None, "auto"):
            try:
                torch.device(self.device)
            except (RuntimeError, TypeError):
                check(self, "device", False, "None, 'auto' or a device of torch")


def _initialized_copy(estimator: Any, device: Any) -> tuple[NeuralNet, bool]:
    """Return a net to train, initialized, and whether its weights are trained.

    Parameters
    ----------
    estimator : NeuralNet, Module or FrozenEstimator
        Never written to.
    device : str, torch.device or None
        Where the copy is to be; None for where the original is.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else None
    frozen = isinstance(estimator, FrozenEstimator)
    inner = unfrozen(estimator)
    if isinstance(inner, nn.Module):
        return _wrapped(inner, device), True
    if not isinstance(inner, NeuralNet):
        msg = f"NetLStep trains skorch nets and torch modules, got {inner!r}."
        raise TypeError(msg)
    if not frozen:
        if inner.initialized_ and inner.history:
            msg = (
                "The net is fitted already, and is trained again from its "
                "initialisation: pass FrozenEstimator(net) to start from its weights."
            )
            warn(msg)
        net = clone(inner)
        if device is not None:
            net.set_params(device=device)
        return net.initialize(), False
    if not inner.initialized_:
        msg = (
            "FrozenEstimator holds a net that is not fitted: fit it first, or pass "
            "it without FrozenEstimator to have it trained."
        )
        raise NotFittedError(msg)
    net = copy.deepcopy(inner)
    if device is not None:
        net.device = device
        for name in net._modules + net._criteria:
            part = getattr(net, f"{name}_")
            if isinstance(part, nn.Module):
                to_device(part, device)
    return net, True


def _wrapped(module: nn.Module, device: Any) -> NeuralNetClassifier:
    """Return a classifier around a copy of a trained module, on its device."""
    module = copy.deepcopy(module)
    if device is None:
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
    net = NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        lr=0.05,
        max_epochs=20,
        iterator_train__shuffle=True,
        train_split=None,
        device=str(device),
        verbose=0,
    )
    return net.initialize()


def _refuse_old_weights(net: NeuralNet) -> None:
    for name, callback in net.callbacks_:
        if getattr(callback, "load_best", False):
            msg = (
                f"The callback {name!r}, {type(callback).__name__}(load_best=True), "
                "would put old weights back after each L step: set load_best=False; "
                "LCCompressor keeps the best iterate by itself (keep='best')."
            )
            raise ValueError(msg)


register(NeuralNet, NetLStep, subclasses=True)
register(nn.Module, NetLStep, subclasses=True)
