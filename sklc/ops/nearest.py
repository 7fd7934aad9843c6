"""The nearest of few values, for every one of many numbers."""

import torch
from torch import Tensor

from sklc.ops.backend import at_least_float32, sum_dtype
from sklc.ops.kmeans import Zeros
from sklc.ops.sorting import count_below


def nearest(rows: Tensor, values: Tensor) -> Tensor:
    """Return the number of the nearest of its row's values, for every weight.

    Parameters
    ----------
    rows : Tensor of shape (g, n)
    values : Tensor of shape (g, m)
        Each row in increasing order; of the values that equal the last the first is
        taken.

    Returns
    -------
    integer Tensor of shape (g, n)
    """
    values = at_least_float32(values)
    low, high = values[:, :-1], values[:, 1:]
    # halves cannot overflow; the middle of neighbouring floats may round up to `high`
    middle = torch.minimum(low / 2 + high / 2, torch.nextafter(high, low))
    middle = middle.masked_fill((low == high) & (high == values[:, -1:]), torch.inf)
    return count_below(at_least_float32(rows), middle)


def nearest_or_zero(rows: Tensor, values: Tensor, zeros: Zeros | None) -> Tensor:
    """Return 0 for zeros and otherwise one more than the number of the nearest value.

    The zeros are the weights that are nearest to zero, or those given.
    """
    if zeros is None:
        both, _ = torch.cat([values.new_zeros(len(values), 1), values], 1).sort(dim=1)
        index = nearest(rows, both)
        place = (values < 0).sum(1, keepdim=True)
        pinned = index == place
        index += index < place
        return index.masked_fill_(pinned, 0)
    index = nearest(rows, values)
    index += 1
    return index.masked_fill_(_between(at_least_float32(rows), zeros), 0)


def means_of_groups(rows: Tensor, groups: Tensor, before: Tensor) -> Tensor:
    """Return the mean of each group of a row's numbers.

    Parameters
    ----------
    rows : Tensor of shape (g, n)
    groups : integer Tensor of shape (g, n)
        The number of each one's group, from 0; those below are in none.
    before : Tensor of shape (g, m)
        What to return for groups that are empty.

    Returns
    -------
    Tensor of shape (g, m)
        In double precision, where the device has that.
    """
    g, m = before.shape
    shift = torch.arange(g, device=rows.device)[:, None] * (m + 1) + 1
    place = (groups + shift).view(-1)
    number = torch.bincount(place, minlength=g * (m + 1)).view(g, m + 1)[:, 1:]
    total = torch.zeros(g * (m + 1), dtype=sum_dtype(rows), device=rows.device)
    total.index_add_(0, place, rows.reshape(-1).to(total.dtype))
    mean = total.view(g, m + 1)[:, 1:] / number.clamp(min=1)
    return torch.where(number > 0, mean, before.to(mean.dtype))


def _between(rows: Tensor, zeros: Zeros) -> Tensor:
    """Return the mask of the weights that are zeros."""
    low, high = (
        torch.from_numpy(end).to(rows.device, rows.dtype)[:, None]
        for end in (zeros.low, zeros.high)
    )
    mask = (rows >= low) & (rows <= high)
    one = zeros.low == zeros.high
    skip_low = zeros.skip_low + one * zeros.skip_high
    for end, skip in (low, skip_low), (high, zeros.skip_high * ~one):
        if len(some := skip.nonzero()[0]):
            at = torch.from_numpy(some).to(rows.device)
            ties = rows[at] == end[at]
            number = ties.cumsum(1, dtype=torch.int32)
            first = torch.from_numpy(skip[some]).to(rows.device)[:, None]
            mask[at] &= ~(ties & (number <= first))
    return mask
