"""Every number gets its nearest value, and zeros are those that they are said to be."""

import pytest
import torch
from elsewhere import PLACES

from sklc.ops.nearest import nearest, nearest_or_zero

everywhere = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def draw(n, dtype, seed=0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed)).to(dtype)


def distances(row, values, index):
    """Return the way of each number to the value of its index, and the shortest."""
    away = (row.double()[:, None] - values.double()).abs()
    return away.gather(1, index.long()[:, None])[:, 0], away.min(1).values


@everywhere
@pytest.mark.parametrize("k", [1, 2, 5, 40])
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_other_value_is_nearer(dtype, k, device, place):
    row = place(draw(500, dtype).to(device))
    values = draw(k, dtype, seed=1).sort().values.to(device)
    index = nearest(row, values)
    own, least = distances(row, values, index)
    rounding = 1e-15 if dtype == torch.float64 else 1e-6  # of the middle of two values
    torch.testing.assert_close(own, least, rtol=0.0, atol=rounding)


def test_of_two_that_are_as_near_it_is_the_lower():
    row = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.5])
    assert nearest(row, torch.tensor([-1.0, 1.0, 4.0])).tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_ends_of_the_range_and_neighbours(dtype):
    largest = torch.finfo(dtype).max
    values = torch.tensor([0.9 * largest, largest], dtype=dtype)
    assert nearest(values, values).tolist() == [0, 1]
    assert nearest(-values, -values.flip(0)).tolist() == [1, 0]
    one = torch.tensor(1.0, dtype=dtype)
    neighbours = torch.stack([one, torch.nextafter(one, 2 * one)])
    assert nearest(neighbours, neighbours).tolist() == [0, 1]
    assert nearest(-neighbours, -neighbours.flip(0)).tolist() == [1, 0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("values", [[], [0.7], [-0.9, 0.4], [-2.0, -1.0], [1.0, 1.5]])
def test_zero_is_a_value_like_others(values, dtype):
    row = draw(300, dtype)
    values = torch.tensor(values, dtype=torch.float64)
    index = nearest_or_zero(row, values, None)
    own, least = distances(row, torch.cat([values.new_zeros(1), values]), index)
    torch.testing.assert_close(own, least, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_that_are_given_are_zeros_although_others_are_nearer(dtype):
    row = torch.tensor([-2.0, 1.0, 0.5, -0.5, 3.0, 1.5], dtype=dtype)
    index = nearest_or_zero(row, torch.tensor([-2.0, 1.0]), (-0.5, 1.0, 0, 0))
    assert index.tolist() == [1, 0, 0, 0, 2, 2]


@pytest.mark.parametrize(
    ("zeros", "expected"),
    [
        ((1.0, 3.0, 0, 0), [1, 0, 0, 0, 0, 0, 0]),
        ((1.0, 3.0, 2, 0), [1, 2, 2, 0, 0, 0, 0]),
        ((1.0, 3.0, 0, 1), [1, 0, 0, 0, 2, 0, 0]),
        ((1.0, 3.0, 1, 2), [1, 2, 0, 0, 2, 2, 0]),
        ((1.0, 1.0, 1, 1), [1, 2, 2, 0, 2, 2, 2]),
        ((1.0, 1.0, 0, 2), [1, 2, 2, 0, 2, 2, 2]),
        ((1.0, 1.0, 3, 0), [1, 2, 2, 2, 2, 2, 2]),
    ],
)
def test_of_equal_numbers_the_first_are_skipped(zeros, expected):
    row = torch.tensor([-5.0, 1.0, 1.0, 1.0, 3.0, 3.0, 2.0])
    assert nearest_or_zero(row, torch.tensor([-4.0, 4.0]), zeros).tolist() == expected
