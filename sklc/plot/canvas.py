"""What all displays draw on: figures, and axes with ticks that people can read."""

import math
from typing import Any

import numpy as np


def pyplot() -> Any:
    """Return matplotlib.pyplot.

    Raises
    ------
    ImportError
        If there is none, with how to install it.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        msg = 'Figures need matplotlib: pip install "sklc[plot]".'
        raise ImportError(msg) from error
    return plt


def axes_on(ax: Any, size: tuple[float, float] = (8.0, 5.0)) -> Any:
    """Return the axes to draw on: those given, or new ones of a size in inches."""
    if ax is not None:
        return ax
    return pyplot().subplots(figsize=size, layout="constrained")[1]


def panels_on(
    ax: Any,
    rows: int,
    columns: int,
    size: tuple[float, float],
    *,
    sharex: bool = False,
) -> np.ndarray:
    """Return a grid of axes: in place of one that is given, or in a new figure.

    Parameters
    ----------
    ax : Axes, array of Axes or None
        An array has as many as are wanted, and is taken as it is.
    rows, columns : int
    size : tuple of float
        Of a new figure, in inches.
    sharex : bool, default=False
        Whether they have one horizontal axis.

    Returns
    -------
    ndarray of shape (rows, columns)

    Raises
    ------
    ValueError
        If an array has another number of axes.
    """
    plt = pyplot()
    if ax is None:
        shape = {"squeeze": False, "figsize": size, "layout": "constrained"}
        found: np.ndarray = plt.subplots(rows, columns, sharex=sharex, **shape)[1]
        return found
    if isinstance(ax, plt.Axes):
        ax.set_axis_off()
        grid = ax.get_subplotspec()
        if grid is None:
            msg = (
                "The axes to draw several panels in must be part of a grid, as "
                "those of plt.subplots() are."
            )
            raise ValueError(msg)
        inner = grid.subgridspec(rows, columns)
        return np.asarray(inner.subplots(sharex=sharex, squeeze=False))
    given = np.asarray(ax, dtype=object)
    if given.size != rows * columns:
        msg = f"ax must be one Axes or {rows * columns} of them, got {given.size}."
        raise ValueError(msg)
    return given.reshape(rows, columns)


def label(value: float) -> str:
    """Return a number as people write it, short.

    Examples
    --------
    >>> from sklc.plot.canvas import label
    >>> [label(value) for value in (0, 0.05, 2000, 123456.0, 132.5, 3e-7, float("inf"))]
    ['0', '0.05', '2,000', '123,456', '132.5', '3e-7', '∞']
    """
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "-∞"}.get(value, "?")
    size = abs(value)
    if value == 0 or 1e-4 <= size < 1e7:
        return f"{value:,.7g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def readable(axis: Any) -> None:
    """Give an axis ticks at round numbers, written as people do."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    if "log" in axis.get_scale():  # a secondary axis calls it otherwise
        axis.set_major_locator(_round_ticks())
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))


def scale_of(values: Any, *, span: float = 10.0) -> str:
    """Return "log" where positive values span a wide range, otherwise "linear"."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    wide = finite.size and finite.min() > 0 and finite.max() > span * finite.min()
    return "log" if wide else "linear"


def legend(ax: Any, n_names: int) -> None:
    """Give axes a legend: beside them, if so many names would hide data."""
    many: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
    handles, names = ax.get_legend_handles_labels()
    # lines that are no data are named first, being lines alone
    ends = sorted(range(len(names)), key=lambda at: not hasattr(handles[at], "lines"))
    ax.legend(
        [handles[at] for at in ends],
        [names[at] for at in ends],
        fontsize="small",
        ncols=1 + (n_names - 1) // 24,
        **(many if n_names > 6 else {}),
    )


def _round_ticks() -> Any:
    """Return a locator for logarithmic axes: 1, 2 and 5 times powers of ten, or less.

    Where these are too many it takes the powers of ten alone, or some of them, and
    where they are too few any round numbers.
    """
    from matplotlib.ticker import Locator, MaxNLocator

    class RoundTicks(Locator):
        def __call__(self) -> Any:
            return self.tick_values(*self.axis.get_view_interval())  # type: ignore

        def tick_values(self, vmin: float, vmax: float) -> Any:
            low, high = sorted((vmin, vmax))
            low = max(low, np.finfo(float).tiny)
            first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
            stride = max(1, (last - first) // 6)
            powers = 10.0 ** np.arange(first, last + 1, stride)
            for steps in ([1], [1, 2, 5], [1, 1.5, 2, 3, 5, 7]):
                ticks = np.sort(np.outer(powers, steps).ravel())
                inside = ticks[(ticks >= low) & (ticks <= high)]
                if len(inside) >= 3:
                    return inside
            return MaxNLocator(5).tick_values(low, high)

    return RoundTicks()


def colors(n: int) -> list[Any]:
    """Return so many colors that can be told apart, as far as there are."""
    plt = pyplot()
    if n <= 10:
        return [f"C{at}" for at in range(n)]
    if n <= 20:
        return list(plt.get_cmap("tab20").colors[:n])
    return list(plt.get_cmap("turbo")(np.linspace(0.02, 0.98, n)))
