"""Training of Θ itself: its degrees of freedom, with the structure fixed."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor, nn

from sklc.codes import Code, Factored, Theta, decompress, degrees_of_freedom
from sklc.codes.theta import mapped, multiplicities, trainable
from sklc.lstep.base import Projection
from sklc.lstep.net.pull import first_callback
from sklc.ops.backend import at_least_float32

_DAMPING = 1e-3  # of the mean of the Gram matrix's diagonal


class ThetaInTraining(Callback):
    """A module whose compressed weights are Δ(Θ) at every forward pass.

    As soon as a weight has a gradient, it is handed down to the degrees of freedom of
    Θ, which the optimizer trains in its place. Where one of them stands for many
    weights, its gradient is their mean and not their sum: the weights then move as far
    as by a step of their own, projected on what the code can represent. So they do
    where they are products of two factors: the gradient of each is divided by the Gram
    matrix of the other (T. Tong, C. Ma and Y. Chi, Accelerating ill-conditioned
    low-rank matrix estimation via scaled gradient descent, JMLR 22, 2021).

    Parameters
    ----------
    module : Module
    theta : dict of str to Code
    project : callable or None
        From Θ to the nearest feasible Θ of its structure, after each batch.

    Attributes
    ----------
    theta : dict of str to Code
        In training.
    free : list of Tensor
        Its degrees of freedom; none, if all that it covers is not trained.
    weights : dict of str to Parameter
        What they are the weights of.
    """

    def __init__(
        self, module: nn.Module, theta: Mapping[str, Code], project: Projection | None
    ) -> None:
        self.theta = trainable(theta)
        self.project = project
        self._module = module
        self.weights = {name: module.get_parameter(name) for name in theta}
        some = any(weight.requires_grad for weight in self.weights.values())
        self.free = degrees_of_freedom(self.theta) if some else []
        self._changed = True

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Keep hooks in the module and its weights, for a while.

        Raises
        ------
        RuntimeError
            If no gradients came.
        """
        trained = [name for name, w in self.weights.items() if w.requires_grad]
        waiting = set(trained)

        def receive(name: str, weight: Tensor) -> None:
            waiting.discard(name)
            gradient, weight.grad = _dense(weight.grad), None
            with torch.enable_grad():
                dense = self.theta[name].dense()
            if dense.requires_grad:
                dense.backward(gradient)
            self._changed = True

        with ExitStack() as hooks:

            def hook(handle: Any) -> None:
                hooks.callback(handle.remove)

            hook(self._module.register_forward_pre_hook(self._substitute))
            for tensor, number in multiplicities(self.theta):
                share = number.clamp(min=1)
                hook(tensor.register_hook(share.reciprocal().mul))
            for code in self.theta.values():
                for leaf in code.leaves():
                    if isinstance(leaf, Factored):
                        left, right = (
                            partial(_scaled, leaf, 0),
                            partial(_scaled, leaf, 1),
                        )
                        hook(leaf.left.register_hook(left))
                        hook(leaf.right.register_hook(right))
            for name in trained:
                weight = self.weights[name]
                weight.grad = None  # of the last L step
                hook(weight.register_post_accumulate_grad_hook(partial(receive, name)))
            yield
        if trained and len(waiting) == len(trained):
            msg = (
                "The net cannot be fine-tuned: no gradients reached the compressed "
                "weights. Its training step must call backward() on a loss of the "
                "module; or leave finetune at 0."
            )
            raise RuntimeError(msg)

    @torch.no_grad()
    def _substitute(self, *_: Any) -> None:
        """Put Δ(Θ) into the module, unless it is there already."""
        if self._changed:
            for name, dense in decompress(self.theta).items():
                self.weights[name].copy_(dense)
            self._changed = False

    def on_batch_end(self, net: NeuralNet, training: bool, **kwargs: Any) -> None:
        if self.project is None or not training:
            return
        with torch.no_grad():
            projected = degrees_of_freedom(self.project(self.theta))
            own = degrees_of_freedom(self.theta)
            for tensor, new in zip(own, projected, strict=True):
                tensor.copy_(new)
        self._changed = True

    def result(self) -> Theta:
        """Return Θ as it was trained."""
        return mapped(self.theta, Tensor.detach)


def trained_besides(
    net: NeuralNet, training: ThetaInTraining
) -> list[tuple[str, Tensor]]:
    """Return what a net trains besides the weights that Θ covers, by name."""
    covered = {id(weight) for weight in training.weights.values()}
    everything = type(net).get_all_learnable_params(net)
    return [
        (name, parameter)
        for name, parameter in everything
        if id(parameter) not in covered and parameter.requires_grad
    ]


@contextmanager
def in_training(net: NeuralNet, training: ThetaInTraining) -> Iterator[None]:
    """Let a net train Θ instead of the weights that it covers, for a while."""
    besides = trained_besides(net, training)
    free = [(f"theta.{number}", t) for number, t in enumerate(training.free)]
    optimizer = net.optimizer
    with ExitStack() as stack:
        net.get_all_learnable_params = lambda: iter([*besides, *free])
        stack.callback(net.initialize_optimizer)  # of the parameters again, at last
        stack.callback(delattr, net, "get_all_learnable_params")
        if optimizer is torch.optim.SparseAdam:  # gradients of Θ are dense
            net.optimizer = torch.optim.Adam
            stack.callback(setattr, net, "optimizer", optimizer)
            for _, parameter in besides:
                handle = parameter.register_post_accumulate_grad_hook(_densify)
                stack.callback(handle.remove)
        stack.enter_context(training.attached())
        stack.enter_context(first_callback(net, training))
        yield


@torch.no_grad()
def _scaled(code: Factored, side: int, gradient: Tensor) -> Tensor:
    """Return the gradient of a factor of W that moves W as far as its own, or less."""
    left, right = (at_least_float32(x) for x in (code.left, code.right))
    columns = at_least_float32(gradient) if side else at_least_float32(gradient).T
    gram = left.T @ left if side else right @ right.T
    small = gram.diagonal().mean() * _DAMPING + torch.finfo(gram.dtype).tiny
    gram.diagonal().add_(small)
    found: Tensor = torch.linalg.solve(gram, columns) / 2  # both factors move W
    return (found if side else found.T).to(gradient.dtype)


def _dense(gradient: Tensor | None) -> Tensor | None:
    if gradient is None or gradient.layout == torch.strided:
        return gradient
    return gradient.to_dense()


def _densify(parameter: Tensor) -> None:
    parameter.grad = _dense(parameter.grad)
