"""The run of the LC algorithm, step by step."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from sklc.plot.canvas import panels_on, readable, scale_of
from sklc.plot.steps import check_steps, history_of, mark_steps

_CLOSED = 1e-6  # a gap that is nobody's to see


class RunDisplay:
    """Loss, gap and size at each step of the LC algorithm, against the pull.

    Usually made by :meth:`from_compressor`.

    Parameters
    ----------
    mu : sequence of float of length n_steps
        The pulls, from step 0 (direct compression) on; infinite for fine-tuning.
    loss : sequence of float of length n_steps
        Mean training losses of the compressed model.
    gap : sequence of float of length n_steps
        ``||w - Δ(Θ)|| / ||w||``.
    n_bytes : sequence of float of length n_steps
        Sizes of the compressed model.
    reference_loss : float or None, default=None
        Of the model before.
    best_step : int or None, default=None
        The step that was kept.
    trained_on : str, default="targets"
        What the losses are of (as in ``history_``).

    Attributes
    ----------
    figure_ : Figure
    ax_ : ndarray of shape (3,)
        The axes of loss, gap and size.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklc import LCCompressor
    >>> from sklc.plot import RunDisplay
    >>> from sklc.schemes import AdaptiveQuantization
    >>> lc = LCCompressor(LogisticRegression(max_iter=1000), AdaptiveQuantization(k=3))
    >>> display = RunDisplay.from_compressor(lc.fit(*load_iris(return_X_y=True)))
    >>> len(display.loss) == len(lc.history_)
    True
    """

    def __init__(
        self,
        mu: Sequence[float],
        loss: Sequence[float],
        gap: Sequence[float],
        n_bytes: Sequence[float],
        *,
        reference_loss: float | None = None,
        best_step: int | None = None,
        trained_on: str = "targets",
    ) -> None:
        check_steps(len(mu), mu=mu, loss=loss, gap=gap, n_bytes=n_bytes)
        self.mu, self.loss, self.gap, self.n_bytes = mu, loss, gap, n_bytes
        self.reference_loss, self.best_step = reference_loss, best_step
        self.trained_on = trained_on

    @classmethod
    def from_compressor(cls, compressor: Any) -> Self:
        """Take the run of a fitted compressor.

        Parameters
        ----------
        compressor : LCCompressor

        Raises
        ------
        TypeError
            If it is none.
        NotFittedError
            If it is not fitted.
        """
        history = history_of(compressor)
        rest = compressor.nbits_ - history[compressor.best_step_]["nbits"]
        return cls(
            [entry["mu"] for entry in history],
            [entry["loss"] for entry in history],
            [entry["gap"] for entry in history],
            [(entry["nbits"] + rest) / 8 for entry in history],
            reference_loss=compressor.reference_loss_,
            best_step=compressor.best_step_,
            trained_on=history[0]["trained_on"],
        )

    def plot(self, ax: Any = None) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : Axes, array of three Axes or None, default=None
            What to draw in: one is divided into three, None is a new figure.

        Returns
        -------
        self
        """
        self.ax_ = panels_on(ax, 3, 1, (8, 7), sharex=True)[:, 0]
        self.figure_ = self.ax_[0].figure
        loss, gap, size = self.ax_
        steps = np.arange(len(self.mu))
        marks: dict[str, Any] = {"marker": "o", "ms": 3.5, "lw": 1.2}

        loss.plot(steps, self.loss, color="C0", **marks)
        known = list(self.loss)
        if self.reference_loss is not None:
            known.append(self.reference_loss)
            loss.axhline(self.reference_loss, color="k", lw=1, label="reference")
        if self.best_step is not None:
            kept = self.loss[self.best_step]
            star: dict[str, Any] = {"ms": 12, "mec": "w", "zorder": 3, "ls": ""}
            loss.plot(self.best_step, kept, "k*", label="kept", **star)
        if loss.get_legend_handles_labels()[0]:
            loss.legend(fontsize="small")
        of = "" if self.trained_on == "targets" else f"\n({self.trained_on})"
        loss.set(ylabel=f"training loss{of}", yscale=scale_of(known))
        loss.margins(y=0.12)

        # a gap of zero (fine-tuning has none) is no point of a logarithmic axis
        gaps = np.asarray(self.gap, dtype=float)
        scale = scale_of(gaps[gaps > 0])
        shown = gaps > 0 if scale == "log" else np.isfinite(gaps)
        gap.plot(steps[shown], gaps[shown], color="C1", **marks)
        gap.set(ylabel="gap to the weights", yscale=scale)
        if scale == "linear":
            gap.set_ylim(0, 1.15 * max(gaps[shown], default=0) or 1)
        else:  # what is closed is closed
            gap.set_ylim(bottom=max(gap.get_ylim()[0], _CLOSED))

        size.plot(steps, np.asarray(self.n_bytes) / 1000, color="C2", **marks)
        size.set(ylabel="size (kB)", yscale=scale_of(self.n_bytes))
        if size.get_yscale() == "linear":
            size.set_ylim(0, 1.15 * max(self.n_bytes) / 1000 or 1)

        for each in self.ax_:
            mark_steps(each, self.mu, best=self.best_step)
            readable(each.yaxis)
            each.grid(alpha=0.3)
        for each in self.ax_[:-1]:
            each.set_xlabel("")
            each.tick_params(labelbottom=False)
        return self
