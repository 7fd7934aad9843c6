"""Sorting and selection agree with the definition, whoever does the work."""

import pytest
import torch
from elsewhere import PLACES

from sklc.ops.sorting import computable, kth_largest, sort

everywhere = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
HALF = [torch.float16, torch.bfloat16]
FULL = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_computed_in_single(dtype):
    x = torch.tensor([1.5, -2.0], dtype=dtype)
    assert computable(x).dtype == torch.float32
    assert computable(x).tolist() == [1.5, -2.0]


@pytest.mark.parametrize("dtype", FULL)
def test_other_precisions_are_computed_as_they_are(dtype):
    x = torch.tensor([1.5, -2.0], dtype=dtype)
    assert computable(x) is x


@everywhere
@pytest.mark.parametrize("dtype", HALF + FULL)
def test_sort_returns_sorted_rows_and_leaves_its_argument(dtype, device, place):
    x = torch.tensor([[3.0, -1.0, 2.0, 2.0], [0.0, -5.0, 7.0, 1.0]], dtype=dtype)
    x = place(x.to(device))
    before = x.clone()

    result = sort(x)

    assert result.tolist() == [[-1.0, 2.0, 2.0, 3.0], [-5.0, 0.0, 1.0, 7.0]]
    assert result.dtype == computable(x).dtype
    assert result.device == x.device
    assert torch.equal(x, before)


@everywhere
def test_sort_takes_one_dimension_strides_and_gradients(device, place):
    x = place(torch.tensor([[3.0, 9.0], [1.0, 8.0], [2.0, 7.0]], device=device))

    assert sort(x[:, 0]).tolist() == [1.0, 2.0, 3.0]
    assert sort(x.T).tolist() == [[1.0, 2.0, 3.0], [7.0, 8.0, 9.0]]
    assert sort(x.clone().requires_grad_()).tolist() == x.sort().values.tolist()
    assert x[:, 0].tolist() == [3.0, 1.0, 2.0]


@everywhere
@pytest.mark.parametrize("k", range(1, 7))
@pytest.mark.parametrize("dtype", FULL)
def test_kth_largest_of_every_row_with_ties(k, dtype, device, place):
    x = torch.tensor(
        [[5.0, 1.0, 4.0, 4.0, 2.0, 3.0], [0.0, 0.0, -1.0, 7.0, 7.0, 7.0]],
        dtype=dtype,
        device=device,
    )
    expected = x.sort(dim=1, descending=True).values[:, k - 1 : k]

    result = kth_largest(place(x.clone()), k)

    assert torch.equal(result, expected)
    assert result.shape == (2, 1)
