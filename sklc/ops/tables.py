"""Tables of frequencies as bytes: which symbols occur, and how often."""

import numpy as np
from numpy.typing import NDArray

from sklc.ops import bits, rans
from sklc.ops.bits import Bytes

_MOST = 256  # symbols


def pack(table: rans.Frequencies) -> Bytes:
    """Pack the frequencies of at most 256 symbols.

    The number of symbols that occur less one; then themselves, or one bit for each
    symbol, whichever takes fewer bytes; then their frequencies less one.
    """
    some = np.flatnonzero(table)
    mask = np.packbits(table > 0)
    head = some.astype(np.uint8) if len(some) < len(mask) else mask
    number = np.array([len(some) - 1], np.uint8)
    return np.concatenate([number, head, bits.pack(table[some] - 1, rans.BITS)])


def unpack(packed: Bytes, n_symbols: int) -> tuple[rans.Frequencies, Bytes]:
    """Return the frequencies that :func:`pack` packed, and the bytes that follow.

    Raises
    ------
    ValueError
        If these are no frequencies.
    """
    table: NDArray[np.uint32] = np.zeros(min(n_symbols, _MOST), dtype=np.uint32)
    size = int(packed[0]) + 1 if len(packed) else 0
    n_mask = -(-n_symbols // 8)
    head, rest = np.split(packed[1:], [min(size, n_mask)])
    if size < n_mask:
        some = head.astype(np.int64)
    else:
        some = np.flatnonzero(np.unpackbits(head))
    end = bits.n_bytes(size, rans.BITS)
    good = len(some) == size > 0 and len(rest) >= end
    if good and (np.diff(some) > 0).all() and some[-1] < len(table):
        table[some] = bits.unpack(rest[:end], rans.BITS, size) + 1
    if table.sum() != rans.TOTAL:
        msg = "A table of frequencies is damaged."
        raise ValueError(msg)
    return table, rest[end:]
