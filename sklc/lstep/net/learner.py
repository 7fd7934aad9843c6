"""A skorch net in training."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from skorch import NeuralNet
from skorch.dataset import get_len, unpack_data
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sklc.codes import Code, decompress
from sklc.exceptions import DivergenceError
from sklc.layers import LayerInfo
from sklc.lstep import rng
from sklc.lstep.base import Learner, Projection
from sklc.lstep.net.batch_norm import reestimate, with_statistics
from sklc.lstep.net.batches import batches, sample, warn_unless_shuffled
from sklc.lstep.net.constant import constant_loss
from sklc.lstep.net.finetune import ThetaInTraining
from sklc.lstep.net.pull import Pull, automatic_pull, first_callback, pulled
from sklc.lstep.net.rate import Rate
from sklc.lstep.net.session import session
from sklc.lstep.net.targets import cast, check_labels, input_dtype
from sklc.lstep.net.uses import layer_infos


class NetLearner(Learner):
    """A skorch net in training (see :class:`NetLStep`)."""

    def __init__(
        self,
        config: Any,
        net: NeuralNet,
        trained: bool,
        n_steps: int,
        X: Any,
        y: Any,
        fit_params: dict[str, Any],
    ) -> None:
        self.config = config
        self.estimator = net
        self.trained = trained
        self.n_steps = n_steps
        if not trained:  # callbacks may give the module the shapes of the data
            net.notify("on_train_begin", X=X, y=y)
        self._check_fit_params(fit_params)
        self.data = X, y = cast(net, X, y, self.input_dtype)
        self.fit_params = fit_params
        classes = getattr(net, "classes_inferred_", None)
        net.check_data(X, y)
        if trained and classes is not None:  # it may know more than these data have
            net.classes_inferred_ = classes
        self._split = net.get_split_datasets(X, y, **fit_params)
        train, valid = self._split
        self._train_batches = batches(net, train, training=True)
        self._valid_batches = (
            None if valid is None else batches(net, valid, training=False)
        )
        self._loss_batches = batches(
            net, sample(train, config.loss_samples), training=False
        )
        self._materialize()
        with _told_shapes():
            check_labels(net, y, next(iter(self._loss_batches)))
        self._summed = getattr(net.criterion_, "reduction", "mean") == "sum"

    def _check_fit_params(self, fit_params: Mapping[str, Any]) -> None:
        known = inspect.signature(self._module.forward).parameters
        if any(p.kind is p.VAR_KEYWORD for p in known.values()):
            return
        for name in fit_params:
            if name not in known:
                msg = (
                    f"fit got {name}, which skorch hands on to the module, but "
                    f"{type(self._module).__name__}.forward does not take it: leave "
                    "it out, or write a forward that does."
                )
                raise ValueError(msg)

    @property
    def input_dtype(self) -> Any:
        return input_dtype(self._module)

    def _materialize(self) -> None:
        """Let lazy layers see the data, and so learn their shapes."""
        if any(is_lazy(p) for p in self._module.parameters()):
            batch = next(iter(self._loss_batches))
            self.estimator.evaluation_step(batch, training=False)
            self.estimator.initialize_optimizer()

    @property
    def _module(self) -> nn.Module:
        # what torch.compile returns wraps the module, under other names
        module = self.estimator.module_
        return getattr(module, "_orig_mod", module)

    def weights(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self._module.named_parameters()}

    def set_weights(self, weights: Mapping[str, Tensor]) -> None:
        own = self.weights()
        for name, weight in weights.items():
            own[name].copy_(weight)

    def substitute(self, weights: Mapping[str, Tensor]) -> None:
        self.set_weights(weights)
        if self.config.reestimate_batch_norm and with_statistics(self._module):
            reestimate(self.estimator, self._module, self._loss_batches)

    def warn_unless_shuffled(self) -> None:
        """Warn if the net trains in the order of the data (and nobody said so)."""
        warn_unless_shuffled(self.estimator, self._split[0])

    # ---- training ----

    def train_reference(self) -> None:
        if self.trained:
            return
        with session(self.estimator, *self.data, None):
            self._run(self.estimator.max_epochs)
        self.trained = True
        self._check_finite("Training the reference")

    def learn(self, target: Mapping[str, Tensor], mu: float, step: int) -> None:
        how = self.config.pull
        if how == "auto":
            how = automatic_pull(self.estimator)
        rate = self._rate(mu, step)
        with self._quiet(), session(self.estimator, *self.data, rate):
            pull = self._pull(target, mu)
            with pulled(self.estimator, pull, how, summed=self._summed):
                self._run(self._epochs(step))
        self._check_felt(pull, step)
        self._check_finite(f"L step {step} with mu={mu:.3g}, lr={rate.current:.3g},")

    def _pull(self, target: Mapping[str, Tensor], mu: float) -> Pull:
        """Return the pull on what is trained; what is not goes where it is pulled."""
        own = dict(self._module.named_parameters())
        pulled = [name for name in target if own[name].requires_grad]
        self.set_weights({name: target[name] for name in target if name not in pulled})
        return Pull(
            [own[name] for name in pulled], [target[name] for name in pulled], mu
        )

    def _epochs(self, step: int) -> int:
        first, epochs = self.config.first_epochs, self.config.epochs
        if step == 1 and first is not None:
            return first
        if isinstance(epochs, str):
            each, rest = divmod(2 * self.estimator.max_epochs, max(self.n_steps, 1))
            return max(1, each + (step <= rest))
        return epochs

    def _rate(self, mu: float, step: int) -> Rate:
        config = self.config
        before = sum(self._epochs(earlier) for earlier in range(1, step))
        exponent: dict[str, Callable[[int], int]] = {
            "step": lambda epoch: step - 1,
            "epoch": lambda epoch: before + epoch,
            "restart": lambda epoch: epoch,
        }
        of = exponent[config.lr_schedule]
        limit = 1 / mu if config.clip_lr else math.inf
        return Rate(config.lr, lambda epoch: config.lr_decay ** of(epoch), limit)

    def finetune(
        self,
        theta: Mapping[str, Code],
        epochs: int,
        project: Projection | None = None,
    ) -> dict[str, Code]:
        # from the first learning rate down to zero, along half a cosine
        rate = Rate(
            self.config.lr,
            lambda epoch: (1 + math.cos(math.pi * epoch / epochs)) / 2,
        )
        trained_theta = ThetaInTraining(self._module, theta, project)
        net = self.estimator
        compressed = {id(self._module.get_parameter(name)) for name in theta}

        def trained() -> Iterator[tuple[str, Tensor]]:
            for name, p in type(net).get_all_learnable_params(net):
                if id(p) not in compressed:
                    yield name, p
            for number, tensor in enumerate(trained_theta.free):
                yield f"theta.{number}", tensor

        net.get_all_learnable_params = trained
        try:
            with (
                self._quiet(),
                trained_theta.attached(),
                first_callback(net, trained_theta),
                session(net, *self.data, rate),
            ):
                self._run(epochs)
        finally:
            del net.get_all_learnable_params
            net.initialize_optimizer()  # of the parameters again
        found = trained_theta.result()
        self.set_weights(decompress(found))
        self._check_finite("Fine-tuning")
        return found

    def _run(self, epochs: int) -> None:
        net, (X, y) = self.estimator, self.data
        if type(net).fit_loop is not NeuralNet.fit_loop:
            net.fit_loop(X, y, epochs=epochs, **self.fit_params)
            return
        train, valid = self._split
        datasets = {"dataset_train": train, "dataset_valid": valid}
        for _ in range(epochs):
            net.notify("on_epoch_begin", **datasets)
            net.run_single_epoch(
                self._train_batches,
                training=True,
                prefix="train",
                step_fn=net.train_step,
                **self.fit_params,
            )
            net.run_single_epoch(
                self._valid_batches,
                training=False,
                prefix="valid",
                step_fn=net.validation_step,
                **self.fit_params,
            )
            net.notify("on_epoch_end", **datasets)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Keep skorch from printing its table of epochs."""
        net = self.estimator
        verbose, net.verbose = net.verbose, 0
        try:
            yield
        finally:
            net.verbose = verbose

    def _check_felt(self, pull: Pull, step: int) -> None:
        if not pull.n_uses:
            msg = (
                f"The net did not feel the pull of L step {step}: its training uses "
                "neither get_loss, nor the callbacks' on_grad_computed, nor (a "
                "function passed as l_step) the pull. Use one of them."
            )
            raise RuntimeError(msg)

    def _check_finite(self, what: str) -> None:
        finite = all(
            bool(weight.isfinite().all()) for weight in self.weights().values()
        )
        history = self.estimator.history
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

    # ---- what is known of the net ----

    def loss(self) -> float:
        net = self.estimator
        total, n = torch.zeros(()), 0
        for batch in self._loss_batches:
            inputs, y = unpack_data(batch)
            output = net.evaluation_step(batch, training=False)
            with torch.no_grad():
                loss = net.get_loss(output, y, X=inputs, training=False)
            size = get_len(inputs)
            total = total.to(loss.device) + (loss if self._summed else size * loss)
            n += size
        return float(total) / n

    def buffers(self) -> dict[str, Tensor]:
        named = self._module.named_buffers()
        return {n: b.detach() for n, b in named if b.is_floating_point()}

    def constant_loss(self) -> float | None:
        return constant_loss(self.estimator, self._loss_batches)

    def state_dict(self) -> dict[str, Any]:
        epochs = [
            {name: value for name, value in epoch.items() if name != "batches"}
            for epoch in self.estimator.history
        ]
        module = {
            f"module.{n}": t.clone() for n, t in self._module.state_dict().items()
        }
        generators = {f"random.{name}": value for name, value in rng.state().items()}
        return {"history": epochs, **module, **generators}

    def parts(self) -> list[Any]:
        return list(self._module.modules())

    def load_state_dict(
        self, state: Mapping[str, Any], *, generators: bool = True
    ) -> None:
        def below(prefix: str) -> dict[str, Any]:
            names = [name for name in state if name.startswith(prefix)]
            return {name.removeprefix(prefix): state[name] for name in names}

        self._module.load_state_dict(below("module."))
        if generators:
            rng.restore(below("random."))
        self.estimator.initialize_history()
        self.estimator.history.extend(
            {**epoch, "batches": []} for epoch in state["history"]
        )
        self.trained = True

    def layers(self) -> dict[str, LayerInfo]:
        batch = next(iter(self._loss_batches))
        with _told_shapes():
            return layer_infos(self.estimator, self._module, batch)


@contextmanager
def _told_shapes() -> Iterator[None]:
    """Say what may be wrong if a net cannot be evaluated."""
    try:
        yield
    except RuntimeError as error:
        msg = (
            f"The net cannot be evaluated on the data: {error}. If one of its "
            "callbacks sets the shape of the module when training begins, give the "
            "module that shape at once, or fit the net first and pass it as "
            "FrozenEstimator(net)."
        )
        raise ValueError(msg) from error
