"""The L step of nets: stochastic optimisation by skorch, pulled through gradients."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNet, NeuralNetClassifier
from skorch.callbacks import Callback
from skorch.dataset import get_len, unpack_data
from torch import Tensor, nn

from sklc.layers import LayerInfo
from sklc.lstep.base import Learner, LStep, register


class Pull(Callback):
    r"""Add the gradient of :math:`\frac\mu2 \|w - t\|^2` to that of the loss.

    Two fused operations per batch and no autograd graph; gradients are those of the
    loss with the penalty added, while the loss that skorch records is the loss alone.

    Parameters
    ----------
    parameters, targets : list of Tensor
        The parameters w and where each is pulled to, t.
    mu : float
    """

    def __init__(
        self, parameters: list[Tensor], targets: list[Tensor], mu: float
    ) -> None:
        self.parameters = parameters
        self.targets = targets
        self.mu = mu

    def on_grad_computed(self, net: NeuralNet, **kwargs: Any) -> None:
        if not self.parameters:
            return
        gradients: list[Tensor] = []
        for parameter in self.parameters:
            if parameter.grad is None:  # not used by the loss
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        with torch.no_grad():
            torch._foreach_add_(gradients, self.parameters, alpha=self.mu)
            torch._foreach_add_(gradients, self.targets, alpha=-self.mu)


class NetLStep(LStep):
    """Train a net with its own optimizer, criterion, batches and device.

    Each L step goes on from the last weights with a fresh optimizer. The learning rate
    of step ``j = 1, 2, ...`` is the net's own times ``lr_decay**(j - 1)``.

    Parameters
    ----------
    epochs : int or "auto", default="auto"
        Epochs per L step. ``"auto"`` spreads twice the ``max_epochs`` of the net over
        the steps, at least one epoch each.
    lr_decay : float, default=0.98
        From 0.0 (exclusive) to 1.0.
    clip_lr : bool, default=True
        Lower the learning rate of plain SGD to ``1/mu`` where it is above, as strong
        pulls need.

    Examples
    --------
    >>> from sklc.lstep import NetLStep
    >>> NetLStep(epochs=5)
    NetLStep(epochs=5)
    """

    def __init__(
        self,
        epochs: int | str = "auto",
        lr_decay: float = 0.98,
        clip_lr: bool = True,
    ) -> None:
        self.epochs = epochs
        self.lr_decay = lr_decay
        self.clip_lr = clip_lr

    def start(
        self, estimator: Any, X: Any, y: Any, *, n_steps: int, **fit_params: Any
    ) -> "NetLearner":
        """Return a learner of a copy of the net (see :meth:`LStep.start`)."""
        self._validate()
        net, trained = _initialized_copy(estimator)
        if issubclass(net.optimizer, torch.optim.LBFGS):
            msg = (
                "The L step pulls the weights through their gradients, which the line "
                "search of optimizer=LBFGS does not see; use another, such as Adam."
            )
            raise ValueError(msg)
        epochs = self.epochs
        if epochs == "auto":
            epochs = max(1, round(2 * net.max_epochs / max(n_steps, 1)))
        return NetLearner(self, net, trained, int(epochs), X, y, fit_params)

    def _validate(self) -> None:
        epochs = self.epochs
        good = isinstance(epochs, int) and not isinstance(epochs, bool) and epochs > 0
        if epochs != "auto" and not good:
            msg = (
                f"NetLStep(epochs={epochs!r}): epochs must be 'auto' or an int above 0."
            )
            raise ValueError(msg)
        if not isinstance(self.lr_decay, float | int) or not 0 < self.lr_decay <= 1:
            msg = (
                f"NetLStep(lr_decay={self.lr_decay!r}): lr_decay must be above 0.0 and "
                "at most 1.0."
            )
            raise ValueError(msg)


class NetLearner(Learner):
    """A skorch net in training (see :class:`NetLStep`)."""

    def __init__(
        self,
        config: NetLStep,
        net: NeuralNet,
        trained: bool,
        epochs: int,
        X: Any,
        y: Any,
        fit_params: dict[str, Any],
    ) -> None:
        self.config = config
        self.estimator = net
        self.trained = trained
        self.epochs = epochs
        self.data = X, y
        self.fit_params = fit_params
        net.check_data(X, y)

    @property
    def _module(self) -> nn.Module:
        return self.estimator.module_

    def train_reference(self) -> None:
        if not self.trained:
            self._train(self.estimator.max_epochs)
            self.trained = True

    def weights(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self._module.named_parameters()}

    def set_weights(self, weights: Mapping[str, Tensor]) -> None:
        own = self.weights()
        for name, weight in weights.items():
            own[name].copy_(weight)

    def learn(self, target: Mapping[str, Tensor], mu: float, step: int) -> None:
        net = self.estimator
        net.initialize_optimizer()
        self._set_learning_rate(self.config.lr_decay ** (step - 1), mu)
        pulled = {
            name: p
            for name, p in self._module.named_parameters()
            if name in target and p.requires_grad
        }
        pull = Pull(list(pulled.values()), [target[name] for name in pulled], mu)
        callbacks = net.callbacks_
        net.callbacks_ = [("lc_pull", pull), *callbacks]
        try:
            with _quiet(net):
                self._train(self.epochs)
        finally:
            net.callbacks_ = callbacks

    def _set_learning_rate(self, factor: float, mu: float) -> None:
        optimizer = self.estimator.optimizer_
        clip = self.config.clip_lr and isinstance(optimizer, torch.optim.SGD)
        for group in optimizer.param_groups:
            rate = group["lr"] * factor
            group["lr"] = min(rate, 1 / mu) if clip else rate

    def _train(self, epochs: int) -> None:
        # not partial_fit, which swallows a KeyboardInterrupt
        net, (X, y) = self.estimator, self.data
        net.notify("on_train_begin", X=X, y=y)
        net.fit_loop(X, y, epochs=epochs, **self.fit_params)
        net.notify("on_train_end", X=X, y=y)

    def _batches(self) -> Iterator[Any]:
        net = self.estimator
        dataset, _ = net.get_split_datasets(*self.data, **self.fit_params)
        return iter(net.get_iterator(dataset, training=False))

    def loss(self) -> float:
        net = self.estimator
        total, n = torch.zeros(()), 0
        for batch in self._batches():
            inputs, y = unpack_data(batch)
            output = net.evaluation_step(batch, training=False)
            with torch.no_grad():
                loss = net.get_loss(output, y, X=inputs, training=False)
            size = get_len(inputs)
            total, n = total.to(loss.device) + size * loss, n + size
        return float(total) / n

    def snapshot(self) -> dict[str, Tensor]:
        return {name: t.clone() for name, t in self._module.state_dict().items()}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        self._module.load_state_dict(snapshot)

    def layers(self) -> dict[str, LayerInfo]:
        uses = self._uses()
        return {
            f"{name}.{parameter}" if name else parameter: LayerInfo(
                kind=type(module).__name__,
                groups=getattr(module, "groups", 1),
                output_axis=int(getattr(module, "transposed", False)),
                uses=uses.get(name, 1.0),
            )
            for name, module in self._module.named_modules()
            for parameter, _ in module.named_parameters(recurse=False)
        }

    def _uses(self) -> dict[str, float]:
        """Count how often linear and convolutional layers use a weight per sample."""
        batch = next(self._batches())
        n_samples = get_len(unpack_data(batch)[0])
        uses: dict[str, float] = {}

        def count(name: str, channels: int, transposed: bool) -> Any:
            def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
                positions = (inputs[0] if transposed else output).numel() / channels
                uses[name] = uses.get(name, 0.0) + positions / n_samples

            return hook

        handles = []
        for name, module in self._module.named_modules():
            transposed = bool(getattr(module, "transposed", False))
            side = "in" if transposed else "out"
            for unit in "features", "channels":
                channels = getattr(module, f"{side}_{unit}", None)
                if isinstance(channels, int) and hasattr(module, "weight"):
                    hook = count(name, channels, transposed)
                    handles.append(module.register_forward_hook(hook))
        try:
            self.estimator.evaluation_step(batch, training=False)
        finally:
            for handle in handles:
                handle.remove()
        return uses


def _initialized_copy(estimator: Any) -> tuple[NeuralNet, bool]:
    """Return a net to train, initialized, and whether its weights are trained."""
    if isinstance(estimator, FrozenEstimator):
        inner = estimator.estimator
        if isinstance(inner, nn.Module):
            return _wrapped(inner), True
        if not getattr(inner, "initialized_", False):
            msg = (
                "FrozenEstimator holds a net that is not fitted: fit it first, or pass "
                "it without FrozenEstimator to have it trained."
            )
            raise NotFittedError(msg)
        return copy.deepcopy(inner), True
    if isinstance(estimator, nn.Module):
        return _wrapped(estimator), True
    if not isinstance(estimator, NeuralNet):
        msg = f"NetLStep trains skorch nets and torch modules, got {estimator!r}."
        raise TypeError(msg)
    net = clone(estimator)
    net.initialize()
    return net, False


def _wrapped(module: nn.Module) -> NeuralNetClassifier:
    """Return a classifier around a copy of a trained module, on its device."""
    module = copy.deepcopy(module)
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


@contextmanager
def _quiet(net: NeuralNet) -> Iterator[None]:
    """Keep skorch from printing its table of epochs."""
    verbose = net.verbose
    net.verbose = 0
    try:
        yield
    finally:
        net.verbose = verbose


register(NeuralNet, NetLStep, subclasses=True)
register(nn.Module, NetLStep, subclasses=True)
