"""Streams as the fewest bytes: each in several codings, of which the smallest is taken.

A stream is written as :meth:`~sklc.codes.streams.Stream.pack` does, unless a coding for
its type takes fewer bytes:

- numbers in planes, their first bytes, second bytes and so on, each entropy-coded where
  it pays. Those of floats are turned by one bit, so that the first plane is exponents;
- indices as entropy-coded symbols, or as the support of all but the most frequent, and
  the others;
- positions as :mod:`sklc.ops.arrangements`.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklc.codes import dtypes, streams
from sklc.codes.streams import Floats, Header, Indices, Positions, Stream
from sklc.ops import arrangements, bits, rans, tables
from sklc.ops.bits import Bytes

#: Dtypes of values that are narrower in the file, by name.
VALUES = {"float16": torch.float16, "bfloat16": torch.bfloat16}

_PIECE = 1 << 20  # symbols counted at a time
_PLAIN = Floats.__name__  # the kind that goes without saying
_WORTH = 63 / 64  # of the bytes that entropy coding leaves at most
_SAID = 24  # bytes of a header that say what numbers were rounded to


def encode(stream: Stream, values: torch.dtype | None = None) -> tuple[Header, Bytes]:
    """Return a stream's bytes, and what must be known to read them.

    Parameters
    ----------
    stream : Stream
    values : torch.dtype, default=None
        Of floats in the file, where they are wider.
    """
    if isinstance(stream, Floats) and narrows(stream.tensor, values):
        header, packed = encode(Floats(stream.tensor.to(values)))
        own = dtypes.name_of(stream.tensor.dtype)
        return {**header, "stored": header["dtype"], "dtype": own}, packed
    stream = replace(stream, tensor=stream.tensor.detach().cpu().contiguous())  # type: ignore[type-var]
    header, packed = min(
        [stream.pack(), *candidates(stream)], key=lambda pair: len(pair[1])
    )
    if header["kind"] == _PLAIN:
        del header["kind"]
    return header, packed


def narrows(tensor: Tensor, values: torch.dtype | None) -> bool:
    """Whether a file gets smaller by numbers in a narrower dtype."""
    if values is None or not tensor.is_floating_point():
        return False
    return tensor.numel() * (tensor.itemsize - values.itemsize) > _SAID


def decode(header: Header, packed: Bytes) -> Tensor:
    """Read back what :func:`encode` wrote.

    Raises
    ------
    ValueError
        If the header tells of other bytes than these. What a tensor takes, see
        :func:`n_bytes`, is believed.
    """
    stored = header.get("stored", header["dtype"])
    if stored != header["dtype"] and stored not in VALUES:
        msg = f"Values are stored as one of {', '.join(VALUES)}, and not as {stored!r}."
        raise ValueError(msg)
    inner = {"kind": _PLAIN, **header, "dtype": stored}
    tensor = READERS.get(inner["kind"], streams.unpack)(inner, packed)
    return tensor.to(dtype_of(header))


def n_bytes(header: Header) -> int:
    """Return the bytes of the tensor that a stream becomes.

    Raises
    ------
    ValueError
        If the header has no shape or dtype that a tensor could have.
    """
    shape = header["shape"]
    if not all(type(length) is int and length >= 0 for length in shape):
        msg = f"A stream has no shape {shape}."
        raise ValueError(msg)
    return math.prod(shape) * dtype_of(header).itemsize


def dtype_of(header: Header) -> torch.dtype:
    """Return the dtype of the tensor that a stream becomes."""
    return dtypes.dtype_of(header["dtype"])


@singledispatch
def candidates(stream: Stream) -> list[tuple[Header, Bytes]]:
    """Return other codings of a stream: none, for one of an unknown type."""
    return []


@candidates.register
def _(stream: Floats) -> list[tuple[Header, Bytes]]:
    return _planes(stream)


@candidates.register
def _(stream: Positions) -> list[tuple[Header, Bytes]]:
    symbols, packed = arrangements.encode(stream.tensor.numpy(), stream.n)
    header = {**stream.header(n=stream.n, symbols=symbols), "kind": "Arrangement"}
    return [(header, packed)]


@candidates.register
def _(stream: Indices) -> list[tuple[Header, Bytes]]:
    index, k = stream.tensor.reshape(-1).numpy(), stream.n_values
    if k < 2 or not len(index):
        return []
    if k > 256:
        return _planes(stream)
    index = index.astype(np.uint8, copy=False)
    counts = count(index, k)
    found = []
    packed = entropy_coded(index, counts, bits.n_bytes(len(index), bits.width_for(k)))
    if packed is not None:
        found.append(({**stream.header(n_values=k), "kind": "Symbols"}, packed))
    if 4 * counts.max() > 3 * len(index):
        found.append(_pruned(stream, index, int(counts.argmax())))
    return found


def _planes(stream: Stream) -> list[tuple[Header, Bytes]]:
    """Return the coding of numbers as planes, if it pays."""
    n, planes = split(stream.tensor)
    packed = [plane for plane in planes if n]
    for at, plane in enumerate(packed):
        coded = entropy_coded(plane, count(plane, 256), n)
        packed[at] = plane if coded is None else coded
    sizes = [len(plane) for plane in packed]
    if sum(sizes) == n * len(sizes):
        return []
    header = {**stream.header(planes=sizes), "kind": "Planes"}
    return [(header, np.concatenate(packed))]


def _read_planes(header: Header, packed: Bytes) -> Tensor:
    tensor = torch.empty(header["shape"], dtype=dtype_of(header))
    words, turned = _words(tensor)
    n, size = len(words), words.itemsize
    ends = np.cumsum(header["planes"]).tolist()
    if len(ends) != size or ends[-1] != len(packed) or min(header["planes"]) < 0:
        msg = "A stream has other planes than it says."
        raise ValueError(msg)
    into = words.view(np.uint8).reshape(n, size)
    for at, plane in enumerate(np.split(packed, ends[:-1])):
        whole = len(plane) == n
        into[:, size - 1 - at] = plane if whole else _symbols(plane, 256, n)
    if turned:
        words[:] = words >> 1 | words << 8 * size - 1
    return tensor


def split(tensor: Tensor) -> tuple[int, list[Bytes]]:
    """Return how many numbers a tensor has, and their planes, exponents first."""
    words, turned = _words(tensor)
    size = words.itemsize
    if turned:
        words = words << 1 | words >> 8 * size - 1
    planes = words.view(np.uint8).reshape(len(words), size)
    return len(words), [np.ascontiguousarray(planes[:, -1 - at]) for at in range(size)]


def _words(tensor: Tensor) -> tuple[NDArray[Any], bool]:
    """Return a tensor as words, on its memory, and whether they are real numbers."""
    flat = tensor.reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    kind = np.dtype(f"<u{flat.itemsize}")
    return flat.view(torch.uint8).numpy().view(kind), flat.is_floating_point()


def _pruned(stream: Indices, index: Bytes, zero: int) -> tuple[Header, Bytes]:
    """Return a coding of indices most of which are one."""
    positions = np.flatnonzero(index != zero)
    others = index[positions]
    others -= others > zero
    k = stream.n_values - 1
    plain = bits.pack(others, bits.width_for(k))
    coded = entropy_coded(others, count(others, k), len(plain)) if len(others) else None
    symbols, support = arrangements.encode(positions, len(index))
    facts = {"zero": zero, "kept": len(others), "symbols": symbols}
    header = stream.header(n_values=k + 1, support=len(support), **facts)
    rest = plain if coded is None else coded
    return {**header, "kind": "Pruned"}, np.concatenate([support, rest])


def _read_pruned(header: Header, packed: Bytes) -> Tensor:
    tensor = torch.empty(header["shape"], dtype=dtype_of(header))
    flat = tensor.reshape(-1).numpy()
    kept, zero, k = header["kept"], header["zero"], header["n_values"] - 1
    support, rest = np.split(packed, [header["support"]])
    places = arrangements.decode(support, kept, len(flat), header["symbols"])
    if len(rest) == bits.n_bytes(kept, bits.width_for(k)):
        others = bits.unpack(rest, bits.width_for(k), kept)
    else:
        others = _symbols(rest, k, kept).astype(np.int64)
    flat[:] = zero
    flat[places] = others + (others >= zero)
    return tensor


def _read_symbols(header: Header, packed: Bytes) -> Tensor:
    found = _symbols(packed, header["n_values"], math.prod(header["shape"]))
    tensor = torch.from_numpy(found).reshape(header["shape"])
    return tensor.to(dtype_of(header))


def _read_arrangement(header: Header, packed: Bytes) -> Tensor:
    (kept,), n = header["shape"], header["n"]
    found = arrangements.decode(packed, kept, n, header["symbols"])
    return torch.from_numpy(found).to(dtype_of(header))


READERS: dict[str, Callable[[Header, Bytes], Tensor]] = {
    "Planes": _read_planes,
    "Symbols": _read_symbols,
    "Pruned": _read_pruned,
    "Arrangement": _read_arrangement,
}


def count(symbols: Bytes, n_symbols: int) -> NDArray[np.int64]:
    """Return how often each symbol occurs."""
    total = np.zeros(n_symbols, dtype=np.int64)
    for first in range(0, len(symbols), _PIECE):
        total += np.bincount(symbols[first : first + _PIECE], minlength=n_symbols)
    return total


def entropy_coded(
    symbols: Bytes, counts: NDArray[np.int64], plain: int
) -> Bytes | None:
    """Return a table of frequencies and coded symbols; None if it does not pay."""
    table = rans.frequencies(counts)
    head = tables.pack(table)
    if len(head) + rans.n_bits(counts, table) / 8 > plain * _WORTH:
        return None
    packed = np.concatenate([head, rans.encode(symbols, table)])
    return packed if len(packed) < plain else None


def _symbols(packed: Bytes, n_symbols: int, n: int) -> Bytes:
    table, rest = tables.unpack(packed, n_symbols)
    return rans.decode(rest, table, n)
