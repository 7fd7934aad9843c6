"""Sorting and selection agree with the definition, whoever does the work."""

import pytest
import torch

from sklc.ops.backend import at_least_float32
from sklc.ops.sorting import above, count_below, pick, sort

HALF = [torch.float16, torch.bfloat16]
FULL = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_computed_in_single(dtype):
    x = torch.tensor([1.5, -2.0], dtype=dtype)
    assert at_least_float32(x).dtype == torch.float32
    assert at_least_float32(x).tolist() == [1.5, -2.0]


@pytest.mark.parametrize("dtype", FULL)
def test_other_precisions_are_computed_as_they_are(dtype):
    x = torch.tensor([1.5, -2.0], dtype=dtype)
    assert at_least_float32(x) is x


@pytest.mark.parametrize("dtype", HALF + FULL)
def test_sort_returns_sorted_rows_and_leaves_its_argument(dtype, device):
    x = torch.tensor([[3.0, -1.0, 2.0, 2.0], [0.0, -5.0, 7.0, 1.0]], dtype=dtype)
    x = x.to(device)
    before = x.clone()

    result = sort(x)

    assert result.tolist() == [[-1.0, 2.0, 2.0, 3.0], [-5.0, 0.0, 1.0, 7.0]]
    assert result.dtype == at_least_float32(x).dtype
    assert result.device == x.device
    assert torch.equal(x, before)


def test_sort_takes_one_dimension_strides_and_gradients(device):
    x = torch.tensor([[3.0, 9.0], [1.0, 8.0], [2.0, 7.0]], device=device)

    assert sort(x[:, 0]).tolist() == [1.0, 2.0, 3.0]
    assert sort(x.T).tolist() == [[1.0, 2.0, 3.0], [7.0, 8.0, 9.0]]
    assert sort(x.clone().requires_grad_()).tolist() == x.sort().values.tolist()
    assert x[:, 0].tolist() == [3.0, 1.0, 2.0]


@pytest.mark.parametrize("n", [0, 1, 100_000])
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
@pytest.mark.parametrize("dtype", HALF + FULL)
def test_pick_returns_entries_and_where_they_were(n, index, dtype, device):
    x = torch.arange(n, dtype=torch.float64).remainder(113).to(dtype).to(device)
    mask = x.double().remainder(7) == 1

    values, positions = pick(x, mask, index)

    assert torch.equal(positions.long(), mask.nonzero().squeeze(1))
    assert torch.equal(values, x[mask])
    assert (values.dtype, positions.dtype) == (dtype, index)


@pytest.mark.parametrize("n", [0, 1, 100_000])
@pytest.mark.parametrize("many", [0, 1, 5, 32, 33, 300])
@pytest.mark.parametrize("dtype", FULL)
def test_count_below_counts_the_thresholds_below(n, many, dtype, device):
    x = torch.linspace(-1, 1, n, dtype=dtype, device=device)
    thresholds = torch.linspace(-0.5, 0.75, many, dtype=dtype, device=device)
    if n and many:
        thresholds[0] = x[n // 5]  # which is not below itself
        thresholds = thresholds.sort().values

    # a second row has thresholds of its own
    both = torch.stack([x, x]), torch.stack([thresholds, thresholds + 2])
    found, none = count_below(*both)
    assert not none.any()

    expected = torch.zeros(n, dtype=torch.long, device=device)
    for threshold in thresholds:
        expected += threshold < x
    assert torch.equal(found.long(), expected)
    assert found.dtype == (torch.uint8 if many <= 32 and x.is_cpu else torch.int32)


@pytest.mark.parametrize("dtype", FULL)
@pytest.mark.parametrize("threshold", [0.0, 1.0, 2.5, 1e308])
def test_above_compares_magnitudes(dtype, threshold, device):
    x = torch.tensor([1.0, -2.5, 0.0, -3.0, 1.5], dtype=dtype)
    expected = [abs(value) > threshold for value in x.tolist()]
    assert torch.as_tensor(above(x.to(device), threshold)).tolist() == expected
