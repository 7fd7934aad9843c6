"""Whole numbers in few bits, and the standard operators that read them.

Numbers of 1 and 2 bits are in bytes, which shifts take apart; those of 4 bits are
UINT4; more are uint8, uint16 or int32. Where one number is far more frequent than all
others, these are written alone, and where they are: as a mask, or as gaps.
"""

import numpy as np
import torch
from onnx import TensorProto

from sklc.deploy.onnx.fragment import TYPES, Fragment
from sklc.ops import bits

_BOOL, _INT32 = TYPES[torch.bool], TYPES[torch.int32]
_WIDTHS = 1, 2, 4, 8, 16, 32
_GAPS = 2, 4, 8, 16  # widths of the symbols of gaps


def add_numbers(fragment: Fragment, numbers: np.ndarray, n_values: int) -> str:
    """Add numbers below `n_values`, in the fewest bytes.

    Parameters
    ----------
    fragment : Fragment
    numbers : ndarray of integers
    n_values : int

    Returns
    -------
    str
        The name of the same numbers, as int32 and in the same shape.
    """
    forms = [lambda into: _add_each(into, numbers, n_values)]
    if numbers.size and n_values > 1:
        common = int(np.bincount(numbers.reshape(-1)).argmax())
        forms.append(lambda into: _add_others(into, numbers, n_values, common))
    return fragment.smallest(forms)


def _add_each(fragment: Fragment, numbers: np.ndarray, n_values: int) -> str:
    """Add numbers, each in the same width."""
    width = bits.width_for(n_values)
    if not width:
        return fragment.filled(0, numbers.shape, torch.int32)
    width = next(stored for stored in _WIDTHS if stored >= width)
    if width == 32:
        return fragment.array(numbers.astype(np.int32))
    if width >= 8:
        stored = fragment.array(numbers.astype(f"uint{width}"))
    elif width == 4:
        content = _bytes(numbers, width).tobytes()
        stored = fragment.content(TensorProto.UINT4, numbers.shape, content)
    else:
        return _add_shifted(fragment, numbers, width)
    return fragment.add("Cast", stored, to=_INT32)


def _bytes(numbers: np.ndarray, width: int) -> np.ndarray:
    """Pack numbers of 1, 2 or 4 bits into bytes, the first in the lowest bits."""
    shifts = np.arange(0, 8, width)
    padded = np.zeros((bits.n_bytes(numbers.size, width), len(shifts)), dtype=np.uint8)
    padded.reshape(-1)[: numbers.size] = numbers.reshape(-1)
    packed: np.ndarray = (padded << shifts.astype(np.uint8)).sum(1, dtype=np.uint8)
    return packed


def _add_shifted(fragment: Fragment, numbers: np.ndarray, width: int) -> str:
    """Add numbers of 1 or 2 bits."""
    packed = fragment.array(_bytes(numbers, width)[:, None])
    shifts = fragment.array(np.arange(0, 8, width, dtype=np.uint8))
    mask = fragment.array(np.array(2**width - 1, dtype=np.uint8))
    shifted = fragment.add("BitShift", packed, shifts, direction="RIGHT")
    read = fragment.add("Cast", fragment.add("BitwiseAnd", shifted, mask), to=_INT32)
    if numbers.size % (8 // width):
        read = fragment.add("Reshape", read, fragment.ints(-1))
        first, last = fragment.ints(0), fragment.ints(numbers.size)
        read = fragment.add("Slice", read, first, last)
        if numbers.ndim == 1:
            return read
    return fragment.add("Reshape", read, fragment.ints(*numbers.shape))


def _add_others(
    fragment: Fragment, numbers: np.ndarray, n_values: int, common: int
) -> str:
    """Add numbers, all but those that are `common`."""
    flat = numbers.reshape(-1)
    places = np.flatnonzero(flat != common)
    if not len(places):
        return fragment.filled(common, numbers.shape, torch.int32)
    ranks = flat[places].astype(np.int64)
    ranks -= ranks > common
    others = np.delete(np.arange(n_values, dtype=np.int32), common)
    read = _add_each(fragment, ranks, n_values - 1)
    read = fragment.add("Gather", fragment.array(others), read)
    return add_placed(fragment, places, read, common, numbers.shape, torch.int32)


def add_placed(
    fragment: Fragment,
    places: np.ndarray,
    values: str,
    elsewhere: float,
    shape: tuple[int, ...],
    dtype: torch.dtype,
) -> str:
    """Add a tensor of which some places have values of their own.

    No shape depends on the numbers that are read: runtimes fold nothing else.

    Parameters
    ----------
    fragment : Fragment
    places : ndarray of integers of shape (n_values,)
        Increasing; one at least.
    values : str
        Name of a vector of shape (n_values,).
    elsewhere : float
        What is at all other places.
    shape : tuple of int
        Of the tensor.
    dtype : torch.dtype

    Returns
    -------
    str
        Its name.
    """
    n = int(np.prod(shape))

    def spread(into: Fragment, has: str) -> str:
        """Add the values one after the other where `has` is 1, as wide as that."""
        number = into.add("CumSum", has, _scalar(into, 0))
        own = into.add("Gather", values, into.add("Sub", number, _scalar(into, 1)))
        other = into.filled(elsewhere, [1], dtype)
        return into.add("Where", into.add("Cast", has, to=_BOOL), own, other)

    def by_gaps(into: Fragment) -> str:
        whole = into.filled(elsewhere, [n], dtype)
        found, has = _add_gaps(into, places)
        given = values if has is None else spread(into, has)
        return into.add("ScatterElements", whole, found, given)

    def by_mask(into: Fragment) -> str:
        mask = np.zeros(n, dtype=np.uint8)
        mask[places] = 1
        return spread(into, _add_shifted(into, mask, 1))

    full = fragment.smallest([by_gaps, by_mask])
    return fragment.add("Reshape", full, fragment.ints(*shape))


def _add_gaps(fragment: Fragment, places: np.ndarray) -> tuple[str, str | None]:
    """Add places as what to skip before each.

    The largest symbol means to skip that many, and to read on.

    Returns
    -------
    places : str
        Name of one for each symbol: of the largest, the last that is skipped.
    has : str or None
        Name of what says which of them are places that were given; None if all are.
    """
    steps = np.diff(places.astype(np.int64), prepend=-1) - 1

    def n_symbols(width: int) -> int:
        return len(steps) + int((steps // (2**width - 1)).sum())

    width = min(_GAPS, key=lambda width: bits.n_bytes(n_symbols(width), width))
    escape = 2**width - 1
    symbols = np.full(n_symbols(width), escape)
    symbols[np.cumsum(steps // escape + 1) - 1] = steps % escape
    read = _add_each(fragment, symbols, 2**width)
    has, one = None, _scalar(fragment, 1)
    if len(symbols) > len(steps):
        last = fragment.add("Less", read, _scalar(fragment, escape))
        has = fragment.add("Cast", last, to=_INT32)
    ends = fragment.add("Add", read, has or one)
    ends = fragment.add("CumSum", ends, _scalar(fragment, 0))
    return fragment.add("Sub", ends, one), has


def _scalar(fragment: Fragment, value: int) -> str:
    return fragment.array(np.array(value, dtype=np.int32))
