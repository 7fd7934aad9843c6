"""A skorch net in training."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from skorch import NeuralNet
from skorch.dataset import get_len
from torch import Tensor, nn
from torch.utils.data import Dataset

from sklc.codes import Code, decompress
from sklc.exceptions import warn
from sklc.layers import LayerInfo
from sklc.lstep.base import Learner, Part, Projection
from sklc.lstep.net import state as states
from sklc.lstep.net.batch_norm import reestimate, with_statistics
from sklc.lstep.net.batches import batches, n_of, warn_unless_shuffled
from sklc.lstep.net.copies import duplicate
from sklc.lstep.net.distillation import Distillation
from sklc.lstep.net.finetune import ThetaInTraining, in_training, trained_besides
from sklc.lstep.net.intake import understood
from sklc.lstep.net.measure import Measure
from sklc.lstep.net.modules import check_fit_params, check_trainable
from sklc.lstep.net.objective import Objective
from sklc.lstep.net.optimizers import has_line_search, reach_of_batch
from sklc.lstep.net.outcome import check_felt, check_finite
from sklc.lstep.net.plan import Plan
from sklc.lstep.net.pull import (
    Parts,
    Pull,
    automatic_pull,
    first_callback,
    limited,
    pulled,
)
from sklc.lstep.net.session import quiet, run_epochs, session
from sklc.lstep.net.signature import signature
from sklc.lstep.net.translation import NetTranslation
from sklc.lstep.net.trial import tried_out
from sklc.lstep.net.unlabelled import (
    has_targets,
    paired,
    split_without_targets,
)
from sklc.lstep.net.uses import layer_infos
from sklc.signature import Signature


class NetLearner(Learner):
    """A skorch net in training.

    Parameters
    ----------
    net : NeuralNet
        Initialized, and nobody else's.
    trained : bool
        Whether its weights are the ones to start from.
    X, y : data
        As the user has them.
    fit_params : dict
    plan : Plan
    pull : {"auto", "gradient", "decoupled", "loss"}, default="auto"
        How the pull acts.
    n_samples : int, default=10000
        How many samples to measure with, at most.
    renew : bool, default=True
        Whether statistics of batch normalisation are measured anew for weights that are
        put in.
    distillation : Distillation or None, default=None
        How much it learns from the reference; None for not at all.
    """

    translation: NetTranslation

    def __init__(
        self,
        net: NeuralNet,
        trained: bool,
        X: Any,
        y: Any,
        fit_params: dict[str, Any],
        *,
        plan: Plan,
        pull: str = "auto",
        n_samples: int = 10_000,
        renew: bool = True,
        distillation: Distillation | None = None,
    ) -> None:
        self.estimator = net
        self._trained = self._came_trained = trained
        self._pulled = automatic_pull(net) if pull == "auto" else pull
        self._renew = renew
        self._layers: dict[str, LayerInfo] | None = None
        distillation = distillation or Distillation(0.0)
        alone = trained and y is None and distillation.replaces_targets(net)
        check_fit_params(self._module, fit_params)
        if plan.n_steps or not trained:
            check_trainable(self._module)
        self.fit_params = fit_params
        self.translation, X, y = understood(
            net, X, y, trained=trained, extra=fit_params, alone=alone
        )
        self.data = X, y
        if not alone or (isinstance(X, Dataset) and has_targets(X)):
            classes = getattr(net, "classes_inferred_", None)
            net.check_data(X, y)
            if trained and classes is not None:  # it may know more than these data have
                net.classes_inferred_ = classes
        self._split = (
            split_without_targets(net, X, fit_params)
            if alone
            else net.get_split_datasets(X, y, **fit_params)
        )
        train, valid = self._split
        self._train_batches = batches(net, train, training=True)
        self._valid_batches = (
            None if valid is None else batches(net, valid, training=False)
        )
        self._measure = Measure(net, train, self._train_batches, n_samples)
        # one step of a line search does the work of many
        enough = has_line_search(net) or n_of(self._train_batches) is None
        n_seen = None if enough else get_len(train)
        self.plan = plan.scaled_to(net.max_epochs, n_of(self._train_batches), n_seen)
        if alone:
            self._train_batches = paired(self._train_batches)
            self._valid_batches = paired(self._valid_batches)
            self._measure.pair()
        labelled = tried_out(net, self._module, self._measure, train)
        self._objective = Objective(
            net,
            self._measure,
            distillation,
            [
                *(self._train_batches, self._valid_batches),
                *(self._measure.batches, self._measure.few),
            ],
            labelled=labelled or not alone,
            fit_params=fit_params,
        )

    @property
    def _module(self) -> nn.Module:
        # what torch.compile returns wraps the module, under other names
        module: nn.Module = self.estimator.module_
        return getattr(module, "_orig_mod", module)

    def fitted_copy(self) -> NeuralNet:
        return duplicate(self.estimator)

    def weights(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self._module.named_parameters()}

    def buffers(self) -> dict[str, Tensor]:
        return states.buffers_to_predict(self._module)

    def layers(self) -> dict[str, LayerInfo]:
        if self._layers is None:  # what they are does not change
            batch = self._measure.first()
            self._layers = layer_infos(self.estimator, self._module, batch)
        return self._layers

    def signature(self) -> Signature:
        return signature(self.estimator, self.translation, self._measure.first())

    def parts(self) -> list[Any]:
        return list(self._module.modules())

    def warn_unless_shuffled(self) -> None:
        """Warn if the net trains in the order of the data (and nobody said so)."""
        warn_unless_shuffled(self.estimator, self._split[0])

    # ---- training ----

    @property
    def needs_reference(self) -> bool:  # type: ignore[override]
        return self._objective.distils and not self._came_trained

    @property
    def trained_on(self) -> str:  # type: ignore[override]
        return self._objective.trained_on

    def begin(self) -> None:
        if self._trained:
            self._objective.begin()

    @contextmanager
    def _taught(self) -> Iterator[None]:
        """Let the net train on what it is measured by."""
        self.begin()
        with self._objective.imposed():
            yield

    def train_reference(self) -> None:
        if self._trained:
            return
        with session(self.estimator, *self.data, None):
            self._run(self.estimator.max_epochs)
        self.estimator.initialize_optimizer()  # at the rate that L steps begin with
        self._trained = True
        what = "Training the reference"
        check_finite(self.estimator, self.weights().values(), what)

    def learn(self, target: Mapping[str, Tensor], mu: float, step: int) -> None:
        self._learn(Pull([], [], mu), target, None, step)

    def learn_in_parts(
        self, part: Part, next_part: Callable[[float], Part], mu: float, step: int
    ) -> float:
        pull = Pull([], [], mu)

        def follow(reach: float) -> None:
            found = next_part(-math.expm1(-mu * reach))
            self._put(found.start)
            self._lead(pull, found.target)

        assert self.plan.part is not None
        parts = Parts(self.plan.part, self._pulled, follow, self._summed)
        self._put(part.start)
        self._learn(pull, part.target, parts, step)
        if not parts.n_done:  # a loop of the user that tells of no batches
            return 1.0
        return -math.expm1(-mu * parts.reach)

    def _learn(
        self, pull: Pull, target: Mapping[str, Tensor], parts: Parts | None, step: int
    ) -> None:
        rate = self.plan.rate_of(step, pull.mu)
        net, summed = self.estimator, self._summed
        with self._taught(), quiet(net), session(net, *self.data, rate):
            self._lead(pull, target)
            with ExitStack() as acting:
                if parts is not None:
                    acting.enter_context(first_callback(net, parts))
                acting.enter_context(pulled(net, pull, self._pulled, summed=summed))
                acting.enter_context(limited(net, self.weights().values(), self._most))
                self._run(self.plan.epochs_of(step))
        check_felt(pull, step)
        what = f"L step {step} with mu={pull.mu:.3g}, lr={rate.current:.3g},"
        check_finite(self.estimator, self.weights().values(), what)

    def _lead(self, pull: Pull, target: Mapping[str, Tensor]) -> None:
        """Pull what is trained towards a target, and put there what is not."""
        own = dict(self._module.named_parameters())
        trained = [name for name in target if own[name].requires_grad]
        self._put({name: target[name] for name in target if name not in trained})
        pull.parameters = [own[name] for name in trained]
        pull.targets = [target[name] for name in trained]

    @property
    def _summed(self) -> bool:
        return self._measure.criterion.summed

    @property
    def _most(self) -> float | None:
        return None if self._pulled == "loss" else self.plan.max_update

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        return self.plan.compressed and not has_line_search(self.estimator)

    @property
    def reach(self) -> float:  # type: ignore[override]
        net, times = self.estimator, 1
        if self._summed:
            times = net.batch_size if net.batch_size > 0 else get_len(self._split[0])
        batch = reach_of_batch(net, self._pulled, self.plan.lr, times)
        if not batch and self.plan.n_steps:
            msg = (
                "The learning rate of the net is 0, so its L steps would train "
                "nothing: give the net another lr, or NetLStep(lr=...)."
            )
            raise ValueError(msg)
        return (batch or 1.0) * (self.plan.part or 1)

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        own = self.weights()
        for name, weight in weights.items():
            own[name].copy_(weight)

    def finetune(
        self,
        theta: Mapping[str, Code],
        epochs: int,
        project: Projection | None = None,
    ) -> dict[str, Code]:
        net = self.estimator
        training = ThetaInTraining(self._module, theta, project)
        self._put(decompress(theta))
        rate = self.plan.finetuning_rate(epochs)
        if not training.free and not trained_besides(net, training):
            msg = (
                "There is nothing to fine-tune: Θ has no degrees of freedom, and no "
                "parameter besides is trained. Leave finetune at 0."
            )
            warn(msg)
            self._put(decompress(theta))
            return dict(theta)
        with (
            in_training(net, training),
            self._taught(),
            quiet(net),
            session(net, *self.data, rate),
            limited(net, self.weights().values(), self._most),
        ):
            self._run(epochs)
        found = training.result()
        self._put(decompress(found))
        check_finite(net, self.weights().values(), "Fine-tuning")
        return found

    def epochs_to_finetune(self, theta: Mapping[str, Code], n_steps: int) -> int:
        training = ThetaInTraining(self._module, theta, None)
        something = training.free or trained_besides(self.estimator, training)
        if not (self.stochastic and something):
            return 0
        return self.plan.epochs_to_finetune(n_steps)

    def _run(self, epochs: int) -> None:
        run_epochs(
            self.estimator,
            epochs,
            self.data,
            self._split,
            (self._train_batches, self._valid_batches),
            self.fit_params,
        )

    # ---- measuring, and state ----

    def loss(self) -> float:
        self.begin()
        return self._objective.loss()

    def constant_loss(self) -> float:
        return self._objective.constant_loss()

    def substitute(self, weights: Mapping[str, Tensor]) -> None:
        self._substitute(weights, self._measure.batches)

    def estimate(self, weights: Mapping[str, Tensor]) -> float:
        self._substitute(weights, self._measure.few)
        self.begin()
        return self._objective.loss(quick=True)

    def _substitute(self, weights: Mapping[str, Tensor], batches: Any) -> None:
        self._put(weights)
        net = self.estimator
        layers = with_statistics(net, self._module) if self._renew else []
        if layers:
            reestimate(net, layers, batches)

    def state_dict(self) -> dict[str, Any]:
        return states.state_of(self.estimator)

    def load_state_dict(
        self, state: Mapping[str, Any], *, generators: bool = True
    ) -> None:
        states.load(self.estimator, state, generators=generators)
        self._trained = True
