"""Integers as streams of bits, each in the same width.

Packing is for storage, so it happens on the CPU in NumPy, in pieces that stay in a
cache.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Integers = NDArray[np.integer[Any]]

_PIECE = 1 << 16  # numbers that are bits at a time; a multiple of 8


def width_for(n_values: int) -> int:
    """Return the bits that tell `n_values` values apart: 0 for a single one."""
    return max(n_values - 1, 0).bit_length()


def n_bytes(n: int, width: int) -> int:
    """Return the bytes that `n` numbers of `width` bits take."""
    return -(-n * width // 8)


def pack(numbers: Integers | NDArray[np.bool_], width: int) -> Bytes:
    """Pack numbers into `width` bits each, the first in the highest bits.

    Parameters
    ----------
    numbers : ndarray of shape (n,), bool or any integer type
        With ``0 <= numbers < 2**width``.
    width : int
        Between 0 and 32.

    Returns
    -------
    ndarray of shape (ceil(n * width / 8),), uint8
    """
    word = _word(width)
    out = np.empty(n_bytes(len(numbers), width), dtype=np.uint8)
    for first in range(0, len(numbers) if width else 0, _PIECE):
        part = numbers[first : first + _PIECE].astype(word)
        bits = np.unpackbits(part.view(np.uint8)).reshape(len(part), -1)
        packed = np.packbits(bits[:, -width:].reshape(-1))
        start = first * width // 8
        out[start : start + len(packed)] = packed
    return out


def unpack(packed: Bytes, width: int, n: int, dtype: Any = np.int64) -> Integers:
    """Return the `n` numbers that :func:`pack` packed, as integers of type `dtype`."""
    word = _word(width)
    out = np.zeros(n, dtype=dtype)
    for first in range(0, n if width else 0, _PIECE):
        size = min(_PIECE, n - first)
        start = first * width // 8
        bits = np.unpackbits(packed[start : start + n_bytes(size, width)])
        words = np.zeros((size, 8 * word.itemsize), dtype=np.uint8)
        words[:, -width:] = bits[: size * width].reshape(size, width)
        out[first : first + size] = np.packbits(words.reshape(-1)).view(word)
    return out


def _word(width: int) -> np.dtype[Any]:
    """Return the type of the shortest whole words, highest bits first, of a width."""
    return np.dtype(np.uint8 if width <= 8 else ">u2" if width <= 16 else ">u4")
