"""Integers as streams of bits, against strings of zeros and ones."""

import numpy as np
import pytest

from sklc.ops import bits

LENGTHS = [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 64, 65]


def packed_by_hand(numbers, width):
    """Write the numbers as text in base 2, and read eight characters at a time."""
    text = "".join(f"{int(number):0{width}b}" for number in numbers) if width else ""
    text += "0" * (-len(text) % 8)
    return [int(text[at : at + 8], 2) for at in range(0, len(text), 8)]


def numbers_of(width, n):
    """Numbers of all sizes below ``2**width``, the least and the largest among them."""
    numbers = np.random.default_rng(n).integers(0, 2**width, n)
    numbers[:2] = [2**width - 1, 0][:n]
    return numbers


@pytest.mark.parametrize(
    ("n_values", "width"),
    [
        *[(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4), (16, 4)],
        *[(17, 5), (256, 8), (257, 9), (2**31, 31), (2**31 + 1, 32), (2**32, 32)],
    ],
)
def test_width_for_is_the_fewest_bits_that_tell_values_apart(n_values, width):
    assert bits.width_for(n_values) == width


@pytest.mark.parametrize("width", range(33))
def test_packing_writes_the_bits_one_number_after_the_other(width):
    for n in LENGTHS:
        numbers = numbers_of(width, n)
        packed = bits.pack(numbers, width)
        assert packed.tolist() == packed_by_hand(numbers, width)
        assert packed.dtype == np.uint8
        assert len(packed) == -(-n * width // 8)


@pytest.mark.parametrize("width", range(33))
def test_unpacking_inverts_packing(width):
    for n in LENGTHS:
        numbers = numbers_of(width, n)
        back = bits.unpack(bits.pack(numbers, width), width, n)
        assert back.tolist() == numbers.tolist()
        assert back.dtype == np.int64


def test_unpacking_reads_no_further_than_it_must():
    packed = np.append(bits.pack(np.array([5, 2, 7]), 3), [255, 255]).astype(np.uint8)
    assert bits.unpack(packed, 3, 3).tolist() == [5, 2, 7]


@pytest.mark.parametrize("width", [0, 1, 3, 12, 32])
@pytest.mark.parametrize("n", [7, 8, 9, 16, 17, 40])
def test_pieces_join_without_a_seam(width, n, monkeypatch):
    numbers = numbers_of(width, n)
    whole = bits.pack(numbers, width)
    monkeypatch.setattr(bits, "_PIECE", 8)

    assert bits.pack(numbers, width).tolist() == whole.tolist()
    assert bits.unpack(whole, width, n).tolist() == numbers.tolist()


def test_a_piece_is_a_whole_number_of_bytes_in_every_width():
    assert bits._PIECE % 8 == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64])
def test_any_integer_type_can_be_packed(dtype):
    numbers = np.array([0, 1, 2, 100, 127], dtype=dtype)
    assert bits.unpack(bits.pack(numbers, 7), 7, 5).tolist() == numbers.tolist()


def test_the_highest_bit_comes_first():
    assert bits.pack(np.array([1, 2, 3]), 2).tolist() == [0b01_10_11_00]
    assert bits.unpack(np.array([0b01_10_11_00], np.uint8), 2, 3).tolist() == [1, 2, 3]


def symbols_by_hand(positions, width):
    """Write each gap as escapes and a rest, one symbol at a time."""
    symbols, place = [], 0
    for position in positions:
        gap = position - place
        while gap >= 2**width - 1:
            symbols.append(2**width - 1)
            gap -= 2**width - 1
        symbols.append(gap)
        place = position + 1
    return symbols


POSITIONS = {
    "none": [],
    "the first": [0],
    "the second": [1],
    "dense": list(range(40)),
    "dense after a gap": list(range(25, 40)),
    "every other": list(range(0, 40, 2)),
    "every third": list(range(2, 90, 3)),
    "irregular": [0, 1, 5, 6, 20, 21, 22, 90, 91, 300],
    "escapes": [3, 10, 17, 1000],
    "exactly an escape": [7, 15, 30, 62, 1085],
    "random": sorted(np.random.default_rng(0).permutation(5000)[:100].tolist()),
}


@pytest.mark.parametrize("positions", POSITIONS.values(), ids=POSITIONS)
def test_gap_width_is_the_best_of_all_widths(positions):
    sizes = {
        width: width * len(symbols_by_hand(positions, width)) for width in range(1, 33)
    }
    width, n_symbols = bits.gap_width(np.array(positions, dtype=np.int64))

    assert width * n_symbols == min(sizes.values())
    assert width == min(sizes, key=sizes.__getitem__)  # the narrowest of equals
    assert n_symbols == len(symbols_by_hand(positions, width))


@pytest.mark.parametrize("width", range(1, 13))
@pytest.mark.parametrize("positions", POSITIONS.values(), ids=POSITIONS)
def test_gaps_are_written_as_escapes_and_a_rest_and_read_back(positions, width):
    symbols = symbols_by_hand(positions, width)
    packed = bits.pack_gaps(np.array(positions, dtype=np.int64), width)

    assert packed.tolist() == packed_by_hand(symbols, width)
    assert bits.unpack_gaps(packed, width, len(symbols)).tolist() == positions


def test_one_bit_is_a_mask_of_the_places_to_skip():
    mask = np.zeros(23, dtype=bool)
    mask[[0, 1, 5, 11, 22]] = True
    packed = bits.pack_gaps(np.flatnonzero(mask), 1)
    assert packed.tolist() == np.packbits(~mask).tolist()


@pytest.mark.parametrize(
    ("position", "best"),
    [(0, (1, 1)), (2**31, (32, 1)), (2**32 - 2, (32, 1)), (2**32 - 1, (32, 2))],
)
def test_the_widest_symbols_hold_gaps_of_32_bits(position, best):
    positions = np.array([position])
    assert bits.gap_width(positions) == best
    packed = bits.pack_gaps(positions, best[0])
    assert bits.unpack_gaps(packed, *best).tolist() == [position]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_positions_may_have_any_integer_type(dtype):
    positions = np.array([0, 3, 200], dtype=dtype)
    width, n_symbols = bits.gap_width(positions)
    packed = bits.pack_gaps(positions, width)
    assert bits.unpack_gaps(packed, width, n_symbols).tolist() == [0, 3, 200]
