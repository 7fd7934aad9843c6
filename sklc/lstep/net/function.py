"""An L step of your own: a function that trains a module."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from sklc.lstep.base import LStep
from sklc.lstep.net.copies import copied
from sklc.lstep.net.l_step import NetLStep
from sklc.lstep.net.learner import NetLearner
from sklc.lstep.net.plan import Plan
from sklc.lstep.net.pull import Pull

Function = Callable[[nn.Module, Pull, int, Any, Any], object]


class FunctionLStep(LStep):
    r"""Train a net by a function of your own, such as a loop that you have already.

    The function solves :math:`\min_w L(w) + \frac\mu2 \|w - t\|^2`. ``LCCompressor``
    makes this of a function that it gets as ``l_step``.

    Parameters
    ----------
    function : callable
        ``function(module, pull, step, X, y)`` trains the module in place. `pull`
        is what to add to the mean loss: ``pull()`` is a differentiable scalar;
        ``pull.add_to_gradients()``, after ``backward()``, is its fast form. `step`
        counts the L steps from 1; `X` and `y` are those of ``fit``.

    Examples
    --------
    >>> import torch
    >>> def train(module, pull, step, X, y):
    ...     optimizer = torch.optim.LBFGS(module.parameters(), lr=0.1 * 0.98**step)
    ...     def closure():
    ...         optimizer.zero_grad()
    ...         loss = torch.nn.functional.cross_entropy(module(X), y) + pull()
    ...         loss.backward()
    ...         return loss
    ...     optimizer.step(closure)
    >>> from sklc import LCCompressor
    >>> from sklc.schemes import AdaptiveQuantization
    >>> X, y = torch.randn(20, 4), torch.arange(20) % 2
    >>> lc = LCCompressor(torch.nn.Linear(4, 2), AdaptiveQuantization(), l_step=train)
    >>> lc.fit(X, y).theta_["weight"].codebook.numel()
    2
    """

    def __init__(self, function: Function) -> None:
        self.function = function

    def start(
        self, estimator: Any, X: Any, y: Any, *, n_steps: int, **fit_params: Any
    ) -> "FunctionLearner":
        """Return a learner of a copy of the net (see :meth:`LStep.start`)."""
        if not (callable(self.function) and _takes_five(self.function)):
            msg = (
                "FunctionLStep needs a function(module, pull, step, X, y), got "
                f"{self.function!r}."
            )
            raise TypeError(msg)
        net, trained = copied(estimator, None)
        learner = FunctionLearner(self.function, net, trained, X, y, fit_params)
        if not trained:
            learner.warn_unless_shuffled()
        return learner

    def is_trained(self, estimator: Any) -> bool:
        """Whether an estimator comes with the weights to start from."""
        return NetLStep().is_trained(estimator)

    def prototype(self, estimator: Any) -> Any:
        """Return the net that an estimator becomes."""
        return NetLStep().prototype(estimator)


def _takes_five(function: Function) -> bool:
    """Whether a function can be called with five arguments, as far as is known."""
    try:
        inspect.signature(function).bind(*range(5))
    except ValueError:  # it has no signature that Python can read
        return True
    except TypeError:
        return False
    return True


class FunctionLearner(NetLearner):
    """A net that a function trains (see :class:`FunctionLStep`)."""

    def __init__(
        self,
        function: Function,
        net: Any,
        trained: bool,
        X: Any,
        y: Any,
        fit_params: dict[str, Any],
    ) -> None:
        super().__init__(net, trained, X, y, fit_params, plan=Plan())
        self.function = function

    def learn(self, target: Mapping[str, Tensor], mu: float, step: int) -> None:
        pull = Pull([], [], mu)
        self._lead(pull, target)
        self._module.train()
        self.function(self._module, pull, step, *self.data)
        self._check_felt(pull, step)
        self._check_finite(f"L step {step} with mu={mu:.3g}")
