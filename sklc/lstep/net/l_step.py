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
from sklc.lstep.net.optimizers import is_sgd, learning_rate
from sklc.lstep.net.plan import Plan
from sklc.lstep.net.pull import automatic_pull

_FASTER = 2.0  # times the learning rate of the net


class NetLStep(LStep):
    r"""Train a net with its own optimizer, criterion, batches and device.

    Each L step begins at the compressed weights, and how training moves these is added
    to w: the gradient of the loss is taken where the result will be. In parts of a few
    batches Θ and the multipliers follow (see
    :func:`sklc.lc.loop.learning_compression`). In the end, Θ of the best step is
    fine-tuned (see `finetune` of :class:`~sklc.LCCompressor`) while the learning rate
    falls to zero along half a cosine.

    Each L step has a fresh optimizer. Callbacks of the net act inside each L step, from
    ``on_train_begin`` to ``on_train_end``: learning rate schedulers begin anew, early
    stopping ends the step.

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
        Epochs per L step. ``"auto"`` spreads twice the ``max_epochs`` of the net, or
        as many as 2,000 batches take if that is more (but not more than 2,000,000
        samples take, nor for line searches such as LBFGS), over the steps, at least one
        epoch each, and the remainder over the first of them.
    first_epochs : int or None, default=None
        Epochs of the first L step; None for `epochs`.
    start_at : {"compressed", "weights"}, default="compressed"
        Where an L step begins, and takes the gradient of the loss: at the compressed
        weights, or at w as the algorithm was published. L steps that begin at w have no
        parts.
    part : int or "auto", default="auto"
        Batches after which Θ follows the weights, within an L step. ``"auto"`` takes
        16, or a tenth of an epoch if that is more.
    lr : float, "auto" or None, default="auto"
        Learning rate of the first L step; None for that of the net. ``"auto"`` takes
        twice that for SGD, whose steps `max_update` limits.
    lr_decay : float, default=1.0
        Factor of the learning rate, see `lr_schedule`; above 0.0, at most 1.0.
    lr_schedule : {"step", "epoch", "restart"}, default="step"
        Whether the learning rate is multiplied by `lr_decay` after each L step, after
        each epoch, or after each epoch, beginning anew at each step. With the last two,
        leave schedulers of your own out: each would undo the other.
    clip_lr : bool, default=True
        Lower the learning rate of plain SGD to ``1/mu`` where it is above: with a
        larger one strong pulls diverge.
    max_update : float or None, default=0.05
        The longest step that a batch may make by SGD, the pull apart, in units of the
        norm of the weights of two or more dimensions: longer gradients are shortened.
        None for no limit. Compressed nets are rougher than those they come from, and
        what was a good learning rate may be too large for them.
    pull : {"auto", "gradient", "decoupled", "loss"}, default="auto"
        How the pull acts: added to the gradients, which costs next to nothing and
        leaves the losses that the net records without it; apart from them after every
        batch, as optimizers other than SGD need, which rescale gradients; or added to
        the loss, as optimizers that evaluate it several times per step (LBFGS) and
        training steps of your own (gradient scaling or accumulation, Accelerate) need.
        ``"auto"`` sees to that.
    reestimate_batch_norm : bool, default=True
        Whether the statistics of batch normalisation are measured anew, on the training
        data, for the compressed weights.
    loss_samples : int, default=10000
        Iterates are compared by their mean loss over at most this many samples of the
        training data, evenly spaced and always the same, in batches of a fixed random
        order.
    distill : float or "auto", default="auto"
        How much the net learns from the reference (the net as it was before
        compression, in evaluation): the loss is ``1 - distill`` times its own, plus
        `distill` times the divergence of its outputs from those of the reference. At
        1.0 targets do not count (only through weights of classes, and labels that are
        ignored), and a net that comes trained needs none. ``"auto"`` is 0.0 where there
        are targets, and 1.0 where there are none.
    temperature : float, default=4.0
        T, by which logits are divided for that divergence.
    device : str, torch.device or None, default=None
        Where to train, such as ``"cuda"``; None for the device of the net, ``"auto"``
        for a GPU if there is one.

    Notes
    -----
    The divergence from the outputs r of the reference is, for classifiers,

    .. math:: T^2\,\mathrm{KL}(\mathrm{softmax}(r/T) \,\|\, \mathrm{softmax}(z/T)),

    that of the probabilities of each label for nets of several labels (or of two
    classes with one output), and the squared error for numbers. What logits z are
    follows from the criterion: outputs themselves (``CrossEntropyLoss``,
    ``BCEWithLogitsLoss``), or logarithms of the probabilities that they are
    (``NLLLoss`` in a ``NeuralNetClassifier``, ``BCELoss``). With any other criterion,
    or a ``get_loss`` of your own, a function from outputs to probabilities of classes
    as the ``predict_nonlinearity`` of the net says it; without one, ``"auto"`` leaves
    the loss as it is. Outputs for plain arrays are computed once, and kept if they take
    no more memory than the samples; batches of your own iterators, which may augment
    them, go through a frozen copy of the reference.

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

    G. Hinton, O. Vinyals and J. Dean, Distilling the knowledge in a neural network,
    arXiv:1503.02531, 2015.
    """

    def __init__(
        self,
        epochs: int | str = "auto",
        first_epochs: int | None = None,
        start_at: str = "compressed",
        part: int | str = "auto",
        lr: float | str | None = "auto",
        lr_decay: float = 1.0,
        lr_schedule: str = "step",
        clip_lr: bool = True,
        max_update: float | None = 0.05,
        pull: str = "auto",
        reestimate_batch_norm: bool = True,
        loss_samples: int = 10_000,
        distill: float | str = "auto",
        temperature: float = 4.0,
        device: Any = None,
    ) -> None:
        self.epochs = epochs
        self.first_epochs = first_epochs
        self.start_at = start_at
        self.part = part
        self.lr = lr
        self.lr_decay = lr_decay
        self.lr_schedule = lr_schedule
        self.clip_lr = clip_lr
        self.max_update = max_update
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
        check_option(self, "pull", ("auto", "gradient", "decoupled", "loss"))
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
            plan=replace(plan, lr=self._lr(net)),
            pull=self.pull,
            n_samples=n_samples,
            renew=self.reestimate_batch_norm,
            distillation=distillation,
        )
        learner.warn_unless_shuffled()
        return learner

    def _lr(self, net: NeuralNet) -> float | None:
        """Return the first learning rate; None for that of the net."""
        rate: float | str | None = check_positive(self, "lr", also=("auto", None))
        if not isinstance(rate, str):
            return rate
        safe = self.max_update is not None and self.start_at == "compressed"
        how = automatic_pull(net) if self.pull == "auto" else self.pull
        known = is_sgd(net) and how != "loss"
        return _FASTER * learning_rate(net) if safe and known else None

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
        check_option(self, "start_at", ("compressed", "weights"))
        part = check_int(self, "part", 1, also=("auto",))
        return Plan(
            epochs=None if isinstance(epochs, str) else epochs,
            first_epochs=check_int(self, "first_epochs", 1, also=(None,)),
            n_steps=n_steps,
            lr_decay=float(decay),
            lr_schedule=self.lr_schedule,
            clip_lr=self.clip_lr,
            compressed=self.start_at == "compressed",
            part=None if is_one_of(part, ("auto",)) else int(part),
            max_update=check_positive(self, "max_update", also=(None,)),
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
