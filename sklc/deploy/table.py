"""Tables for people: as text, in notebooks, and as frames."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Rows of cells under the names of their columns.

    Attributes
    ----------
    columns : sequence of str
        The first one names the rows.
    rows : sequence of sequences of str, int, float or None
        None is what is not known.

    Examples
    --------
    >>> from sklc.deploy.table import Table
    >>> print(Table(["layer", "bytes", "share"], [["fc", 12345, 0.5], ["x", 7, None]]))
    layer   bytes  share
    fc     12,345    0.5
    x           7      –
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def __str__(self) -> str:
        lines = [self.columns, *([shown(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        numeric = self._numeric()
        return "\n".join(
            "  ".join(
                text.rjust(width) if right else text.ljust(width)
                for text, width, right in zip(line, widths, numeric, strict=True)
            ).rstrip()
            for line in lines
        )

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        numeric = self._numeric()

        def line(tag: str, cells: Sequence[str]) -> str:
            return "".join(
                f'<{tag} style="text-align: {"right" if right else "left"}">'
                f"{html.escape(cell)}</{tag}>"
                for cell, right in zip(cells, numeric, strict=True)
            )

        body = "".join(
            f"<tr>{line('td', [shown(cell) for cell in row])}</tr>\n"
            for row in self.rows
        )
        return (
            f"<table>\n<thead><tr>{line('th', self.columns)}</tr></thead>\n"
            f"<tbody>\n{body}</tbody>\n</table>"
        )

    def to_dict(self) -> dict[str, list[Cell]]:
        """Return the cells of each column, by its name."""
        return {
            name: [row[i] for row in self.rows] for i, name in enumerate(self.columns)
        }

    def to_frame(self) -> Any:
        """Return the table as a frame of pandas, its first column being the index."""
        from pandas import DataFrame

        return DataFrame(self.to_dict()).set_index(self.columns[0])

    def _numeric(self) -> list[bool]:
        """Return which columns hold numbers, so that they end where others do."""
        return [
            all(not isinstance(row[i], str) for row in self.rows)
            for i in range(len(self.columns))
        ]


def shown(cell: Cell) -> str:
    """Return a cell as text: numbers to four digits, thousands apart."""
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) else cell
