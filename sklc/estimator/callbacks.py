"""scikit-learn's callbacks (since 1.9) over the LC steps; earlier there are none.

They are experimental there, so all that knows them is in this file.
"""

from collections.abc import Callable
from typing import Any

from sklc.lc.observers import Observer
from sklc.lc.state import State

__all__ = ["CallbackSupportMixin", "callbacks_of", "with_callbacks"]

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stand in where scikit-learn has no callbacks."""

    def with_callbacks(method: Any) -> Any:
        """Return the method as it is."""
        return method


def callbacks_of(
    owner: Any,
    X: Any,
    y: Any,
    metadata: dict[str, Any],
    n_steps: int,
    fitted: Callable[[State, str], dict[str, Any]],
) -> list[Observer]:
    """Return what tells the callbacks of an estimator of the steps of its fit.

    Parameters
    ----------
    owner : estimator
    X, y : data
        As they were given to the fit.
    metadata : dict
        What else was given to it.
    n_steps : int
        LC steps to come, at most.
    fitted : callable
        Returns the attributes of the owner as if its fit had ended in a state, for a
        reason, by name.
    """
    if not hasattr(owner, "_init_callback_context"):
        return []
    facts = {"estimator": owner, "X": X, "y": y, "metadata": metadata}
    return [Tasks(owner._init_callback_context, facts, n_steps, fitted)]


class Tasks(Observer):
    """The LC steps of a fit as tasks of scikit-learn's callbacks.

    See :func:`callbacks_of`.
    """

    def __init__(
        self,
        context: Callable[..., Any],
        facts: dict[str, Any],
        n_steps: int,
        fitted: Callable[[State, str], dict[str, Any]],
    ) -> None:
        self._facts, self._fitted = facts, fitted
        self._root = context(max_subtasks=n_steps + 1)
        self._root.call_on_fit_task_begin(**facts)
        self._begin()

    def _begin(self) -> None:
        self._step = self._root.subcontext(task_name="LC step")
        self._step.call_on_fit_task_begin(**self._facts)

    def on_step(self, state: State, end: str) -> bool:
        stop = self._ended(self._step, state, end or "callback")
        if not (end or stop):
            self._begin()
        return stop

    def on_end(self, state: State, end: str) -> None:
        self._ended(self._root, state, end)

    def _ended(self, task: Any, state: State, end: str) -> bool:
        stop = task.call_on_fit_task_end(
            **self._facts,
            reconstruction_attributes=lambda: self._fitted(state, end),
        )
        return bool(stop)
