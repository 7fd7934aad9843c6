"""scikit-learn's callbacks (since 1.9) over the LC steps; earlier there are none.

They are experimental there, so all that knows them is in this file.
"""

from collections.abc import Callable
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stand in where scikit-learn has no callbacks."""

    def with_callbacks(method: Any) -> Any:
        """Return the method as it is."""
        return method


class Steps:
    """The LC steps of a fit as tasks of scikit-learn's callbacks.

    Parameters
    ----------
    owner : estimator
        Whose callbacks they are.
    X, y : data
        As they were given to the fit.
    metadata : dict
        What else was given to it.
    n_steps : int
        LC steps to come, at most.
    fitted : callable
        Returns the attributes of the owner as if its fit had ended now, by name.
    """

    def __init__(
        self,
        owner: Any,
        X: Any,
        y: Any,
        metadata: dict[str, Any],
        n_steps: int,
        fitted: Callable[[], dict[str, Any]],
    ) -> None:
        self._facts = {"estimator": owner, "X": X, "y": y, "metadata": metadata}
        self._fitted = fitted
        self._root: Any = None
        self._step: Any = None
        if hasattr(owner, "_init_callback_context"):
            self._root = owner._init_callback_context(max_subtasks=n_steps + 1)
            self._root.call_on_fit_task_begin(**self._facts)
            self._begin()

    def _begin(self) -> None:
        self._step = self._root.subcontext(task_name="LC step")
        self._step.call_on_fit_task_begin(**self._facts)

    def done(self, last: bool) -> bool:
        """End a step (the first is direct compression); whether to stop after it."""
        if self._root is None:
            return False
        stop = self._step.call_on_fit_task_end(
            **self._facts, reconstruction_attributes=self._fitted
        )
        if stop or last:
            self._root.call_on_fit_task_end(
                **self._facts, reconstruction_attributes=self._fitted
            )
        else:
            self._begin()
        return bool(stop)
