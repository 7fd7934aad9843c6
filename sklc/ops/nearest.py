"""The nearest of few values, for every one of many numbers."""

import torch
from torch import Tensor

from sklc.ops.backend import at_least_float32
from sklc.ops.sorting import count_below


def nearest(row: Tensor, values: Tensor) -> Tensor:
    """Return the number of the nearest of increasing values, for every weight."""
    values = at_least_float32(values)
    low, high = values[:-1], values[1:]
    # halves cannot overflow; the middle of neighbouring floats may round up to `high`
    middle = torch.minimum(low / 2 + high / 2, torch.nextafter(high, low))
    return count_below(at_least_float32(row).contiguous(), middle)


def nearest_or_zero(
    row: Tensor, values: Tensor, zeros: tuple[float, float, int, int] | None
) -> Tensor:
    """Return 0 for zeros and otherwise one more than the number of the nearest value.

    The zeros are the weights that are nearest to zero, or those given.
    """
    if zeros is None:
        ordered, order = torch.cat([values.new_zeros(1), values]).sort(stable=True)
        return order.int().index_select(0, nearest(row, ordered).int())
    low, high, skip_low, skip_high = zeros
    row = at_least_float32(row)
    index = nearest(row, values).add_(1)
    index[(row >= low) & (row <= high)] = 0
    if low == high:
        skip_low, skip_high = skip_low + skip_high, 0
    for end, skip in (low, skip_low), (high, skip_high):
        if skip:
            ties = (row == end).nonzero().squeeze(1)[:skip]
            index[ties] = nearest(row[ties], values).add_(1)
    return index
