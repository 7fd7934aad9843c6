"""The pull of an L step towards the compressed weights, and how a net feels it."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.dataset import get_len, unpack_data
from torch import Tensor

from sklc.lstep.net.optimizers import (
    has_line_search,
    is_sgd,
    learning_rate,
    parameter_groups,
    reach_of,
    reach_of_batch,
)


class Pull:
    r"""The pull :math:`\frac\mu2 \|w - t\|^2` of an L step.

    Parameters
    ----------
    parameters, targets : list of Tensor
        The parameters w and where each is pulled to, t.
    mu : float

    Attributes
    ----------
    n_uses : int
        How often it was computed or added to the gradients.
    """

    def __init__(
        self, parameters: Sequence[Tensor], targets: Sequence[Tensor], mu: float
    ) -> None:
        self.parameters = list(parameters)
        self.targets = list(targets)
        self.mu = mu
        self.n_uses = 0

    def __call__(self, times: float = 1.0) -> Tensor:
        """Return the pull, a differentiable scalar to add to the mean loss.

        Parameters
        ----------
        times : float, default=1.0
            The number of samples, if it is added to the sum of their losses.
        """
        self.n_uses += 1
        squares = [
            (parameter - target).square().sum()
            for parameter, target in zip(self.parameters, self.targets, strict=True)
        ]
        if not squares:
            return torch.zeros(())
        return times * self.mu / 2 * torch.stack(squares).sum()

    @torch.no_grad()
    def add_to_gradients(self, times: float = 1.0) -> None:
        """Add the gradient of the pull to ``.grad`` of the parameters.

        The same as adding it to the loss, but for two fused operations per
        batch instead of an autograd graph. Call it once, after ``backward()``.

        Parameters
        ----------
        times : float, default=1.0
            The number of samples, if the gradients are those of a sum over them.
        """
        self.n_uses += 1
        if not self.parameters:
            return
        gradients: list[Tensor] = []
        sparse = []
        for parameter in self.parameters:
            if parameter.grad is None:  # not used by the loss
                parameter.grad = torch.zeros_like(parameter)
            elif parameter.grad.layout != torch.strided:
                sparse.append(parameter)
                parameter.grad = parameter.grad.to_dense()
            gradients.append(parameter.grad)
        torch._foreach_add_(gradients, self.parameters, alpha=times * self.mu)
        torch._foreach_add_(gradients, self.targets, alpha=-times * self.mu)
        for parameter in sparse:  # as optimizers such as SparseAdam need it
            parameter.grad = _with_all_rows(parameter.grad)

    @torch.no_grad()
    def approach(self, share: float) -> None:
        """Bring the parameters nearer to where they are pulled, by a share of the way.

        What the pull alone does in a step, apart from the optimizer: for those that
        rescale gradients, and would not feel how strong it is.
        """
        self.n_uses += 1
        if self.parameters:
            torch._foreach_lerp_(self.parameters, self.targets, share)


def _with_all_rows(gradient: Tensor | None) -> Tensor | None:
    """Return a gradient as a sparse tensor that has all of its rows."""
    if gradient is None:
        return None
    rows = torch.arange(len(gradient), device=gradient.device)[None]
    return torch.sparse_coo_tensor(
        rows, gradient, gradient.shape, is_coalesced=True, check_invariants=False
    )


class GradientPull(Callback):
    """Add a pull to the gradients of a net, before other callbacks see them.

    Parameters
    ----------
    pull : Pull
    summed : bool, default=False
        Whether the loss of a batch is the sum over its samples, not their mean.
    """

    def __init__(self, pull: Pull, summed: bool = False) -> None:
        self.pull = pull
        self.summed = summed

    def on_grad_computed(
        self, net: NeuralNet, batch: Any = None, **kwargs: Any
    ) -> None:
        times = get_len(unpack_data(batch)[0]) if self.summed else 1
        self.pull.add_to_gradients(times)


class DecoupledPull(Callback):
    """Bring the weights of a net nearer to where they are pulled, after every batch.

    Parameters
    ----------
    pull : Pull
    """

    def __init__(self, pull: Pull) -> None:
        self.pull = pull

    def on_batch_end(self, net: NeuralNet, training: bool, **kwargs: Any) -> None:
        if training:
            strength = self.pull.mu * learning_rate(net)
            self.pull.approach(-math.expm1(-strength))


class Parts(Callback):
    """Call a function between the parts of a training.

    Parameters
    ----------
    n_batches : int
        Of a part; the last one may be shorter.
    how : {"gradient", "decoupled", "loss"}
        How the net is pulled.
    between : callable
        Gets the reach of the part that ends.
    summed : bool, default=False
        Whether the loss of a batch is the sum over its samples, not their mean.

    Attributes
    ----------
    n_done : int
        Batches of the part that goes on.
    reach : float
        How far they bring the weights where a pull of 1 leads them, see
        :func:`reach_of_batch`.
    """

    def __init__(
        self,
        n_batches: int,
        how: str,
        between: Callable[[float], None],
        summed: bool = False,
    ) -> None:
        self.n_batches = n_batches
        self.how = how
        self.between = between
        self.summed = summed
        self.reach = 0.0
        self.n_done = 0

    def on_batch_begin(
        self, net: NeuralNet, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        if not training:
            return
        if self.n_done == self.n_batches:
            self.between(self.reach)
            self.reach, self.n_done = 0.0, 0
        times = get_len(unpack_data(batch)[0]) if self.summed else 1
        # the rate may change in between
        self.reach += reach_of_batch(net, self.how, times=times)
        self.n_done += 1


class Limit(Callback):
    """Shorten the gradients of a net, so that no step of SGD moves it far.

    Parameters
    ----------
    weights : sequence of Tensor
        The norm of a step is compared with theirs, when the training begins.
    most : float
        The largest quotient.
    """

    def __init__(self, weights: Sequence[Tensor], most: float) -> None:
        self._norm = most * _norm(weights)

    def on_grad_computed(self, net: NeuralNet, **kwargs: Any) -> None:
        parameters, step = [], 0.0
        for group in parameter_groups(net):
            step = max(step, reach_of(group))
            parameters += [p for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in parameters]
        if not parameters or not step:
            return
        if any(gradient.layout != torch.strided for gradient in gradients):
            return
        # on the device: a comparison would have to wait for it
        factor = self._norm.to(gradients[0]) / (step * _norm(gradients)).to(
            gradients[0]
        )
        factor = torch.where(self._norm > 0, factor.clamp(max=1.0), 1.0)
        torch._foreach_mul_(gradients, factor.nan_to_num(1.0))


def limited(
    net: NeuralNet, weights: Iterable[Tensor], most: float | None
) -> AbstractContextManager[None]:
    """Let a :class:`Limit` act on a net, for a while, if its optimizers are SGD.

    Parameters
    ----------
    net : NeuralNet
    weights : iterable of Tensor
        Of which those of two or more dimensions count.
    most : float or None
        None for no limit.
    """
    if most is None or not is_sgd(net):
        return nullcontext()
    return first_callback(net, Limit([w for w in weights if w.ndim > 1], most))


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    norms = torch._foreach_norm([t.detach() for t in tensors])
    total: Tensor = torch.linalg.vector_norm(torch.stack([n.float() for n in norms]))
    return total


@contextmanager
def pulled(
    net: NeuralNet, pull: Pull, how: str, *, summed: bool = False
) -> Iterator[None]:
    """Let a net train with a pull, for a while.

    Parameters
    ----------
    net : NeuralNet
    pull : Pull
    how : {"gradient", "decoupled", "loss"}
        Through :class:`GradientPull` or :class:`DecoupledPull`, so that the losses that
        the net records are those without it; or through its loss, as its optimizer or
        training step needs.
    summed : bool, default=False
        Whether the loss of a batch is the sum over its samples, not their mean.
    """
    if how != "loss":
        acts = DecoupledPull(pull) if how == "decoupled" else GradientPull(pull, summed)
        with first_callback(net, acts):
            yield
        return
    get_loss = net.get_loss

    def penalized(
        y_pred: Any, y_true: Any, X: Any = None, training: bool = False
    ) -> Tensor:
        loss: Tensor = get_loss(y_pred, y_true, X=X, training=training)
        if not training:
            return loss
        times = get_len(y_pred if X is None else X) if summed else 1
        return loss + pull(times).to(loss)

    with replaced_loss(net, penalized):
        yield


@contextmanager
def replaced_loss(net: NeuralNet, get_loss: Callable[..., Tensor]) -> Iterator[None]:
    """Let a net take another function for its ``get_loss``, for a while."""
    before = {name: f for name, f in vars(net).items() if name == "get_loss"}
    net.get_loss = get_loss
    try:
        yield
    finally:
        del net.get_loss
        vars(net).update(before)


@contextmanager
def first_callback(net: NeuralNet, callback: Callback) -> Iterator[None]:
    """Put a callback before those of a net, for a while."""
    callbacks = net.callbacks_
    net.callbacks_ = [("lc", callback), *callbacks]
    try:
        yield
    finally:
        net.callbacks_ = callbacks


def automatic_pull(net: NeuralNet) -> str:
    """Return how a net should be pulled: through its gradients, if they will do.

    They do not for optimizers that evaluate the loss several times per step (LBFGS),
    nor for nets with a training step of their own (gradient scaling or accumulation,
    Accelerate): these are pulled through their loss. Nor for optimizers other than SGD,
    which rescale gradients: there the pull acts apart from them.
    """
    own_step = any(
        getattr(type(net), name) is not getattr(NeuralNet, name)
        for name in ("train_step", "train_step_single", "_step_optimizer")
    )
    if own_step or has_line_search(net):
        return "loss"
    return "gradient" if is_sgd(net) else "decoupled"
