"""The pull of an L step towards the compressed weights, and how a net feels it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.dataset import get_len, unpack_data
from torch import Tensor


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


@contextmanager
def pulled(
    net: NeuralNet, pull: Pull, how: str, *, summed: bool = False
) -> Iterator[None]:
    """Let a net train with a pull, for a while.

    Parameters
    ----------
    net : NeuralNet
    pull : Pull
    how : {"gradient", "loss"}
        Through :class:`GradientPull`, so that the losses that the net records are those
        without it; or through its loss, as its optimizer or training step needs.
    summed : bool, default=False
        Whether the loss of a batch is the sum over its samples, not their mean.
    """
    if how == "gradient":
        with first_callback(net, GradientPull(pull, summed)):
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
    """Return how a net should be pulled: through its loss where gradients won't do.

    Those are optimizers that evaluate the loss several times per step (LBFGS), and nets
    with a training step of their own (gradient scaling or accumulation, Accelerate).
    """
    own_step = any(
        getattr(type(net), name) is not getattr(NeuralNet, name)
        for name in ("train_step", "train_step_single", "_step_optimizer")
    )
    line_search = isinstance(net.optimizer, type) and issubclass(
        net.optimizer, torch.optim.LBFGS
    )
    return "loss" if own_step or line_search else "gradient"
