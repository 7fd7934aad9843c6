"""How good a model is, against how small it is."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from sklc.exceptions import warn
from sklc.plot.canvas import axes_on, colors, legend, readable, scale_of
from sklc.plot.models import candidates, scored
from sklc.plot.pareto import pareto_front

#: What 100 (1 - score) is, for scores that have a name.
_ERRORS = {"accuracy": "error (%)", "R²": "unexplained variance (%)"}
_KB = 8000  # bits

Points = tuple[np.ndarray, np.ndarray]


class TradeoffDisplay:
    """Scores against sizes, with those that no other model beats (the Pareto front).

    Usually made by :meth:`from_search` or :meth:`from_compressors`.

    Parameters
    ----------
    sizes : array-like of shape (n,)
        In bits.
    scores : array-like of shape (n,)
        The greater the better.
    groups : sequence of str of length n, or None, default=None
        What is drawn in one color, under one name, and joined by a line.
    score_name : str, default="score"
        ``"accuracy"`` and ``"R²"`` can be drawn as errors.
    spread : array-like of shape (n,) or None, default=None
        Standard deviations of the scores.
    direct : tuple of array-likes of shape (n,), or None, default=None
        Sizes and scores of direct compression; NaN where that is not known.
    reference : tuple of float or None, default=None
        Size and score of the model before; the size may be None.
    chosen : int or None, default=None
        The number of the model that was chosen.

    Attributes
    ----------
    figure_ : Figure
    ax_ : Axes

    Examples
    --------
    >>> from sklc.plot import TradeoffDisplay
    >>> display = TradeoffDisplay([800, 1600], [0.8, 0.9], groups=["rank 1", "rank 2"])
    >>> display.pareto_.tolist()
    [0, 1]
    """

    def __init__(
        self,
        sizes: Any,
        scores: Any,
        *,
        groups: Sequence[str] | None = None,
        score_name: str = "score",
        spread: Any = None,
        direct: tuple[Any, Any] | None = None,
        reference: tuple[float | None, float] | None = None,
        chosen: int | None = None,
    ) -> None:
        self.sizes = np.asarray(sizes, dtype=float)
        self.scores = np.asarray(scores, dtype=float)
        n = self.sizes.size
        self.groups = ["compressed"] * n if groups is None else list(groups)
        self.score_name = score_name
        self.spread = np.zeros(n) if spread is None else np.asarray(spread, dtype=float)
        missing = np.full(n, np.nan)
        self.direct = tuple(
            np.asarray(each, dtype=float) for each in direct or (missing, missing)
        )
        self.reference, self.chosen = reference, chosen
        arrays = [self.scores, self.spread, *self.direct]
        lengths = [n, len(self.groups), *(each.size for each in arrays)]
        if not n or len(set(lengths)) > 1:
            msg = (
                "sizes, groups, scores, spread and direct must have one entry for each "
                f"model (one at least), got {lengths}."
            )
            raise ValueError(msg)
        if not np.isfinite(self.sizes + self.scores).any():
            msg = "No model has both a size and a score: there is nothing to draw."
            raise ValueError(msg)

    @property
    def pareto_(self) -> np.ndarray:
        """Numbers of the models that no other beats, by increasing size."""
        return pareto_front(self.sizes, self.scores)

    @classmethod
    def from_search(
        cls,
        search: Any,
        *,
        score: str = "score",
        size: str = "bits",
        group: Callable[[dict[str, Any]], str] | None = None,
    ) -> Self:
        """Take the candidates of a search.

        Parameters
        ----------
        search : GridSearchCV or the like
            Fitted, with two scorers at least: one of the score, and
            :func:`sklc.metrics.nbits`.
        score, size : str, default="score", "bits"
            Their names in ``scoring``.
        group : callable or None, default=None
            From the parameters of a candidate to the group that it is drawn in; by
            default, the class of its scheme.

        Raises
        ------
        ValueError
            If a scorer is missing.
        NotFittedError
            If it is not fitted.
        """
        return cls(**candidates(search, score, size, group))

    @classmethod
    def from_compressors(
        cls,
        compressors: Mapping[str, Any],
        X: Any,
        y: Any = None,
        *,
        others: Mapping[str, tuple[Any, Any]] | None = None,
        **score_params: Any,
    ) -> Self:
        """Score fitted compressors of one model.

        Parameters
        ----------
        compressors : dict of str to LCCompressor, or to lists of them
            By the names that they get. With ``keep_reference=True`` they show the model
            before (of the first one that has it), and direct compression.
        X, y : data
            As for :meth:`LCCompressor.score <sklc.LCCompressor.score>`.
        others : dict of str to (array-like, array-like), or None, default=None
            Models of another kind to show beside them, by name: their sizes in bits,
            and their scores.
        **score_params : dict

        Raises
        ------
        ValueError
            If there is none.
        NotFittedError
            If one is not fitted.
        """
        return cls(**scored(compressors, X, y, others or {}, score_params))

    def plot(self, ax: Any = None, *, error: bool = False) -> Self:
        """Draw them.

        Parameters
        ----------
        ax : Axes or None, default=None
            What to draw in; None is a new figure.
        error : bool, default=False
            Whether to show what is missing to a score of 1, in per cent: on a
            logarithmic axis, if it varies much.

        Returns
        -------
        self

        Warns
        -----
        UserWarning
            If models without score or size are left out.
        """
        self.ax_ = ax = axes_on(ax, (9, 5.5))
        self.figure_ = ax.figure
        drawn = np.isfinite(self.sizes + self.scores)
        if not drawn.all():
            msg = f"{(~drawn).sum()} of {drawn.size} models have no score or size."
            warn(f"{msg} They are not drawn.")
        sizes, scores = self.sizes / _KB, self._shown(self.scores, error)
        starts = self.direct[0] / _KB, self._shown(self.direct[1], error)
        known, values = [*sizes, *starts[0]], [*scores, *starts[1]]
        spread = self.spread * (100 if error or self.score_name == "accuracy" else 1)
        self._draw_models(drawn, (sizes, scores), starts, spread)
        self._draw_front(sizes, scores)
        if self.chosen is not None:
            at = sizes[self.chosen], scores[self.chosen]
            star: dict[str, Any] = {"ms": 15, "mec": "w", "zorder": 4, "ls": ""}
            ax.plot(*at, "k*", label="the choice", **star)
        if self.reference is not None:
            size, score = self.reference
            values.append(float(self._shown(np.asarray(score), error)))
            ax.axhline(values[-1], color="k", lw=1, ls=":", label="reference")
            if size is not None:
                known.append(size / _KB)
                ax.plot(known[-1], values[-1], "kD", ms=6)
        ax.set(
            xlabel="size (kB, before entropy coding)",
            ylabel=self._label(error),
            xscale=scale_of(known, span=4.0),
            yscale=scale_of(values, span=4.0) if error else "linear",
        )
        readable(ax.xaxis)
        readable(ax.yaxis)
        ax.grid(alpha=0.3)
        self._draw_ratios()
        legend(ax, len(set(self.groups)))
        return self

    def _draw_models(
        self, drawn: np.ndarray, ends: Points, starts: Points, spread: np.ndarray
    ) -> None:
        """Draw each group in its color, and where direct compression left it."""
        (sizes, scores), ax = ends, self.ax_
        groups, names = np.asarray(self.groups), list(dict.fromkeys(self.groups))
        for color, name in zip(colors(len(names)), names, strict=True):
            own = np.flatnonzero(drawn & (groups == name))
            own = own[np.argsort(sizes[own])]
            style: dict[str, Any] = {"color": color, "marker": "o", "ms": 6}
            bars = spread[own] if spread[own].any() else None
            line: dict[str, Any] = {"ls": "-" if len(own) > 1 else "", "capsize": 3}
            ax.errorbar(sizes[own], scores[own], bars, label=name, **line, **style)
            for at in own[np.isfinite(starts[0][own] + starts[1][own])]:
                start = starts[0][at], starts[1][at]
                way = list(zip(start, (sizes[at], scores[at]), strict=True))
                ax.plot(*way, color=color, lw=1, alpha=0.5, zorder=1)
                ax.plot(*start, mfc="none", **style)
        if np.isfinite(starts[1]).any():
            ring: dict[str, Any] = {"mfc": "none", "color": "0.3", "ls": "", "ms": 6}
            ax.plot([], [], "o", label="direct compression (open)", **ring)

    def _draw_front(self, sizes: np.ndarray, scores: np.ndarray) -> None:
        """Draw the best score at each size, as a staircase behind the models."""
        front = self.pareto_
        if len(front) < 2:
            return
        style: dict[str, Any] = {"color": "0.85", "lw": 6, "zorder": 0}
        label = "best for its size"
        self.ax_.step(sizes[front], scores[front], where="post", label=label, **style)

    def _draw_ratios(self) -> None:
        """Write the compression ratios above, where sizes are logarithmic."""
        whole = self.reference and self.reference[0]
        if whole and self.ax_.get_xscale() == "log":
            ratio = partial(_ratio, whole / _KB)
            top = self.ax_.secondary_xaxis("top", functions=(ratio, ratio))
            top.set_xlabel("compression ratio")
            readable(top.xaxis)

    def _shown(self, scores: np.ndarray, error: bool) -> np.ndarray:
        if error:
            return np.asarray(100 * (1 - scores))
        return np.asarray(100 * scores if self.score_name == "accuracy" else scores)

    def _label(self, error: bool) -> str:
        if error:
            return _ERRORS.get(self.score_name, f"100 (1 - {self.score_name})")
        return "accuracy (%)" if self.score_name == "accuracy" else self.score_name


def _ratio(whole: float, size: Any) -> Any:
    """Return the ratio of a size, which is the size of a ratio, too."""
    return whole / np.maximum(size, 1e-100)
