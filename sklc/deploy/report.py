"""What compression has cost and gained, for people to read."""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sklc.codes import Dense
from sklc.codes.theta import nbits_by_weight
from sklc.costs import ranks
from sklc.deploy.facts import Work, codebook, form, splits, works
from sklc.deploy.model import CompressedModel
from sklc.deploy.saving import sized
from sklc.deploy.table import Cell, Table

Works = Mapping[str, Work | None]


@dataclass(frozen=True)
class Standing:
    """How a model does.

    Attributes
    ----------
    score : float or None
        None if there is none.
    loss : float
        Mean training loss.
    bits : int
        Of all that it needs to predict.
    """

    score: float | None
    loss: float
    bits: int


@dataclass(frozen=True, eq=False)
class Report:
    """A compressed model beside the model before: it prints, as text or HTML.

    Attributes
    ----------
    models : Table
        A column each for the reference, direct compression and the result.
    layers : Table
        A row for each compressed weight, and one for all that is not compressed.
    notes : tuple of str
        What gets faster, what takes less storage only, and what is not known.
    """

    models: Table
    layers: Table
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        model: CompressedModel,
        standings: Mapping[str, Standing],
        notes: tuple[str, ...] = (),
    ) -> "Report":
        """Report on a compressed model.

        Parameters
        ----------
        model : CompressedModel
        standings : dict of str to Standing
            By the names of the models: the reference first, the result last.
        notes : tuple of str, default=()
            What else is to be said.
        """
        done = works(model)
        file_bytes = None
        try:
            file_bytes = sized(model).file_bytes
        except TypeError as error:
            notes = (*notes, f"It cannot be saved to a file: {error}")
        return cls(
            _models(standings, done, file_bytes),
            _layers(model),
            (*_speed(model, done), *notes),
        )

    def __str__(self) -> str:
        return "\n\n".join([str(self.models), str(self.layers), "\n".join(self.notes)])

    def _repr_html_(self) -> str:
        """Return the report for a notebook."""
        notes = "".join(f"<p>{html.escape(note)}</p>\n" for note in self.notes)
        tables = f"{self.models._repr_html_()}\n{self.layers._repr_html_()}\n"
        return f"<div>\n{tables}{notes}</div>"

    def to_frame(self, part: str = "models") -> Any:
        """Return one of its tables as a frame of pandas.

        Parameters
        ----------
        part : {"models", "layers"}, default="models"

        Returns
        -------
        DataFrame

        Raises
        ------
        ValueError
            If there is no such part.
        """
        tables = {"models": self.models, "layers": self.layers}
        if part not in tables:
            msg = f"part must be 'models' or 'layers', got {part!r}."
            raise ValueError(msg)
        return tables[part].to_frame()


def _models(
    standings: Mapping[str, Standing], done: Works, file_bytes: int | None
) -> Table:
    """Return the models side by side."""
    models = list(standings.values())
    before = models[0].bits
    rows: list[list[Cell]] = [
        ["score", *(model.score for model in models)],
        ["training loss", *(model.loss for model in models)],
        ["bits", *(model.bits for model in models)],
        ["compression ratio", *(_ratio(before, model.bits) for model in models)],
    ]
    if all(model.score is None for model in models):
        del rows[0]
    unknown: list[Cell] = [None] * (len(models) - 2)
    known = [each for each in done.values() if each]
    if len(known) == len(done):
        dense = round(sum(each.dense for each in known))
        run = round(sum(each.run for each in known))
        rows.append(["multiplications per sample", dense, *unknown, run])
    if file_bytes is not None:
        rows.append(["bytes in a file", None, *unknown, file_bytes])
    return Table(["", *standings], rows)


def _layers(model: CompressedModel) -> Table:
    """Return a row for each compressed weight, and one for the rest."""
    sizes, own = nbits_by_weight(model.theta), ranks(model.theta)
    rows: list[list[Cell]] = []
    owners: dict[int, str] = {}
    for name, code in model.theta.items():
        weight = code.dense()
        kept = 100 * int(weight.count_nonzero()) / max(1, weight.numel())
        values = codebook(code)
        sharing = {
            owners.setdefault(id(tensor), name)
            for tensor in code.tensors()
            if tensor.is_floating_point()
        } - {name}
        if values and sharing:
            values += f" (shared with {', '.join(sorted(sharing))})"
        shape = " × ".join(map(str, weight.shape))
        before = 8 * weight.nbytes
        ratio = _ratio(before, sizes[name])
        rows.append(
            [name, shape, form(code), sizes[name], ratio, own.get(name), kept, values]
        )
    bits = 8 * sum(tensor.nbytes for tensor in model.rest.values())
    if model.rest:
        rows.append(["all else", None, "dense", bits, 1.0, None, None, None])
    columns = ["weight", "shape", "code", "bits", "ratio", "rank", "not zero (%)"]
    return Table([*columns, "values"], rows)


def _speed(model: CompressedModel, works: Works) -> list[str]:
    """Return in sentences what gets faster, and what takes less storage only."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, code in model.theta.items():
        what, done = form(code), works[name]
        if isinstance(code, Dense):
            words = "Neither smaller nor faster, as they are kept dense"
        elif model.is_net and done is None and splits(code, model.layers.get(name)):
            words = "Perhaps faster (how often their layers use them is not known)"
        elif done and done.run < done.dense:
            words = "Faster, as two thin layers with fewer multiplications"
            times = _ratio(done.dense, done.run)
            what += f", {times:,.3g} times fewer" if done.run else ", none are left"
        else:
            words = (
                "Smaller in storage only, as usual runtimes multiply by decoded "
                "weights, and by zeros as by any others"
            )
        found.setdefault(words, {}).setdefault(what, []).append(name)
    return [
        f"{words}: "
        + "; ".join(f"{', '.join(names)} ({what})" for what, names in groups.items())
        + "."
        for words, groups in sorted(found.items())
    ]


def _ratio(before: float, after: float) -> float:
    return before / after if after else float("inf")
