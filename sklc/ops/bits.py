"""Integers as streams of bits: fixed width, and the gaps between sparse positions.

Packing is for storage, so it happens on the CPU in NumPy, in pieces that bound the
memory it takes.
"""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
_PIECE = 1 << 20  # numbers unpacked into bits at a time; a multiple of 8


def width_for(n_values: int) -> int:
    """Return the bits that tell `n_values` values apart: 0 for a single one."""
    return max(n_values - 1, 0).bit_length()


def pack(numbers: NDArray[np.integer], width: int) -> Bytes:
    """Pack numbers into `width` bits each, the first in the highest bits.

    Parameters
    ----------
    numbers : ndarray of shape (n,), any integer type
        With ``0 <= numbers < 2**width``.
    width : int
        Between 0 and 32.

    Returns
    -------
    ndarray of shape (ceil(n * width / 8),), uint8
    """
    pieces = []
    for first in range(0, len(numbers), _PIECE):
        part = numbers[first : first + _PIECE].astype(">u4").view(np.uint8)
        bits = np.unpackbits(part.reshape(-1, 4), axis=1)[:, 32 - width :]
        pieces.append(np.packbits(bits.reshape(-1)))
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.uint8)


def unpack(packed: Bytes, width: int, n: int) -> NDArray[np.int64]:
    """Return the `n` numbers that :func:`pack` packed."""
    out = np.zeros(n, dtype=np.int64)
    if not width:
        return out
    for first in range(0, n, _PIECE):
        size = min(_PIECE, n - first)
        start = first * width // 8
        bits = np.unpackbits(packed[start : start + -(-size * width // 8)])
        word = np.zeros((size, 32), dtype=np.uint8)
        word[:, 32 - width :] = bits[: size * width].reshape(size, width)
        out[first : first + size] = np.packbits(word, axis=1).view(">u4")[:, 0]
    return out


def gap_width(positions: NDArray[np.integer]) -> tuple[int, int]:
    """Return the best width for the gaps between positions, and the symbols it takes.

    A symbol of ``b`` bits says how many places to skip before the next position; the
    largest symbol, ``2**b - 1``, says to skip that many and read on. One bit is a
    bit mask; no positions take no symbols.

    Parameters
    ----------
    positions : ndarray of shape (n,)
        Increasing, at least 0.
    """
    gaps = _gaps(positions)
    sizes = [(b, int((gaps // (2**b - 1) + 1).sum())) for b in range(1, 33)]
    return min(sizes, key=lambda size: size[0] * size[1])


def pack_gaps(positions: NDArray[np.integer], width: int) -> Bytes:
    """Pack increasing positions as gaps of `width` bits (see :func:`gap_width`)."""
    escape = 2**width - 1
    gaps = _gaps(positions)
    skips = gaps // escape
    symbols = np.full(int((skips + 1).sum()), escape, dtype=np.int64)
    symbols[np.cumsum(skips + 1) - 1] = gaps % escape
    return pack(symbols, width)


def unpack_gaps(packed: Bytes, width: int, n_symbols: int) -> NDArray[np.int64]:
    """Return the positions that :func:`pack_gaps` packed."""
    symbols = unpack(packed, width, n_symbols)
    ends = symbols < 2**width - 1
    return np.cumsum(symbols + ends)[ends] - 1


def _gaps(positions: NDArray[np.integer]) -> NDArray[np.int64]:
    ends = np.append(-1, positions.astype(np.int64))
    return ends[1:] - ends[:-1] - 1
