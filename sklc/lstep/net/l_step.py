"""The L step of nets: stochastic optimisation by skorch, pulled through gradients."""

from dataclasses import replace
from typing import Any

import torch
from skorch import NeuralNet
from torch import nn

from sklc.checks import (
    as_float,
    check,
    check_bool,
    check_int,
    check_option,
    check_positive,
    is_one_of,
    is_positive,
)
from sklc.lstep.base import LStep, register
from sklc.lstep.net.copies import classifier_of, copied
from sklc.lstep.net.distillation import Distillation
from sklc.lstep.net.learner import NetLearner
from sklc.lstep.net.plan import Plan


class NetLStep(LStep):
    r"""Train a net with its own optimizer, criterion, batches and device.

    Each L step goes on from the last weights with a fresh optimizer. Callbacks of the
    net act inside each L step, from ``on_train_begin`` to ``on_train_end``: learning
    rate schedulers begin anew, early stopping ends the step.

    Plain in-memory arrays are cut into batches on the device of the net; iterators and
    datasets of your own are used as they are. A validation split is drawn once for all
    steps, and only the rest is trained on. Parameters that require no gradient are
    compressed at once, and the others adapt to them. Modules whose weights are not
    their parameters (parametrizations, masks, ``max_norm``) are refused.

    Samples come in the dtype that the module takes, found by trying: integers stay
    integers where they can. Labels that are numbers of outputs stay as they are, others
    are numbered in their order, or in that of the ``classes`` of the net.

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
        training data, evenly spaced and always the same, in batches of a fixed random
        order.
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
        distill: float | str = "auto",
        temperature: float = 4.0,
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
        self.distill = distill
        self.temperature = temperature
        self.device = device

    def start(
        self, estimator: Any, X: Any, y: Any, *, n_steps: int, **fit_params: Any
    ) -> NetLearner:
        """Return a learner of a copy of the net (see :meth:`LStep.start`)."""
        plan = self._plan(n_steps)
        check_option(self, "pull", ("auto", "gradient", "loss"))
        check_bool(self, "reestimate_batch_norm")
        n_samples = check_int(self, "loss_samples", 1)
        distillation = self._distillation()
        net, trained = copied(estimator, self._device())
        learner = NetLearner(
            net,
            trained,
            X,
            y,
            fit_params,
            plan=replace(plan, total=2 * net.max_epochs),
            pull=self.pull,
            n_samples=n_samples,
            renew=self.reestimate_batch_norm,
            distillation=distillation,
        )
        learner.warn_unless_shuffled()
        return learner

    def is_trained(self, estimator: Any) -> bool:
        """Whether an estimator comes with the weights to start from: a module does."""
        return super().is_trained(estimator) or isinstance(estimator, nn.Module)

    def prototype(self, estimator: Any) -> Any:
        """Return the net that an estimator becomes."""
        inner = super().prototype(estimator)
        return classifier_of(inner, "cpu") if isinstance(inner, nn.Module) else inner

    def _plan(self, n_steps: int) -> Plan:
        epochs = check_int(self, "epochs", 1, also=("auto",))
        decay = self.lr_decay
        good = is_positive(decay) and decay <= 1
        check(self, "lr_decay", good, "above 0.0 and at most 1.0")
        check_option(self, "lr_schedule", ("step", "epoch", "restart"))
        check_bool(self, "clip_lr")
        return Plan(
            epochs=None if isinstance(epochs, str) else epochs,
            first_epochs=check_int(self, "first_epochs", 1, also=(None,)),
            n_steps=n_steps,
            lr=check_positive(self, "lr", also=(None,)),
            lr_decay=float(decay),
            lr_schedule=self.lr_schedule,
            clip_lr=self.clip_lr,
        )

    def _distillation(self) -> Distillation:
        temperature = check_positive(self, "temperature")
        if is_one_of(self.distill, ("auto",)):
            return Distillation(None, temperature)
        share = as_float(self.distill)
        check(self, "distill", 0.0 <= share <= 1.0, "'auto' or from 0.0 to 1.0")
        return Distillation(share, temperature)

    def _device(self) -> Any:
        if self.device not in (None, "auto"):
            try:
                torch.device(self.device)
            except (RuntimeError, TypeError):
                check(self, "device", False, "None, 'auto' or a device of torch")
        return self.device


register(NeuralNet, NetLStep, subclasses=True)
register(nn.Module, NetLStep, subclasses=True)
