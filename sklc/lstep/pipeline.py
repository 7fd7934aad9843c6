"""The L step of a pipeline: that of its last step, behind the transformers."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklc.budget import Budget
from sklc.codes import Code
from sklc.layers import LayerInfo
from sklc.lstep.base import (
    Learner,
    LStep,
    Part,
    Projection,
    default_l_step,
    register,
)
from sklc.lstep.translation import Translation
from sklc.signature import Signature
from sklc.wrappers import unfrozen


class PipelineLStep(LStep):
    """Train the last step of a pipeline, behind its transformers.

    These are fitted once, before all L steps; those of a
    ``FrozenEstimator(pipeline)`` are fitted already. The compressed model is a pipeline
    again. To go on from a checkpoint, transformers that draw random numbers need a
    ``random_state``.

    Parameters
    ----------
    l_step : LStep or None, default=None
        How to train the last step; None for what suits it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklc import LCCompressor
    >>> from sklc.schemes import ConstraintL0Pruning
    >>> model = make_pipeline(StandardScaler(), LogisticRegression())
    >>> lc = LCCompressor(model, ConstraintL0Pruning(kappa=4))
    >>> lc = lc.fit(*load_iris(return_X_y=True))
    >>> int((lc.estimator_[-1].coef_ != 0).sum())
    4
    """

    def __init__(self, l_step: LStep | None = None) -> None:
        self.l_step = l_step

    def start(
        self, estimator: Any, X: Any, y: Any, *, n_steps: int, **fit_params: Any
    ) -> "PipelineLearner":
        """Return a learner, the transformers being fitted (see :meth:`LStep.start`)."""
        pipeline, frozen = unfrozen(estimator), isinstance(estimator, FrozenEstimator)
        pipeline._validate_steps()
        last = pipeline.steps[-1][1]
        l_step = self._inner(pipeline)
        own, inner = _split(pipeline, fit_params)
        front = Pipeline(pipeline.steps[:-1] or [("none", "passthrough")])
        front.memory = pipeline.memory
        if frozen:
            try:
                check_is_fitted(pipeline)
            except NotFittedError as error:
                msg = (
                    "FrozenEstimator holds a pipeline that is not fitted: fit it "
                    "first, or pass it without FrozenEstimator to have it trained."
                )
                raise NotFittedError(msg) from error
            front, last = copy.deepcopy(front), FrozenEstimator(last)
            made = front.transform(X)
        else:
            front = clone(front)
            made = front.fit_transform(X, y, **own)
        learner = l_step.start(last, made, y, n_steps=n_steps, **inner)
        return PipelineLearner(pipeline, front, learner)

    def is_trained(self, estimator: Any) -> bool:
        """Whether its last step comes with the weights to start from."""
        if isinstance(estimator, FrozenEstimator):
            return True
        return self._inner(estimator).is_trained(estimator.steps[-1][1])

    def prototype(self, estimator: Any) -> Any:
        """Return a pipeline that ends in the prototype of its last step."""
        pipeline = copy.copy(unfrozen(estimator))
        try:
            *front, (name, last) = pipeline.steps
            pipeline.steps = [*front, (name, self._inner(pipeline).prototype(last))]
        except (TypeError, ValueError):  # no pipeline that could be fitted
            return unfrozen(estimator)
        return pipeline

    def _inner(self, pipeline: Any) -> LStep:
        return self.l_step or default_l_step(pipeline.steps[-1][1])


class PipelineLearner(Learner):
    """The last step of a pipeline in training (see :class:`PipelineLStep`).

    Parameters
    ----------
    pipeline : Pipeline
        As it was given.
    front : Pipeline
        Its transformers, fitted.
    learner : Learner
        Of its last step, on what they make of the data.
    """

    def __init__(self, pipeline: Any, front: Any, learner: Learner) -> None:
        self._pipeline, self._front, self._learner = pipeline, front, learner
        self.exact = learner.exact
        self.stochastic = learner.stochastic
        self.translation = _Behind(learner.translation)

    @property
    def estimator(self) -> Any:
        """A fitted pipeline that holds the current weights."""
        return self._ending_in(self._learner.estimator)

    def fitted_copy(self) -> Any:
        return self._ending_in(self._learner.fitted_copy())

    def _ending_in(self, last: Any) -> Any:
        steps = list(self._front.steps) if len(self._pipeline.steps) > 1 else []
        name = self._pipeline.steps[-1][0]
        if type(self._learner.translation) is not Translation:
            # as a net takes them: its own dtype, for example
            samples = FunctionTransformer(self._learner.translation.samples)
            steps.append((f"{name}_samples", samples))
        found = copy.copy(self._pipeline)
        found.steps = [*steps, (name, last)]
        return found

    def train_reference(self) -> None:
        self._learner.train_reference()

    def begin(self) -> None:
        self._learner.begin()

    @property
    def needs_reference(self) -> bool:  # type: ignore[override]
        return self._learner.needs_reference

    @property
    def trained_on(self) -> str:  # type: ignore[override]
        return self._learner.trained_on

    @property
    def reach(self) -> float:  # type: ignore[override]
        return self._learner.reach

    def parts(self) -> list[Any]:
        return self._learner.parts()

    def weights(self) -> dict[str, Tensor]:
        return self._learner.weights()

    def buffers(self) -> dict[str, Tensor]:
        return self._learner.buffers()

    def layers(self) -> dict[str, LayerInfo]:
        return self._learner.layers()

    def signature(self) -> Signature:
        return self._learner.signature()

    def learn(self, target: Mapping[str, Tensor], mu: float, step: int) -> None:
        self._learner.learn(target, mu, step)

    def learn_in_parts(
        self, part: Part, next_part: Callable[[float], Part], mu: float, step: int
    ) -> float:
        return self._learner.learn_in_parts(part, next_part, mu, step)

    def loss(self) -> float:
        return self._learner.loss()

    def constant_loss(self) -> float:
        return self._learner.constant_loss()

    def substitute(self, weights: Mapping[str, Tensor]) -> None:
        self._learner.substitute(weights)

    def estimate(self, weights: Mapping[str, Tensor]) -> float:
        return self._learner.estimate(weights)

    def finetune(
        self,
        theta: Mapping[str, Code],
        epochs: int,
        project: Projection | None = None,
    ) -> dict[str, Code]:
        return self._learner.finetune(theta, epochs, project)

    def epochs_to_finetune(self, theta: Mapping[str, Code], n_steps: int) -> int:
        return self._learner.epochs_to_finetune(theta, n_steps)

    def refit(
        self,
        theta: Mapping[str, Code],
        budgets: Mapping[str, Budget],
        project: Projection | None = None,
    ) -> dict[str, Code]:
        return self._learner.refit(theta, budgets, project)

    def state_dict(self) -> dict[str, Any]:
        return self._learner.state_dict()

    def load_state_dict(
        self, state: Mapping[str, Any], *, generators: bool = True
    ) -> None:
        self._learner.load_state_dict(state, generators=generators)


class _Behind(Translation):
    """That of the last step, behind transformers that take the user's samples."""

    def __init__(self, last: Translation) -> None:
        self._last = last

    @property
    def classes(self) -> np.ndarray | None:
        return self._last.classes

    def targets(self, y: Any) -> Any:
        return self._last.targets(y)

    def predictions(self, predicted: Any) -> Any:
        return self._last.predictions(predicted)


def _split(pipeline: Any, params: dict[str, Any]) -> tuple[Any, Any]:
    """Return what the transformers are fitted with, and the last step."""
    name = pipeline.steps[-1][0]
    if get_config()["enable_metadata_routing"]:
        routed = process_routing(pipeline, "fit", **params)
        front = Pipeline(pipeline.steps[:-1] or [("none", "passthrough")])
        asked = front.get_metadata_routing().consumes("fit_transform", params)
        return {key: params[key] for key in asked}, dict(routed[name]["fit"])
    for key in params:
        if key.partition("__")[0] not in pipeline.named_steps or "__" not in key:
            msg = (
                f"A pipeline is not fitted with {key!r}: name the step that it is for, "
                f"as in {name}__{key}."
            )
            raise TypeError(msg)
    own = {key: value for key, value in params.items() if not _is_of(key, name)}
    last = {key: value for key, value in params.items() if _is_of(key, name)}
    return own, {key.partition("__")[2]: value for key, value in last.items()}


def _is_of(key: str, step: str) -> bool:
    return key.partition("__")[0] == step


register(Pipeline, PipelineLStep)
