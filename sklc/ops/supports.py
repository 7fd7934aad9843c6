"""Supports, the places of a sparse weight that are not zero: as a mask, or as gaps.

Where an eighth or more of the `n` places are kept, the layout is a mask: one bit each.
Where fewer are, it is gaps, symbols of a fixed width ``b``: one says how many places to
skip before the next that is kept, and the largest, ``2**b - 1``, to skip that many and
read on. The best width is used, the narrowest if two tie. This takes less than a mask:
two bits are enough for 5/6 of it.

How many symbols each width takes follows from one histogram of the gaps, on the device
that has them: elsewhere than on a CPU, no size here waits for the device.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklc.ops import bits
from sklc.ops.backend import numpy_view
from sklc.ops.bits import Bytes

Mask = NDArray[np.bool_]

MASK = 0  # as the width of a layout
_SPARSE = 8  # gaps are for fewer than one place kept in so many
_FEW = 1 << 7  # gaps that need not be counted
_BINS = 1 << 10  # gaps below are counted, all others listed: at most n / _BINS
_PIECE = 1 << 22  # places numbered at a time

_WIDTHS = np.arange(1, 33)
_LARGEST = 2**_WIDTHS - 1  # symbol of each width,
_ESCAPES = np.arange(_BINS) // _LARGEST[:, None]  # and how often each gap needs it


def nbits(positions: Tensor, n: int) -> int | Tensor:
    """Return the bits that a support takes.

    Parameters
    ----------
    positions : integer Tensor of shape (kept,)
        Increasing, below `n`.
    n : int
        Number of places.

    Returns
    -------
    int, or Tensor of shape ()
        A number for positions on a CPU, and a scalar on any other device.
    """
    if not positions.is_cpu and _sparse(len(positions), n):
        smallest: Tensor = _sizes(_gaps(positions), len(positions), n).amin()
        return smallest
    width, symbols = layout(positions, n)
    return symbols * max(width, 1)


def nbits_of_mask(mask: Tensor) -> tuple[int | Tensor, int | Tensor]:
    """Return the bits that a support takes, and how many places it keeps.

    Parameters
    ----------
    mask : bool Tensor of shape (n,)
        True where a place is kept.

    Returns
    -------
    nbits, kept : int, or Tensor of shape ()
        Numbers for a mask on a CPU, and scalars on any other device.
    """
    n = len(mask)
    if mask.is_cpu:
        kept = int(np.count_nonzero(mask.numpy()))
        if not _sparse(kept, n):
            return n, kept
        return nbits(torch.from_numpy(np.flatnonzero(mask.numpy())), n), kept
    count = mask.sum()
    positions = _first_places(mask, -(-n // _SPARSE))
    gaps = torch.where(positions < n, _gaps(positions), 0)
    smallest = _sizes(gaps, count, n).amin()
    return torch.where(_sparse(count, n), smallest, n), count


def layout(positions: Tensor, n: int) -> tuple[int, int]:
    """Return the width of a support's layout, and its symbols.

    The width of a mask is :data:`MASK`, and its symbols are the `n` places.

    Parameters
    ----------
    positions : integer Tensor of shape (kept,)
        On a CPU; increasing, below `n`.
    n : int
        Number of places.
    """
    kept = len(positions)
    if not _sparse(kept, n):
        return MASK, n
    sizes = _sizes(_gaps(positions), kept, n)
    width = int(sizes.argmin()) + 1  # the first of equals
    return width, int(sizes[width - 1]) // width


def n_bytes(width: int, symbols: int) -> int:
    """Return the bytes of a layout."""
    return bits.n_bytes(symbols, width or 1)


def pack(positions: Tensor, n: int) -> tuple[int, int, Bytes]:
    """Pack a support on a CPU: return its :func:`layout`, width first, and the bytes.

    Parameters
    ----------
    positions : integer Tensor of shape (kept,)
        On a CPU; increasing, below `n`.
    n : int
        Number of places.
    """
    width, symbols = layout(positions, n)
    if width == MASK:
        mask = np.zeros(n, dtype=np.bool_)
        mask[positions.numpy()] = True
        return width, symbols, np.packbits(mask)
    escape = 2**width - 1
    gaps = _gaps(positions)
    numbers = np.full(symbols, escape, dtype=np.int64)
    numbers[np.cumsum(gaps // escape + 1) - 1] = gaps % escape
    return width, symbols, bits.pack(numbers, width)


def pack_mask(mask: Mask) -> tuple[int, int, Bytes]:
    """Pack a support, as :func:`pack`, given as a mask of shape (n,)."""
    if _sparse(np.count_nonzero(mask), len(mask)):
        return pack(torch.from_numpy(np.flatnonzero(mask)), len(mask))
    return MASK, len(mask), np.packbits(mask)


def unpack(
    packed: Bytes, width: int, symbols: int, dtype: Any = np.int64
) -> bits.Integers:
    """Return the positions, as integers of type `dtype`, that :func:`pack` packed."""
    if width == MASK:
        return _places(unpack_mask(packed, width, symbols, symbols), dtype)
    numbers = bits.unpack(packed, width, symbols)
    ends = numbers < 2**width - 1
    positions: bits.Integers = np.cumsum(numbers + ends)[ends] - 1
    return positions.astype(dtype, copy=False)


def unpack_mask(packed: Bytes, width: int, symbols: int, n: int) -> Mask:
    """Return, as a mask of shape (n,), the support that :func:`pack` packed."""
    if width == MASK:
        return np.unpackbits(packed, count=n).view(np.bool_)
    mask = np.zeros(n, dtype=np.bool_)
    mask[unpack(packed, width, symbols)] = True
    return mask


def _places(mask: Mask, dtype: Any) -> bits.Integers:
    """Return where a mask is true."""
    places = np.empty(np.count_nonzero(mask), dtype=dtype)
    stop = 0
    for first in range(0, len(mask), _PIECE):
        found = np.flatnonzero(mask[first : first + _PIECE])
        start, stop = stop, stop + len(found)
        np.add(found, first, out=places[start:stop], casting="unsafe")
    return places


def _sparse(kept: Any, n: int) -> Any:
    """Whether the layout is gaps."""
    return kept * _SPARSE < n


def _gaps(positions: Tensor) -> Any:
    """Return the places skipped before each position."""
    places = numpy_view(positions)
    gaps = places + 0
    gaps[1:] -= places[:-1] + 1
    return gaps


def _sizes(gaps: Any, kept: Any, n: int) -> Any:
    """Return the bits that so many places take as gaps, in each of the widths.

    The gaps are numbers of NumPy or torch; zeros may follow those of the places kept.
    """
    if isinstance(gaps, Tensor):
        widths = torch.arange(1, len(_WIDTHS) + 1, device=gaps.device)
        return widths * (_escapes_elsewhere(gaps, 2**widths - 1, n) + kept)
    escapes: Any = 0
    if len(gaps) > _FEW:
        counts = np.bincount(np.minimum(gaps, _BINS), minlength=_BINS + 1)
        escapes, gaps = _ESCAPES @ counts[:-1], gaps[gaps >= _BINS]
    return _WIDTHS * (escapes + (gaps // _LARGEST[:, None]).sum(1) + kept)


def _escapes_elsewhere(gaps: Tensor, largest: Tensor, n: int) -> Tensor:
    """Return how often the largest symbol of each width is written."""
    bins = gaps.clamp(max=_BINS).long()
    counts = bins.new_zeros(_BINS + 1).scatter_add_(0, bins, torch.ones_like(bins))
    small = torch.arange(_BINS, device=gaps.device)
    large = gaps.topk(min(n // _BINS, len(gaps)), sorted=False).values
    large = torch.where(large < _BINS, 0, large)  # counted already
    return (small // largest[:, None] * counts[:-1]).sum(1) + (
        large // largest[:, None]
    ).sum(1)


def _first_places(mask: Tensor, size: int) -> Tensor:
    """Return the first `size` places where a mask of (n,) is true, then n for none."""
    n = len(mask)
    found = torch.full((size + 1,), n, device=mask.device)
    before = torch.zeros((), dtype=torch.int64, device=mask.device)
    for first in range(0, n, _PIECE):
        part = mask[first : first + _PIECE]
        number = part.cumsum(0) + before
        slots = torch.where(part, number - 1, size).clamp(max=size)
        places = torch.arange(first, first + len(part), device=mask.device)
        found.scatter_(0, slots, places)
        before = number[-1]
    return found[:size]
