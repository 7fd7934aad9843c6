"""What a compressed model takes: row by row, as papers count, and as its file does."""

import math
from dataclasses import dataclass, fields
from functools import singledispatch
from typing import Any

import numpy as np

from sklc.codes.streams import Floats, Indices, Positions, Stream
from sklc.codes.theta import nbits_by_weight
from sklc.deploy import coding
from sklc.deploy.facts import works
from sklc.deploy.model import CompressedModel
from sklc.deploy.table import Table
from sklc.deploy.writing import Written


@dataclass(frozen=True)
class SizeRow:
    """What one tensor of a model takes, or all, or the header of the file.

    Attributes
    ----------
    name, code : str
        Code is the kind of its code; empty, if it is not compressed.
    parameters : int
        Numbers that it has without compression.
    dense_bytes : int
        That they take.
    nbits : int
        Of its code as papers count: before entropy coding, without headers.
    bytes : int
        In the file.
    entropy_bytes : float
        What no coder takes less than that knows only how often each symbol, or byte,
        occurs (and not where).
    dense_flops, flops : float or None
        Multiplications per sample without compression, and with it in a usual runtime
        (which multiplies zeros as any others); None if it is not known how often the
        weight is used.
    change : float or None
        By rounding its values, relative to the weight; None if they are not rounded.
    """

    name: str
    code: str = ""
    parameters: int = 0
    dense_bytes: int = 0
    nbits: int = 0
    bytes: int = 0
    entropy_bytes: float = 0.0
    dense_flops: float | None = None
    flops: float | None = None
    change: float | None = None


@dataclass(frozen=True)
class SizeReport:
    """What a compressed model takes: a table that can be printed.

    Attributes
    ----------
    rows : tuple of SizeRow
        Of the compressed weights, of all else, and of the header of the file.
    """

    rows: tuple[SizeRow, ...]

    @property
    def file_bytes(self) -> int:
        """Size of the file: the sum over all rows."""
        return sum(row.bytes for row in self.rows)

    @property
    def total(self) -> SizeRow:
        """The sum of all rows; operations, of the rows that have some."""

        def total(name: str) -> Any:
            return sum(getattr(row, name) for row in self.rows)

        weights = [row for row in self.rows if row.code or row.dense_flops]
        return SizeRow(
            "total",
            parameters=total("parameters"),
            dense_bytes=total("dense_bytes"),
            nbits=total("nbits"),
            bytes=total("bytes"),
            entropy_bytes=total("entropy_bytes"),
            dense_flops=_sum(weights, "dense_flops"),
            flops=_sum(weights, "flops"),
        )

    def table(self) -> Table:
        """Return the rows, and their total, as a table of the columns that say much."""
        columns = self.to_dict()
        optional = "dense_flops", "flops", "change"
        for name in optional:
            if all(value is None for value in columns[name]):
                del columns[name]
        names = [name.replace("_", " ") for name in columns]
        return Table(names, list(zip(*columns.values(), strict=True)))

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        return self.table()._repr_html_()

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the columns by name, the total included."""
        rows = *self.rows, self.total
        names = [field.name for field in fields(SizeRow)]
        return {name: [getattr(row, name) for row in rows] for name in names}

    def to_frame(self) -> Any:
        """Return a frame of pandas: a row for each name, the total included."""
        from pandas import DataFrame

        return DataFrame(self.to_dict()).set_index("name")


def size_report(model: CompressedModel, written: Written) -> SizeReport:
    """Return what a model takes, given what was written of it."""
    bits, multiplied = nbits_by_weight(model.theta), works(model)
    counted: set[int] = set()
    rows = []
    for name, code in model.theta.items():
        streams = written.theta[name].streams().values()
        own = [stream for stream in streams if id(stream.tensor) not in counted]
        counted |= {id(stream.tensor) for stream in own}
        done = multiplied[name]
        row = SizeRow(
            name,
            type(code).__name__,
            parameters=code.shape.numel(),
            dense_bytes=code.dense().nbytes,
            nbits=bits[name],
            bytes=written.n_bytes[name],
            entropy_bytes=sum(map(entropy_bits, own)) / 8,
            dense_flops=done.dense if done else None,
            flops=done.run if done else None,
            change=written.change.get(name),
        )
        rows.append(row)
    for name, tensor in model.rest.items():
        done = multiplied.get(name)
        row = SizeRow(
            name,
            parameters=tensor.numel(),
            dense_bytes=tensor.nbytes,
            nbits=8 * tensor.nbytes,
            bytes=written.n_bytes[name],
            entropy_bytes=entropy_bits(Floats(tensor)) / 8,
            dense_flops=done.dense if done else None,
            flops=done.run if done else None,
        )
        rows.append(row)
    header = len(written.content) - sum(written.n_bytes.values())
    return SizeReport((*rows, SizeRow("(header)", bytes=header, entropy_bytes=header)))


@singledispatch
def entropy_bits(stream: Stream) -> float:
    """Return what no coder takes less than that knows only how often symbols occur."""
    return float(stream.nbits)


@entropy_bits.register
def _(stream: Floats) -> float:
    _, planes = coding.split(stream.tensor.detach().cpu().contiguous())
    return sum(_entropy(coding.count(plane, 256)) for plane in planes)


@entropy_bits.register
def _(stream: Indices) -> float:
    index = stream.tensor.detach().cpu().reshape(-1).long()
    return _entropy(index.bincount(minlength=1).numpy())


@entropy_bits.register
def _(stream: Positions) -> float:
    n, kept = stream.n, len(stream.tensor)
    nats = math.lgamma(n + 1) - math.lgamma(kept + 1) - math.lgamma(n - kept + 1)
    return nats / math.log(2)


def _entropy(counts: np.ndarray) -> float:
    some = counts[counts > 0]
    return float(some @ np.log2(some.sum() / some)) if len(some) else 0.0


def _sum(rows: list[SizeRow], name: str) -> float | None:
    found = [getattr(row, name) for row in rows]
    return sum(found) if found and None not in found else None
