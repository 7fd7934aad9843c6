"""Ranks of the layers, step by step."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from sklc.codes import Code, Factored, Sum
from sklc.plot.canvas import axes_on, colors, legend
from sklc.plot.steps import check_steps, history_of, mark_steps


class RanksDisplay:
    """The rank of each layer at each step of the LC algorithm.

    Usually made by :meth:`from_compressor`.

    Parameters
    ----------
    mu : sequence of float of length n_steps
        The pulls, from step 0 (direct compression) on; infinite for fine-tuning.
    ranks : dict of str to sequence of length n_steps
        By the name of the weight; None where it has no rank.
    full : dict of str to int or None, default=None
        The full ranks.
    best_step : int or None, default=None
        The step that was kept.

    Attributes
    ----------
    figure_ : Figure
    ax_ : Axes
    """

    def __init__(
        self,
        mu: Sequence[float],
        ranks: Mapping[str, Sequence[int | None]],
        *,
        full: Mapping[str, int] | None = None,
        best_step: int | None = None,
    ) -> None:
        if not ranks:
            msg = "No weight has a rank: they come from LowRank and RankSelection."
            raise ValueError(msg)
        check_steps(len(mu), **ranks)
        self.mu, self.ranks, self.full, self.best_step = mu, ranks, full, best_step

    @classmethod
    def from_compressor(cls, compressor: Any) -> Self:
        """Take the ranks of a fitted compressor.

        Parameters
        ----------
        compressor : LCCompressor

        Raises
        ------
        TypeError
            If it is none.
        NotFittedError
            If it is not fitted.
        ValueError
            If no weight has a rank.
        """
        history = history_of(compressor)
        layers = [entry["layers"] for entry in history]
        names = [name for name, facts in layers[-1].items() if "rank" in facts]
        return cls(
            [entry["mu"] for entry in history],
            {name: [facts[name].get("rank") for facts in layers] for name in names},
            full={name: _full_rank(compressor.theta_[name]) for name in names},
            best_step=compressor.best_step_,
        )

    def plot(self, ax: Any = None) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : Axes or None, default=None
            What to draw in; None is a new figure.

        Returns
        -------
        self
        """
        from matplotlib.ticker import MaxNLocator

        self.ax_ = axes_on(ax)
        self.figure_ = self.ax_.figure
        for color, (name, ranks) in zip(
            colors(len(self.ranks)), self.ranks.items(), strict=True
        ):
            values = [float("nan") if rank is None else rank for rank in ranks]
            of = f" (of {self.full[name]})" if self.full and name in self.full else ""
            style: dict[str, Any] = {"marker": "o", "ms": 3.5, "lw": 1.2}
            self.ax_.plot(values, color=color, label=name + of, **style)
        mark_steps(self.ax_, self.mu, best=self.best_step)
        self.ax_.set_ylabel("rank")
        self.ax_.set_ylim(bottom=min(0, self.ax_.get_ylim()[0]))
        self.ax_.yaxis.set_major_locator(MaxNLocator(integer=True))
        self.ax_.grid(alpha=0.3)
        legend(self.ax_, len(self.ranks))
        return self


def _full_rank(code: Code) -> int:
    if isinstance(code, Sum):
        return max(map(_full_rank, code.terms.values()))
    if isinstance(code, Factored):
        return min(code.left.shape[0], code.right.shape[1])
    return min(code.shape[0], code.shape[1:].numel())
