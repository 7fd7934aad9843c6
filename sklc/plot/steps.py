"""LC steps as a horizontal axis: how strong the pull was at each."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklc.plot.canvas import label


def history_of(compressor: Any) -> list[dict[str, Any]]:
    """Return the history of a fitted compressor, or of what ends in one.

    Raises
    ------
    TypeError
        If it has none.
    NotFittedError
        If it is not fitted.
    """
    if not hasattr(compressor, "scheme"):
        msg = f"The run of an LCCompressor can be drawn, got {compressor!r}."
        raise TypeError(msg)
    check_is_fitted(compressor)
    return list(compressor.history_)


def check_steps(n_steps: int, **values: Sequence[Any]) -> None:
    """Raise a ValueError unless there are as many values as steps, and one at least."""
    for name, each in values.items():
        if len(each) != n_steps or not n_steps:
            msg = (
                f"{name} must have a value for each of the {n_steps} steps (one at "
                f"least), got {len(each)}."
            )
            raise ValueError(msg)


def mark_steps(ax: Any, mu: Sequence[float], *, best: int | None = None) -> None:
    """Write the pulls below an axis of steps, and mark the step that was kept.

    Steps are as far apart as they were in the run, whatever their pulls: these may
    stand still, or be infinite (of fine-tuning).
    """
    n = len(mu)
    last = n - 1
    tuned = last if last and math.isinf(mu[last]) else None
    ends = last - 1 if tuned else last
    chosen = np.unique(np.linspace(0, ends, min(ends + 1, 6)).round().astype(int))
    at = [int(step) for step in chosen]
    if tuned is not None:
        at = [step for step in at if tuned - step > 0.08 * n or step == 0] + [tuned]
    texts = [f"{step}\n{_pull(mu[step])}" for step in at]
    ax.set_xticks(at, labels=texts)
    ax.set_xlim(-0.5 - 0.02 * n, last + 0.5 + 0.02 * n)
    ax.set_xlabel("LC step, and its pull μ")
    if best is not None:
        ax.axvline(best, color="k", lw=0.8, ls=":", zorder=0)


def _pull(mu: float) -> str:
    if math.isinf(mu):
        return "tuned"
    return label(float(f"{mu:.2g}"))
