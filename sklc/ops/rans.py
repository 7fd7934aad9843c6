r"""Entropy coding of symbols: asymmetric numeral systems, many lanes at a time.

A lane is an integer :math:`x` of :math:`[2^{16}, 2^{32})`, at first its lower end. A
symbol of frequency :math:`f` among :math:`2^{12}`, which comes after others of
:math:`c` in total, takes it to :math:`2^{12} \lfloor x/f \rfloor + c + (x \bmod f)`;
before, the lower 16 bits go to the output if it would not fit otherwise.
So a symbol costs :math:`12 - \log_2 f` bits. Reading goes the same way back, and must
end where writing began: what does not is no such stream. Symbol ``i`` belongs to lane
``i`` modulo the number of lanes, so that no loop of Python runs over symbols. All
arithmetic is that of integers: bytes are the same everywhere.
"""

import numpy as np
from numpy.typing import NDArray

from sklc.ops.bits import Bytes

Frequencies = NDArray[np.uint32]
Symbols = NDArray[np.uint8]

BITS = 12
TOTAL = 1 << BITS
_LOWEST = 1 << 16
_UNIT = 1 << 16  # of costs, which are integers so that sums of them are exact
_COSTS = np.round(_UNIT * (BITS - np.log2(np.arange(TOTAL + 1).clip(1)))).astype(int)
_STEPS = 1 << 12  # that a stream may take: no stream is slow to read
_BYTES = 512  # of output for each lane, which takes up to 4 itself


def frequencies(counts: NDArray[np.int64]) -> Frequencies:
    """Return frequencies for symbols that occur so often.

    Parameters
    ----------
    counts : ndarray of shape (n_symbols,), int64
        At most 256 symbols, one of which occurs.

    Returns
    -------
    ndarray of shape (n_symbols,), uint32
        They sum to :data:`TOTAL`, and are positive where counts are.
    """
    n = int(counts.sum())
    shares = counts * TOTAL
    found = np.maximum(shares // n, counts > 0)
    missing = TOTAL - int(found.sum())
    if missing > 0:
        largest_rests = np.argsort(-(shares % n), kind="stable")
        found[largest_rests[:missing]] += 1
    for _ in range(-missing):
        found[found.argmax()] -= 1
    return found.astype(np.uint32)


def n_bits(counts: NDArray[np.int64], table: Frequencies) -> float:
    """Return the bits of symbols that occur so often, if these are the frequencies."""
    some = counts > 0
    return int(counts[some] @ _COSTS[table[some]]) / _UNIT


def encode(symbols: Symbols, table: Frequencies) -> Bytes:
    """Encode symbols.

    Parameters
    ----------
    symbols : ndarray of shape (n,), uint8
        Each has a frequency.
    table : ndarray of shape (n_symbols,), uint32
        Frequencies that sum to :data:`TOTAL`.

    Returns
    -------
    ndarray of uint8
        The binary logarithm of the number of lanes, the lanes, the output. Nothing, if
        there are no symbols.
    """
    if not len(symbols):
        return np.empty(0, np.uint8)
    counts = np.bincount(symbols, minlength=len(table))
    lanes = _lanes(len(symbols), n_bits(counts, table) / 8)
    state = np.full(lanes, _LOWEST, dtype=np.uint32)
    before = _before(table)
    words: list[NDArray[np.uint16]] = []
    for first in reversed(range(0, len(symbols), lanes)):
        part = symbols[first : first + lanes]
        x, f = state[: len(part)], table[part]
        full = np.flatnonzero(x >> (32 - BITS) >= f)
        if len(full):
            words.append(x[full].astype("<u2"))
            x[full] >>= 16
        quotient, rest = np.divmod(x, f)
        x[:] = (quotient << BITS) + before[part] + rest
    words.append(state.astype("<u4").view("<u2"))
    output = np.concatenate(words[::-1]).view(np.uint8)
    return np.concatenate([np.array([lanes.bit_length() - 1], np.uint8), output])


def decode(packed: Bytes, table: Frequencies, n: int) -> Symbols:
    """Return the `n` symbols that :func:`encode` encoded.

    Raises
    ------
    ValueError
        If these are not their bytes. Memory is taken for the symbols alone.
    """
    if not n:
        _check(not len(packed))
        return np.empty(0, np.uint8)
    _check(len(packed) >= 5 and packed[0] <= 16)
    lanes = 1 << int(packed[0])
    _check(len(packed) >= 1 + 4 * lanes and len(packed) % 2 == 1)
    _check(n <= lanes * _STEPS)
    state = packed[1 : 1 + 4 * lanes].copy().view("<u4").astype(np.uint32)
    words = packed[1 + 4 * lanes :].copy().view("<u2").astype(np.uint32)
    symbol_of = np.repeat(np.arange(len(table), dtype=np.uint8), table)
    f_of = table[symbol_of]
    rest_of = np.arange(TOTAL, dtype=np.uint32) - _before(table)[symbol_of]
    slots = np.empty(n, dtype=np.uint16)
    _check(bool((state >= _LOWEST).all()))
    read = 0
    for first in range(0, n, lanes):
        x = state[: n - first]
        slot = x & (TOTAL - 1)
        slots[first : first + lanes] = slot
        x >>= BITS
        x *= f_of[slot]
        x += rest_of[slot]
        low = (x < _LOWEST).nonzero()[0]
        if len(low):
            more = words[read : read + len(low)]
            _check(len(more) == len(low))
            read += len(low)
            x[low] = x[low] << 16 | more
    _check(read == len(words) and bool((state == _LOWEST).all()))
    return symbol_of[slots]


def _lanes(n: int, n_bytes: float) -> int:
    """Return how many lanes to use: a power of two."""
    wanted = max(int(n_bytes) // _BYTES, -(-n // _STEPS), 1)
    return int(
        min(1 << (wanted - 1).bit_length(), 1 << 12 if n <= 1 << 24 else 1 << 16)
    )


def _before(table: Frequencies) -> Frequencies:
    """Return the total frequency of the symbols before each."""
    return np.cumsum(table, dtype=np.uint32) - table


def _check(good: bool) -> None:
    if not good:
        msg = "Bytes of an entropy-coded stream are damaged."
        raise ValueError(msg)
