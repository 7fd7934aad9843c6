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


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64])
def test_any_integer_type_can_be_packed(dtype):
    numbers = np.array([0, 1, 2, 100, 127], dtype=dtype)
    assert bits.unpack(bits.pack(numbers, 7), 7, 5).tolist() == numbers.tolist()


def test_the_highest_bit_comes_first():
    assert bits.pack(np.array([1, 2, 3]), 2).tolist() == [0b01_10_11_00]
    assert bits.unpack(np.array([0b01_10_11_00], np.uint8), 2, 3).tolist() == [1, 2, 3]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64])
def test_numbers_come_back_in_the_type_that_is_asked_for(dtype):
    numbers = np.array([3, 0, 100, 127])
    back = bits.unpack(bits.pack(numbers, 7), 7, 4, dtype)
    assert back.dtype == dtype
    assert back.tolist() == numbers.tolist()


def test_many_numbers_are_packed_as_few():
    numbers = numbers_of(5, 200_003)
    packed = bits.pack(numbers, 5)
    assert packed.tolist() == packed_by_hand(numbers, 5)
    assert bits.unpack(packed, 5, len(numbers)).tolist() == numbers.tolist()
