"""Every number gets its nearest value, and zeros are those that they are said to be."""

import numpy as np
import pytest
import torch

from sklc.ops.kmeans import Zeros
from sklc.ops.nearest import means_of_groups, nearest, nearest_or_zero

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def draw(shape, dtype, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def distances(rows, values, index):
    """Return the way of each number to the value of its index, and the shortest."""
    away = (rows.double()[..., None] - values.double()[:, None]).abs()
    return away.gather(2, index.long()[..., None])[..., 0], away.min(2).values


@pytest.mark.parametrize("k", [1, 2, 5, 40])
@pytest.mark.parametrize("shape", [(1, 500), (70, 9), (3, 40_000)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_other_value_is_nearer(dtype, shape, k, device):
    rows = draw(shape, dtype).to(device)
    values = draw((shape[0], k), dtype, seed=1).sort(1).values.to(device)
    own, least = distances(rows, values, nearest(rows, values))
    rounding = 1e-15 if dtype == torch.float64 else 1e-6  # of the middle of two values
    torch.testing.assert_close(own, least, rtol=0.0, atol=rounding)


def test_of_two_that_are_as_near_it_is_the_lower_and_of_equal_ones_the_first():
    row = torch.tensor([[-1.0, 0.0, 0.5, 1.0, 2.5, 9.0]])
    values = torch.tensor([[-1.0, 1.0, 4.0, 4.0]])
    assert nearest(row, values).tolist() == [[0, 0, 1, 1, 1, 2]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_ends_of_the_range_and_neighbours(dtype):
    largest = torch.finfo(dtype).max
    values = torch.tensor([[0.9 * largest, largest]], dtype=dtype)
    assert nearest(values, values).tolist() == [[0, 1]]
    assert nearest(-values, -values.flip(1)).tolist() == [[1, 0]]
    one = torch.tensor(1.0, dtype=dtype)
    neighbours = torch.stack([one, torch.nextafter(one, 2 * one)])[None]
    assert nearest(neighbours, neighbours).tolist() == [[0, 1]]
    assert nearest(-neighbours, -neighbours.flip(1)).tolist() == [[1, 0]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("values", [[], [0.7], [-0.9, 0.4], [-2.0, -1.0], [1.0, 1.5]])
def test_zero_is_a_value_like_others(values, dtype, device):
    rows = draw((2, 300), dtype).to(device)
    values = torch.tensor([values, values], dtype=torch.float64, device=device)
    index = nearest_or_zero(rows, values, None)
    both = torch.cat([values.new_zeros(2, 1), values], 1)
    own, least = distances(rows, both, index)
    torch.testing.assert_close(own, least, rtol=0.0, atol=1e-6)


def zeros_of(*ends):
    """Describe the zeros of rows: low, high, and how many of these are none."""
    low, high, skip_low, skip_high = np.array(ends, dtype=float).T
    return Zeros(low, high, skip_low.astype(int), skip_high.astype(int))


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_that_are_given_are_zeros_although_others_are_nearer(dtype, device):
    rows = torch.tensor([[-2.0, 1.0, 0.5, -0.5, 3.0, 1.5]] * 2, dtype=dtype)
    values = torch.tensor([[-2.0, 1.0]] * 2, device=device)
    zeros = zeros_of((-0.5, 1.0, 0, 0), (-2.0, 0.5, 0, 0))
    index = nearest_or_zero(rows.to(device), values, zeros)
    assert index.tolist() == [[1, 0, 0, 0, 2, 2], [0, 2, 0, 0, 2, 2]]


def test_of_equal_numbers_the_first_are_skipped(device):
    cases = {
        (1.0, 3.0, 0, 0): [1, 0, 0, 0, 0, 0, 0],
        (1.0, 3.0, 2, 0): [1, 2, 2, 0, 0, 0, 0],
        (1.0, 3.0, 0, 1): [1, 0, 0, 0, 2, 0, 0],
        (1.0, 3.0, 1, 2): [1, 2, 0, 0, 2, 2, 0],
        (1.0, 1.0, 1, 1): [1, 2, 2, 0, 2, 2, 2],
        (1.0, 1.0, 0, 2): [1, 2, 2, 0, 2, 2, 2],
        (1.0, 1.0, 3, 0): [1, 2, 2, 2, 2, 2, 2],
    }
    rows = torch.tensor([[-5.0, 1.0, 1.0, 1.0, 3.0, 3.0, 2.0]] * len(cases))
    values = torch.tensor([[-4.0, 4.0]] * len(cases), device=device)
    index = nearest_or_zero(rows.to(device), values, zeros_of(*cases))
    assert index.tolist() == list(cases.values())


@pytest.mark.parametrize("shape", [(1, 500), (70, 9), (3, 1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_means_of_groups_are_those_of_numpy(dtype, shape, device):
    rows = draw(shape, dtype).to(device)
    before = draw((shape[0], 6), dtype, seed=1).to(device)
    generator = torch.Generator().manual_seed(2)
    groups = torch.randint(-1, 6, shape, generator=generator)
    found = means_of_groups(rows, groups.to(device), before).cpu()
    x, kept = rows.cpu().double().numpy(), before.cpu().double().numpy()
    for row, means in enumerate(found):
        for group, mean in enumerate(means):
            own = x[row][groups[row].numpy() == group]
            expected = own.mean() if own.size else kept[row, group]
            assert mean.item() == pytest.approx(expected, rel=1e-12, abs=1e-14)


def test_a_sum_of_half_precision_does_not_overflow():
    rows = torch.full((2, 100), 6e4, dtype=torch.float16)
    groups = torch.zeros(2, 100, dtype=torch.long)
    found = means_of_groups(rows, groups, torch.zeros(2, 1))
    assert found.tolist() == [[6e4], [6e4]]
