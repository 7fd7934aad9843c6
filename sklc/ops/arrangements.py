r"""Supports in as many bits as there are arrangements: gaps, entropy-coded.

With `kept` of `n` places, the gaps between them are independent and geometric if all
arrangements are equally likely. A gap then costs what its length deserves, so that
*any* arrangement takes about :math:`\log_2 \binom{n}{kept}` bits. A gap is a number of
bins of :math:`2^b` places each, which is entropy-coded (:mod:`sklc.ops.rans`), and its
`b` lower bits as they are. More bins than there are symbols for are skipped by a last
symbol, and read on: what comes after it is geometric again. The frequencies are those
of the model, or, where that takes fewer bytes (clusters do), those that the bins have.
Of places kept and others, the rarer are coded. All follows from `n` and `kept` by
arithmetic of integers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklc.ops import bits, rans, tables
from sklc.ops.bits import Bytes, Integers

_MEAN = 3  # binary logarithm of the bins of a mean gap, if bins hold several places
_SCALE = 62  # bits of fixed-point numbers
_MODEL, _OWN = 0, 1  # whose frequencies they are
_NONE: Bytes = np.empty(0, np.uint8)


@dataclass(frozen=True)
class _Model:
    """How gaps become symbols.

    Attributes
    ----------
    coded : int
        How many places are coded, the kept or the others, and
    rare : bool
        whether it is the kept.
    low : int
        Bits of a gap that are not entropy-coded.
    table : ndarray of shape (n_symbols,)
        Frequencies of the bins, and of the last symbol.
    """

    coded: int
    rare: bool
    low: int
    table: rans.Frequencies

    @classmethod
    def of(cls, kept: int, n: int) -> "_Model":
        rare = kept <= n - kept
        coded = kept if rare else n - kept
        low = max((n // max(coded, 1)).bit_length() - 1 - _MEAN, 0)
        share = ((n - coded) << _SCALE) // max(n, 1)  # of places that are not coded
        for _ in range(low):
            share = share * share >> _SCALE
        return cls(coded, rare, low, _geometric(share))

    @property
    def longest(self) -> int:
        """Places that the last symbol skips."""
        return (len(self.table) - 1) << self.low

    def most_symbols(self, n: int) -> int:
        """Return how many symbols so many places may take."""
        return self.coded + n // self.longest


def _geometric(share: int) -> rans.Frequencies:
    """Return the frequencies of bins, each of which has `share` of the one before."""
    ends, left = [0], 1 << _SCALE
    while len(ends) < 256:
        left = left * share >> _SCALE
        end = rans.TOTAL - (left * rans.TOTAL + (1 << (_SCALE - 1)) >> _SCALE)
        if not ends[-1] < end < rans.TOTAL:
            break
        ends.append(end)
    if len(ends) == 1:
        ends.append(rans.TOTAL - 1)
    return np.diff([*ends, rans.TOTAL]).astype(np.uint32)


def encode(positions: Integers, n: int) -> tuple[int, Bytes]:
    """Encode a support.

    Parameters
    ----------
    positions : integer ndarray of shape (kept,)
        Increasing, below `n`.
    n : int
        Number of places.

    Returns
    -------
    symbols : int
        How many are coded; needed to decode.
    packed : ndarray of uint8
    """
    model = _Model.of(len(positions), n)
    if not model.coded:
        return 0, _NONE
    if not model.rare:
        mask = np.ones(n, dtype=np.bool_)
        mask[positions] = False
        positions = np.flatnonzero(mask)
    gaps = np.diff(positions, prepend=-1)
    gaps -= 1
    last = len(model.table) - 1
    bins = gaps >> model.low
    skips = bins // last
    ends = np.cumsum(skips + 1) - 1
    symbols = np.full(int(ends[-1]) + 1, last, dtype=np.uint8)
    symbols[ends] = bins - skips * last
    low = bits.pack(gaps & ((1 << model.low) - 1), model.low) if model.low else _NONE
    counts = np.bincount(symbols, minlength=len(model.table))
    own = rans.frequencies(counts)
    saved = rans.n_bits(counts, model.table) - rans.n_bits(counts, own)
    if saved > 8 * len(tables.pack(own)):
        coded = [_byte(_OWN), tables.pack(own), rans.encode(symbols, own)]
    else:
        coded = [_byte(_MODEL), rans.encode(symbols, model.table)]
    return len(symbols), np.concatenate([low, *coded])


def _byte(value: int) -> Bytes:
    return np.array([value], np.uint8)


def decode(
    packed: Bytes, kept: int, n: int, symbols: int, dtype: Any = np.int64
) -> Integers:
    """Return the positions, as integers of type `dtype`, that :func:`encode` encoded.

    Raises
    ------
    ValueError
        If these are not their bytes. Memory is taken for `n` places at most.
    """
    model = _Model.of(kept, n) if 0 <= kept <= n else None
    if model is None or not model.coded <= symbols <= model.most_symbols(n):
        msg = f"A support of {n} places has not {kept} in {symbols} symbols."
        raise ValueError(msg)
    if model.coded:
        places = _decoded(model, packed, n, symbols)
    elif len(packed) or symbols:
        msg = "A support without gaps has no bytes."
        raise ValueError(msg)
    else:
        places = np.empty(0, np.int64)
    if model.rare:
        return places.astype(dtype, copy=False)
    mask = np.ones(n, dtype=np.bool_)
    mask[places] = False
    return np.flatnonzero(mask).astype(dtype, copy=False)


def _decoded(model: _Model, packed: Bytes, n: int, count: int) -> NDArray[np.int64]:
    """Return the places that are coded."""
    end = bits.n_bytes(model.coded, model.low)
    if len(packed) <= end:
        msg = "A support is cut short."
        raise ValueError(msg)
    table, rest = model.table, packed[end + 1 :]
    if packed[end] == _OWN:
        table, rest = tables.unpack(rest, len(table))
    symbols = rans.decode(rest, table, count)
    last = len(model.table) - 1
    ends = symbols < last
    if np.count_nonzero(ends) != model.coded or not ends[-1]:
        msg = "A support has another number of places than it says."
        raise ValueError(msg)
    # every symbol skips its bins, and every one but the last of them keeps a place
    bins = np.cumsum(symbols, dtype=np.int64)[ends]
    gaps = np.diff(bins, prepend=0) << model.low
    if model.low:
        gaps += bits.unpack(packed[:end], model.low, model.coded)
    places = np.cumsum(gaps + 1) - 1
    if places[-1] >= n:
        msg = f"A support of {n} places has one at {places[-1]}."
        raise ValueError(msg)
    return places
