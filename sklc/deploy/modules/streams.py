"""Packed streams, read by operations of torch that can be exported and compiled.

No shape depends on the numbers that are read, and nothing leaves its device.
"""

from functools import singledispatch
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sklc.codes.streams import Header, Indices, Positions, Stream
from sklc.ops import bits, supports


class Reader(Protocol):
    """Reads the tensor of a stream from what is stored of it."""

    def __call__(self, stored: Tensor) -> Tensor:
        """Return the tensor."""


@singledispatch
def packed(stream: Stream | None, tensor: Tensor) -> tuple[Tensor, Reader]:
    """Return what is stored of a stream, and what reads it.

    Those of kinds that are not known, and floats, are stored as they are.
    """
    return tensor.detach(), AsItIs()


@packed.register
def _(stream: Indices, tensor: Tensor) -> tuple[Tensor, Reader]:
    header, data = stream.pack()
    shape, kept = tuple(stream.tensor.shape), header.get("kept")
    if kept is None:
        width = bits.width_for(stream.n_values)
        return torch.from_numpy(data), Numbers(shape, width)
    support = _places(header, kept, stream.tensor.numel())
    assert stream.zero is not None
    width = bits.width_for(stream.n_values - 1)
    reader = FewNumbers(shape, width, stream.zero, support)
    return torch.from_numpy(data), reader


@packed.register
def _(stream: Positions, tensor: Tensor) -> tuple[Tensor, Reader]:
    header, data = stream.pack()
    return torch.from_numpy(data), _places(header, len(stream.tensor), stream.n)


def _places(header: Header, kept: int, n: int) -> "Places":
    return Places(header["width"], header["symbols"], kept, n)


class AsItIs(NamedTuple):
    """Reads what is not packed."""

    def __call__(self, stored: Tensor) -> Tensor:
        """Return the tensor."""
        return stored


class Numbers(NamedTuple):
    """Reads numbers of a fixed width."""

    shape: tuple[int, ...]
    width: int

    def __call__(self, stored: Tensor) -> Tensor:
        """Return the numbers."""
        n = torch.Size(self.shape).numel()
        return unpacked(stored, self.width, n).view(self.shape)


class Places(NamedTuple):
    """Reads a support, see :mod:`sklc.ops.supports`.

    Attributes
    ----------
    width, symbols : int
        Its layout.
    kept : int
        How many places it keeps,
    n : int
        and of how many.
    """

    width: int
    symbols: int
    kept: int
    n: int

    def __call__(self, stored: Tensor) -> Tensor:
        """Return the positions."""
        dtype = torch.int32 if self.n < 1 << 31 else torch.int64
        symbols = unpacked(stored, self.width or 1, self.symbols).to(dtype)
        if self.width == supports.MASK:
            ends = symbols == 1
            places = torch.arange(self.n, dtype=dtype, device=stored.device)
        else:
            ends = symbols < 2**self.width - 1
            places = (symbols + ends).cumsum(0, dtype=dtype) - 1
        # what is not kept goes to a slot of its own: no size depends on the numbers
        slots = torch.where(ends, ends.cumsum(0, dtype=dtype) - 1, self.kept).long()
        return places.new_zeros(self.kept + 1).scatter(0, slots, places)[: self.kept]


class FewNumbers(NamedTuple):
    """Reads numbers most of which mean zero: a support, and the numbers there."""

    shape: tuple[int, ...]
    width: int
    zero: int
    support: Places

    def __call__(self, stored: Tensor) -> Tensor:
        """Return the numbers."""
        places, kept = self.support(stored).long(), self.support.kept
        end = supports.n_bytes(self.support.width, self.support.symbols)
        others = unpacked(stored[end:], self.width, kept).int()
        others = others + (others >= self.zero)
        n = torch.Size(self.shape).numel()
        zeros = torch.full((n,), self.zero, dtype=others.dtype, device=stored.device)
        return zeros.scatter(0, places, others).view(self.shape)


def unpacked(stored: Tensor, width: int, n: int) -> Tensor:
    """Return the `n` numbers that :func:`sklc.ops.bits.pack` packed.

    Parameters
    ----------
    stored : uint8 Tensor of shape (ceil(n * width / 8),), or longer
    width : int
        Between 0 and 32.
    n : int

    Returns
    -------
    integer Tensor of shape (n,)
    """
    size = bits.n_bytes(n, width)
    if not size:
        return stored.new_zeros(n)
    if 8 % width:
        return _across_bytes(stored[:size], width, n)
    shifts = torch.arange(
        8 - width, -1, -width, dtype=torch.uint8, device=stored.device
    )
    return (stored[:size].unsqueeze(1) >> shifts & (1 << width) - 1).view(-1)[:n]


def _across_bytes(stored: Tensor, width: int, n: int) -> Tensor:
    """Return numbers of a width that is no part of a byte.

    Eight of them take `width` bytes, and lie alike in each such group: those bytes of
    the groups are joined that hold the numbers of one place, for each of eight.
    """
    groups = -(-n // 8)
    padding = stored.new_zeros(groups * width - len(stored))
    starts = [place * width for place in range(8)]
    reach = max(start % 8 + width + 7 for start in starts) // 8
    dtype = torch.int32 if reach < 4 else torch.int64
    grouped = torch.cat([stored, padding]).view(groups, width).t().to(dtype)
    words = torch.zeros((), dtype=dtype, device=stored.device)
    for byte in range(reach):  # what the last number does not reach may be any byte
        at = [min(start // 8 + byte, width - 1) for start in starts]
        rows = torch.tensor(at, device=stored.device)
        words = words << 8 | grouped.index_select(0, rows)
    drop = [8 * reach - start % 8 - width for start in starts]
    shifts = torch.tensor(drop, dtype=dtype, device=stored.device).unsqueeze(1)
    return (words >> shifts & (1 << width) - 1).t().reshape(-1)[:n]
