"""Tables of the results, in Markdown."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from benchmarks.rivals.cells import Cell, cells
from benchmarks.rivals.records import Record
from benchmarks.rivals.runner import LOSSES, METHODS, belongs, best_rate, methods_of

BEGIN, END = "<!-- tables -->", "<!-- end of the tables -->"
TITLES = {"labels": "Trained on labels", "distilled": "Trained on the distilled loss"}
HEADS = {
    "lc": "LC",
    "direct": "direct",
    "gmp": "GMP",
    "ste": "STE",
    "parq": "PARQ",
    "pat": "PAT",
}


class Difference(NamedTuple):
    """A mean of paired differences, and its standard error (of one pair: NaN)."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Difference":
        """Summarise differences."""
        spread = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return cls(fmean(values), spread)

    @property
    def is_worse(self) -> bool:
        """Whether it is above zero by more than two standard errors."""
        return self.mean > 2 * self.error

    def text(self, form: str) -> str:
        """Return it as a table has it."""
        return f"{self.mean:+{form}} ± {self.error:{form}}"


class Row(NamedTuple):
    """What is known of a cell.

    Attributes
    ----------
    cell : Cell
    errors : dict of str to float
        Mean test error of each method, over the seeds.
    rival : str
        The best one, by its test error with the first seed.
    difference, loss_difference : Difference
        LC less this rival with the other seeds: in test error, and in the logarithm of
        the loss.
    time : float
        Of LC, in bare epochs, over the number of epochs.
    versions : set of str
        Of sklc, in the runs of LC.
    """

    cell: Cell
    errors: dict[str, float]
    rival: str
    difference: Difference
    loss_difference: Difference
    time: float
    versions: set[str]


def by_seed(
    results: Iterable[Record], cell: Cell, loss: str, method: str
) -> dict[int, Record]:
    """Return the records of a method by seed, at the rate that the first one chose."""
    found = [r for r in results if belongs(r, cell, loss, method)]
    first = [r for r in found if r["seed"] == 0]
    if not first:
        return {}
    lr = best_rate(first)
    return {r["seed"]: r for r in found if r["lr"] == lr}


def row(results: Iterable[Record], cell: Cell, loss: str) -> Row | None:
    """Return the row of a cell; None if there are no two seeds of LC and a rival."""
    runs = {m: by_seed(results, cell, loss, m) for m in methods_of(cell.scheme)}
    runs = {m: r for m, r in runs.items() if 0 in r and r[0]["test_error"] is not None}
    rivals = [method for method in runs if method != "lc"]
    if "lc" not in runs or not rivals:
        return None
    rival = min(rivals, key=lambda m: runs[m][0]["test_error"])
    own, other = runs["lc"], runs[rival]
    seeds = sorted((own.keys() & other.keys()) - {0})
    pairs = [(own[s], other[s]) for s in seeds if complete(own[s], other[s])]
    if not pairs:
        return None
    return Row(
        cell,
        {
            m: fmean(x["test_error"] for x in r.values() if complete(x))
            for m, r in runs.items()
        },
        rival,
        Difference.of([a["test_error"] - b["test_error"] for a, b in pairs]),
        Difference.of(
            [math.log(a["training_loss"] / b["training_loss"]) for a, b in pairs]
        ),
        fmean(x["process"] / (x["epochs"] * x["bare_epoch"]) for x in own.values()),
        {x["version"] for x in own.values()},
    )


def complete(*found: Record) -> bool:
    """Whether runs ended with finite numbers."""
    return all(record["test_error"] is not None for record in found)


def markdown(results: Sequence[Record]) -> str:
    """Return all tables, with the overall differences below each."""
    parts = []
    for loss in LOSSES:
        rows = [row(results, cell, loss) for cell in cells()]
        known = [found for found in rows if found is not None]
        if known:
            parts.append(f"## {TITLES[loss]}\n\n{_table(known)}\n\n{_summary(known)}")
    return "\n\n".join(parts)


def _table(rows: Sequence[Row]) -> str:
    heads = [
        "net",
        "scheme",
        "epochs",
        *HEADS.values(),
        "LC - best rival",
        "log of the losses' ratio",
        "time",
    ]
    lines = [_cells(heads), _cells(["---"] * len(heads))]
    for found in rows:
        errors = [
            _bold(f"{found.errors[method]:.2f}", method == found.rival)
            if method in found.errors
            else ""
            for method in METHODS
        ]
        lines.append(
            _cells(
                [
                    *map(str, found.cell),
                    *errors,
                    _bold(found.difference.text(".2f"), found.difference.is_worse),
                    _bold(
                        found.loss_difference.text(".2f"),
                        found.loss_difference.is_worse,
                    ),
                    f"{found.time:.2f}",
                ]
            )
        )
    return "\n".join(lines)


def _summary(rows: Sequence[Row]) -> str:
    error = Difference.of([found.difference.mean for found in rows])
    loss = Difference.of([found.loss_difference.mean for found in rows])
    worse = [found for found in rows if found.difference.is_worse]
    versions = sorted(set().union(*(found.versions for found in rows)))
    worse_loss = [found for found in rows if found.loss_difference.is_worse]
    return (
        f"Over all {len(rows)} cells LC's test error is {error.text('.2f')} points "
        f"from that of the best rival ({error.mean / error.error:+.1f} standard "
        f"errors), and the logarithm of its loss {loss.text('.2f')} "
        f"({loss.mean / loss.error:+.1f}). It is worse by more than two standard "
        f"errors in {len(worse)} cells in test error, in {len(worse_loss)} in loss. A "
        f"run takes {fmean(found.time for found in rows):.2f} times its bare epochs "
        f"(at most {max(found.time for found in rows):.2f}). LC is that of "
        f"{', '.join(versions)}."
    )


def _cells(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _bold(text: str, bold: bool) -> str:
    return f"**{text}**" if bold else text


def line(record: Record) -> str:
    """Return a record in a line."""
    time = record["process"] / (record["epochs"] * record["bare_epoch"])
    lr = "" if record["lr"] is None else f"{record['lr']:.3g}"
    error, loss = (
        f"{record[name]:.{digits}f}" if record[name] is not None else "diverged"
        for name, digits in (("test_error", 2), ("training_loss", 4))
    )
    return (
        f"{record['loss']:<10}{record['net']:<9}{record['scheme']:<9}"
        f"{record['epochs']:>3}  {record['method']:<7}{record['seed']:>2}{lr:>7}"
        f"{error:>9}{loss:>10}{time:7.2f}{record['wall']:8.1f} s"
    )


def renew(page: Path, found: str) -> None:
    """Put tables into a page, between the marks that it has for them."""
    before, begin, rest = page.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        msg = f"{page} has no marks {BEGIN!r} and {END!r}: write them first."
        raise ValueError(msg)
    page.write_text(f"{before}{BEGIN}\n\n{found}\n\n{END}{after}", "utf-8")
