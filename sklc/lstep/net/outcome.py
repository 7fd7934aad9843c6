"""What may be wrong after training."""

import math
from collections.abc import Iterable

import torch
from skorch import NeuralNet
from torch import Tensor

from sklc.exceptions import DivergenceError
from sklc.lstep.net.pull import Pull


def check_felt(pull: Pull, step: int) -> None:
    """Raise a RuntimeError if nothing used the pull of an L step."""
    if not pull.n_uses:
        msg = (
            f"The net did not feel the pull of L step {step}: its training uses "
            "neither get_loss, nor the callbacks' on_grad_computed (on_batch_end, of "
            "optimizers other than SGD), nor (a function passed as l_step) the pull. "
            "Use one of them."
        )
        raise RuntimeError(msg)


def check_finite(net: NeuralNet, weights: Iterable[Tensor], what: str) -> None:
    """Raise a DivergenceError if a training left the finite numbers.

    Parameters
    ----------
    net : NeuralNet
    weights : iterable of Tensor
    what : str
        The training, for the message.
    """
    finite = bool(torch.stack([w.isfinite().all() for w in weights]).all())
    history = net.history
    loss = history[-1].get("train_loss", 0.0) if history else 0.0
    if finite and math.isfinite(loss):
        return
    found = f"the loss is {loss}" if finite else "a weight is not finite"
    msg = (
        f"{what} diverged: {found}. Lower the learning rate (lr), "
        "clip gradients (skorch.callbacks.GradientNormClipping), or let mu begin "
        "lower or grow more slowly (mu_init, mu_factor)."
    )
    raise DivergenceError(msg)
