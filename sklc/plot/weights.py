"""Weights before and after compression."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklc.deploy.model import CompressedModel
from sklc.plot.canvas import label, panels_on, readable
from sklc.signature import Signature

_MOST_VALUES = 40  # of a codebook that is drawn value by value
_MOST_BINS = 80


class WeightsDisplay:
    """The weights of each layer before compression, and after, with their codebook.

    Weights of few values are shown as these, and how many weights take each; others
    as a histogram. Usually made by :meth:`from_compressor`.

    Parameters
    ----------
    before, after : dict of str to array-like
        Weights by name, the same ones.

    Attributes
    ----------
    figure_ : Figure
    ax_ : ndarray of Axes
        One for each weight.
    """

    def __init__(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        self.before = {name: _flat(w) for name, w in before.items()}
        self.after = {name: _flat(w) for name, w in after.items()}
        sizes = [
            {name: w.size for name, w in each.items()}
            for each in (self.before, self.after)
        ]
        if sizes[0] != sizes[1] or not sizes[0]:
            msg = (
                "before and after must hold the same weights, one at least, got "
                f"{sizes[0]} and {sizes[1]} by name and number."
            )
            raise ValueError(msg)

    @classmethod
    def from_compressor(
        cls, compressor: Any, names: str | Sequence[str] | None = None
    ) -> Self:
        """Take the weights of a fitted compressor.

        Parameters
        ----------
        compressor : LCCompressor
            Fitted with ``keep_reference=True``.
        names : str, sequence of str or None, default=None
            Of the weights to show; None for all that are compressed.

        Raises
        ------
        ValueError
            If it does not have the weights before, or there is no such weight.
        NotFittedError
            If it is not fitted.
        """
        check_is_fitted(compressor)
        theta = compressor.theta_
        chosen = list(theta) if names is None else names
        chosen = [chosen] if isinstance(chosen, str) else list(chosen)
        if unknown := [name for name in chosen if name not in theta]:
            msg = f"No compressed weights are called {unknown}, only {list(theta)}."
            raise ValueError(msg)
        if not hasattr(compressor, "reference_"):
            msg = (
                "The weights before compression are known if the compressor was fitted "
                "with keep_reference=True."
            )
            raise ValueError(msg)
        model = compressor.reference_
        last = model[-1] if isinstance(model, Pipeline) else model
        before = CompressedModel.of(last, {}, chosen, {}, Signature()).rest
        return cls(before, {name: theta[name].dense() for name in chosen})

    def plot(self, ax: Any = None) -> Self:
        """Draw them.

        Parameters
        ----------
        ax : Axes, array of Axes or None, default=None
            What to draw in: one is divided into as many as are needed, None is a new
            figure.

        Returns
        -------
        self
        """
        n = len(self.before)
        given = np.asarray(ax, dtype=object)
        columns = min(n, 3)
        rows = math.ceil(n / columns)
        if ax is not None and given.size == n:
            grid = given.reshape(1, n)
        else:
            size = (max(5.0, 4.0 * columns), max(3.5, 2.8 * rows))
            grid = panels_on(ax, rows, columns, size)
        for unused in grid.flat[n:]:
            unused.set_axis_off()
        self.ax_ = grid.reshape(-1)[:n]
        self.figure_ = self.ax_[0].figure
        for at, (panel, name) in enumerate(zip(self.ax_, self.before, strict=True)):
            codebook = _draw(panel, name, self.before[name], self.after[name])
            if at % columns == 0:
                panel.set_ylabel("% of the weights")
            if codebook and (at % columns == columns - 1 or at == n - 1):
                codebook.set_ylabel("% at each value", color="C3")
        return self


def _draw(ax: Any, name: str, before: np.ndarray, after: np.ndarray) -> Any:
    """Draw one weight; return the axes of its codebook, if there is one."""
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    ax.set_title(name, fontsize="medium")
    n = max(1, after.size)
    values, counts = np.unique(after, return_counts=True)
    # few values, and not few weights that are not zero
    few = values.size <= min(_MOST_VALUES, max(2, int((after != 0).sum()) // 2))
    low, high = _range(before, values if few else after)
    n_bins = int(np.clip(2 * before.size ** (1 / 3), 10, _MOST_BINS))
    bins = np.linspace(low, high, n_bins + 1)
    share = np.full(before.size, 100 / max(1, before.size))
    ax.hist(before, bins, weights=share, color="0.75", label="before")
    twin = None
    if few:
        twin = ax.twinx()
        twin.vlines(values, 0, 100 * counts / n, color="C3", lw=1.5)
        twin.plot(values, 100 * counts / n, "o", color="C3", ms=4)
        twin.set_ylim(0, 130 * counts.max(initial=1) / n)
        twin.tick_params(axis="y", colors="C3")
        readable(twin.yaxis)
        ax.plot([], [], "o-", color="C3", label=_valued(values.size))
    else:
        kept = after[after != 0]
        share = np.full(kept.size, 100 / n)
        ax.hist(kept, bins, weights=share, histtype="step", color="C3", label="after")
        zeros = 100 * (1 - kept.size / n)
        if zeros:
            share_of_zeros = f"{zeros:.4g} % are zero"
            ax.plot(0, 0, "^", color="C3", clip_on=False, label=share_of_zeros)
    ax.margins(x=0)
    ax.set_ylim(0, 1.3 * ax.get_ylim()[1])  # room for the legend
    ax.legend(fontsize="x-small", loc="upper left", ncols=2, framealpha=0.6)
    readable(ax.xaxis)
    readable(ax.yaxis)
    return twin


def _valued(n: int) -> str:
    return f"after: {label(n)} value{'s' if n != 1 else ''}"


def _range(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Return what all but a thousandth of the weights at each end lie in."""
    ends = [np.quantile(w, (0.001, 0.999)) for w in (before, after) if w.size]
    low, high = (min(e[0] for e in ends), max(e[1] for e in ends)) if ends else (0, 0)
    room = 0.05 * (high - low) or 0.1 * abs(low) or 1.0
    return low - room, high + room


def _flat(weight: Any) -> np.ndarray:
    if isinstance(weight, torch.Tensor):
        weight = weight.detach().cpu().double().numpy()
    return np.asarray(weight, dtype=float).reshape(-1)
