"""What an L step is, and which one an estimator gets."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from torch import Tensor

from sklc.budget import Budget
from sklc.codes import Code
from sklc.layers import LayerInfo
from sklc.lstep.translation import Translation
from sklc.signature import Signature
from sklc.wrappers import unfrozen

Projection = Callable[[dict[str, Code]], dict[str, Code]]


@dataclass(frozen=True)
class Part:
    """A part of an L step: some batches.

    Attributes
    ----------
    start : dict of str to Tensor
        The weights to train from.
    target : dict of str to Tensor
        Where they are pulled to.
    """

    start: dict[str, Tensor]
    target: dict[str, Tensor]


class Learner(ABC):
    """A model in training: it owns the data, the optimizer and all state.

    Attributes
    ----------
    estimator : estimator
        The fitted estimator that holds the current weights.
    translation : Translation
        Between the user's data and the model's. It holds no data, is small, and can be
        pickled.
    exact : bool
        Whether :meth:`learn` solves the L step whatever the weights are, and so quickly
        that it may be tried.
    tries : int
        Of a learner that is exact: how many structures, besides the best one and that
        of direct compression, are worth a :meth:`refit` in the end.
    stochastic : bool
        Whether the loop calls :meth:`learn_in_parts`, and not :meth:`learn`.
    reach : float
        Of a stochastic learner: in a part, a pull alone would bring the weights nearer
        by ``1 - exp(-mu * reach)`` of the gap, before the learning rate falls.
    needs_reference : bool
        Whether it learns from what the model was before compression, and does not come
        with it: a run that goes on must bring it there for :meth:`begin`.
    trained_on : str
        What its loss is of: "targets", "reference" (the outputs of the model as it was
        before compression), or "targets and reference".
    """

    estimator: Any
    translation: Translation = Translation()
    exact: bool = False
    tries: int = 0
    stochastic: bool = False
    reach: float = math.inf
    needs_reference: bool = False
    trained_on: str = "targets"

    def fitted_copy(self) -> Any:
        """Return a copy of the estimator, which stays when training goes on."""
        return copy.deepcopy(self.estimator)

    @abstractmethod
    def train_reference(self) -> None:
        """Minimise the loss alone, unless the model came trained."""

    def begin(self) -> None:
        """Take the current weights as the reference, once, before the first L step."""
        return

    def parts(self) -> list[Any]:
        """Return the objects whose code trains the reference, besides the estimator."""
        return []

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """Return all parameters by name: live, detached, on their device."""

    def buffers(self) -> dict[str, Tensor]:
        """Return what else the model needs to predict, such as statistics: live."""
        return {}

    def layers(self) -> dict[str, LayerInfo]:
        """Return what is known of the layers of the weights."""
        return {}

    def signature(self) -> Signature:
        """Return how the model is fed, and how predictions follow from its output."""
        return Signature()

    @abstractmethod
    def learn(self, target: Mapping[str, Tensor], mu: float, step: int) -> None:
        r"""Solve the L step, starting from the current weights.

        .. math:: \min_w L(w) + \frac\mu2 \|w - \mathrm{target}\|^2,

        `L` being the mean loss over the training data; parameters that have no target
        are free.

        Parameters
        ----------
        target : dict of str to Tensor
        mu : float
        step : int
            Number of the LC step, from 1.
        """

    def learn_in_parts(
        self, part: Part, next_part: Callable[[float], Part], mu: float, step: int
    ) -> float:
        """Begin to solve an L step, some batches at a time.

        Parameters
        ----------
        part : Part
            The first one.
        next_part : callable
            Ends a part, at the current weights, and returns the next; it takes the
            share of the gap that the pull alone would have closed. The last part is
            left to the caller to end.
        mu : float
        step : int
            Number of the LC step, from 1.

        Returns
        -------
        float
            That share, of the last part.
        """
        msg = f"{type(self).__name__} does not learn in parts."
        raise NotImplementedError(msg)

    @abstractmethod
    def loss(self) -> float:
        """Return the mean loss of the current weights over the training data."""

    def constant_loss(self) -> float:
        """Return the least mean loss of a constant prediction; inf if not known."""
        return math.inf

    @abstractmethod
    def substitute(self, weights: Mapping[str, Tensor]) -> None:
        """Put compressed weights in, and renew what depends on them (statistics)."""

    def estimate(self, weights: Mapping[str, Tensor]) -> float:
        """Put compressed weights in, and return about what their loss is.

        It is to cost next to nothing beside an L step, and the same samples every time.
        """
        self.substitute(weights)
        return self.loss()

    def finetune(
        self,
        theta: Mapping[str, Code],
        epochs: int,
        project: Projection | None = None,
    ) -> dict[str, Code]:
        r"""Train Θ itself, with its structure fixed: the loss of Δ(Θ).

        .. math:: \min_{\Theta, w'} L(\Delta(\Theta), w'),

        over the degrees of freedom of Θ and the parameters w' that it does not cover.
        Afterwards Δ(Θ) and w' are the weights.

        Parameters
        ----------
        theta : dict of str to Code
        epochs : int
            Passes over the data, of learners that make some.
        project : callable or None
            From Θ to the nearest feasible Θ of the same structure; None if all are.
        """
        msg = f"{type(self).__name__} cannot fine-tune: leave finetune at 0."
        raise NotImplementedError(msg)

    def epochs_to_finetune(self, theta: Mapping[str, Code], n_steps: int) -> int:
        """Return how long to :meth:`finetune` if nobody says; 0 for not at all.

        Parameters
        ----------
        theta : dict of str to Code
        n_steps : int
            L steps that were done before.
        """
        return int(self.exact)  # a refit, which knows no epochs

    def refit(
        self,
        theta: Mapping[str, Code],
        budgets: Mapping[str, Budget],
        project: Projection | None = None,
    ) -> dict[str, Code]:
        """Return the best Θ that can be found at once, of learners that are exact.

        That is what fine-tuning ends in, or what is better and of another structure.

        Parameters
        ----------
        theta : dict of str to Code
        budgets : dict of str to Budget
            What another structure must keep; only those that are named may change it.
        project : callable or None
            As for :meth:`finetune`.
        """
        return self.finetune(theta, 1, project)

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return all that training changes, between two L steps.

        That is what is needed to go on, here or in another process: parameters,
        buffers, random generators, the history. What lives within an L step only,
        such as the state of its optimizer, is not in it.

        Returns
        -------
        dict of str to Tensor or JSON value
            Copies: nothing in it changes when training goes on.
        """

    @abstractmethod
    def load_state_dict(
        self, state: Mapping[str, Any], *, generators: bool = True
    ) -> None:
        """Go on from a :meth:`state_dict`; the model is trained then.

        Parameters
        ----------
        state : dict
        generators : bool, default=True
            Whether to set the random generators of the process, too.
        """


class LStep(BaseEstimator, ABC):
    """How an estimator is trained: hyperparameters, and nothing else.

    Attributes
    ----------
    draws : bool
        Whether its training draws from the random generators of the process.
    """

    draws: bool = True

    @abstractmethod
    def start(
        self, estimator: Any, X: Any, y: Any, *, n_steps: int, **fit_params: Any
    ) -> Learner:
        """Return a learner, without training yet.

        Parameters
        ----------
        estimator : estimator
            Never written to. A :class:`~sklearn.frozen.FrozenEstimator` is trained
            already.
        X, y : data
            As the user has them.
        n_steps : int
            How many L steps are to come, at most.
        **fit_params : dict
        """

    def is_trained(self, estimator: Any) -> bool:
        """Whether an estimator comes with the weights to start from."""
        return isinstance(estimator, FrozenEstimator)

    def prototype(self, estimator: Any) -> Any:
        """Return an estimator with the methods and tags of the one that is trained.

        Parameters
        ----------
        estimator : estimator
            As the user gave it; it need not be valid.
        """
        return unfrozen(estimator)


_Factory = Callable[[], LStep]
_registry: dict[type, tuple[_Factory, bool]] = {}


def register(kind: type, l_step: _Factory, *, subclasses: bool = False) -> None:
    """Make an L step the default of a kind of estimator.

    Parameters
    ----------
    kind : type
    l_step : callable
        Makes the L step, without arguments; its class, for example.
    subclasses : bool, default=False
        Whether subclasses of `kind` are trained the same way.
    """
    _registry[kind] = (l_step, subclasses)


def default_l_step(estimator: Any) -> LStep:
    """Return the default L step of an estimator, by its type.

    Raises
    ------
    TypeError
        If no L step is registered for it.
    """
    inner = unfrozen(estimator)
    for kind in type(inner).__mro__:
        if kind in _registry:
            factory, subclasses = _registry[kind]
            if subclasses or kind is type(inner):
                return factory()
    known = ", ".join(sorted(kind.__name__ for kind in _registry))
    if isinstance(inner, type):
        msg = f"The estimator is the class {inner.__name__}: pass {inner.__name__}()."
        raise TypeError(msg)
    msg = (
        f"No L step is known for {type(inner).__name__}. Known are {known}; pass "
        "l_step=..., or teach sklc one with sklc.lstep.register."
    )
    raise TypeError(msg)
