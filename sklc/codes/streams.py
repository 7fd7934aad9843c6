"""How the tensors of a code are stored: floats as they are, integers as bits.

A stream knows its size without being packed (:attr:`Stream.nbits`), and can be packed
into bytes and read back; a test holds the two together. Sizes are before entropy coding
and without the header (shapes, widths, counts), which packing returns beside the bytes.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklc.codes import dtypes
from sklc.ops import bits, supports

Header = dict[str, Any]


class Stream(ABC):
    """One tensor on its way to bytes."""

    tensor: Tensor

    @property
    @abstractmethod
    def nbits(self) -> int | Tensor:
        """Size in bits: a number, or a scalar where the tensor is.

        A size that depends on the values of a tensor that is not on a CPU stays where
        they are, so that nobody waits for it: many sizes can leave the device at once.
        """

    @abstractmethod
    def pack(self) -> tuple[Header, bits.Bytes]:
        """Return the bytes, and what must be known to read them."""

    @staticmethod
    @abstractmethod
    def unpack(header: Header, packed: bits.Bytes) -> Tensor:
        """Read back what :meth:`pack` wrote.

        Raises
        ------
        ValueError
            If the header tells of other bytes than these. What a tensor takes, its
            shape and dtype, is believed.
        """

    def header(self, **entries: Any) -> Header:
        """Return what all streams must know, and the entries of this kind."""
        return {
            "kind": type(self).__name__,
            "dtype": dtypes.name_of(self.tensor.dtype),
            "shape": list(self.tensor.shape),
            **entries,
        }


def unpack(header: Header, packed: bits.Bytes) -> Tensor:
    """Read back any stream, from its header and bytes."""
    kinds = {kind.__name__: kind for kind in Stream.__subclasses__()}
    if header["kind"] not in kinds:
        msg = (
            f"Unknown kind of stream {header['kind']!r}: import the module that "
            f"defines it first, or upgrade sklc. Known are {', '.join(sorted(kinds))}."
        )
        raise ValueError(msg)
    return kinds[header["kind"]].unpack(header, packed)


@dataclass(frozen=True, eq=False)
class Floats(Stream):
    """Floating-point numbers, in their own precision."""

    tensor: Tensor

    @property
    def nbits(self) -> int:
        return self.tensor.numel() * self.tensor.element_size() * 8

    def pack(self) -> tuple[Header, bits.Bytes]:
        flat = self.tensor.detach().cpu().contiguous().reshape(-1)
        return self.header(), flat.view(torch.uint8).numpy().copy()

    @staticmethod
    def unpack(header: Header, packed: bits.Bytes) -> Tensor:
        dtype = dtypes.dtype_of(header["dtype"])
        _check(packed, math.prod(header["shape"]) * dtype.itemsize)
        out = torch.empty(header["shape"], dtype=dtype)
        out.reshape(-1).view(torch.uint8).numpy()[:] = packed
        return out


@dataclass(frozen=True, eq=False)
class Indices(Stream):
    """Numbers below `n_values`, each in the fewest bits that tell the values apart.

    With `zero`, the number that means zero, the others may take less room as a support
    (see :mod:`sklc.ops.supports`) and numbers of their own; the smaller of both layouts
    is used.
    """

    tensor: Tensor
    n_values: int
    zero: int | None = None

    @property
    def nbits(self) -> int | Tensor:
        plain = self.tensor.numel() * bits.width_for(self.n_values)
        if self.zero is None or not plain:
            return plain
        support, kept = supports.nbits_of_mask(self.tensor.reshape(-1) != self.zero)
        size = support + kept * bits.width_for(self.n_values - 1)
        return size.clamp(max=plain) if isinstance(size, Tensor) else min(plain, size)

    def pack(self) -> tuple[Header, bits.Bytes]:
        index = self.tensor.detach().cpu().reshape(-1)
        here = replace(self, tensor=index)
        plain = len(index) * bits.width_for(self.n_values)
        if here.nbits == plain:
            width = bits.width_for(self.n_values)
            return self.header(n_values=self.n_values), bits.pack(index.numpy(), width)
        mask = index.numpy() != self.zero
        width, symbols, support = supports.pack_mask(mask)
        others = index.numpy()[mask]
        others -= others > self.zero
        numbers = bits.pack(others, bits.width_for(self.n_values - 1))
        header = self.header(
            n_values=self.n_values,
            zero=self.zero,
            width=width,
            symbols=symbols,
            kept=len(others),
        )
        return header, np.concatenate([support, numbers])

    @staticmethod
    def unpack(header: Header, packed: bits.Bytes) -> Tensor:
        index = torch.empty(header["shape"], dtype=dtypes.dtype_of(header["dtype"]))
        flat, k = index.reshape(-1).numpy(), header["n_values"]
        if "zero" not in header:
            _check(packed, bits.n_bytes(len(flat), bits.width_for(k)))
            flat[:] = bits.unpack(packed, bits.width_for(k), len(flat), flat.dtype)
            return index
        kept, zero, width = header["kept"], header["zero"], bits.width_for(k - 1)
        end = len(packed) - bits.n_bytes(kept, width)
        places = _places(header, packed[: max(end, 0)], len(flat), kept)
        _check(packed[end:], bits.n_bytes(kept, width))
        others = bits.unpack(packed[end:], width, kept, flat.dtype)
        others += others >= zero
        flat[:] = zero
        flat[places] = others
        return index


@dataclass(frozen=True, eq=False)
class Positions(Stream):
    """Increasing positions below `n`: a support, see :mod:`sklc.ops.supports`."""

    tensor: Tensor
    n: int

    @property
    def nbits(self) -> int | Tensor:
        return supports.nbits(self.tensor, self.n)

    def pack(self) -> tuple[Header, bits.Bytes]:
        width, symbols, packed = supports.pack(self.tensor.cpu(), self.n)
        return self.header(n=self.n, width=width, symbols=symbols), packed

    @staticmethod
    def unpack(header: Header, packed: bits.Bytes) -> Tensor:
        (kept,), dtype = header["shape"], dtypes.dtype_of(header["dtype"])
        return torch.from_numpy(_places(header, packed, header["n"], kept)).to(dtype)


def _places(header: Header, packed: bits.Bytes, n: int, kept: int) -> Any:
    """Return a support, if it keeps so many of `n` places."""
    width, symbols = header["width"], header["symbols"]
    _check(packed, supports.n_bytes(width, symbols))
    places = supports.unpack(packed, width, symbols)
    whole = width != supports.MASK or symbols == n
    if len(places) != kept or not whole or (kept and places[-1] >= n):
        msg = f"A support of {kept} in {n} places has {len(places)}."
        raise ValueError(msg)
    return places


def _check(packed: bits.Bytes, n_bytes: int) -> None:
    """Raise a ValueError unless a stream has so many bytes."""
    if len(packed) != n_bytes:
        msg = f"A stream of {n_bytes} bytes has {len(packed)}."
        raise ValueError(msg)
