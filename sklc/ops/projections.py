"""Projections onto the l0 and l1 balls, a row at a time."""

import numpy as np
import torch
from torch import Tensor

from sklc.ops.sorting import computable, kth_largest


def largest(rows: Tensor, k: int) -> Tensor:
    """Return the mask of the `k` entries of each row that are largest in magnitude.

    Zeros are never among them. Ties are broken by position: the first entries win.

    Parameters
    ----------
    rows : Tensor of shape (g, n)
    k : int
        From 0 to n.

    Returns
    -------
    bool Tensor of shape (g, n)

    Notes
    -----
    Exact, in ``O(n)``.
    """
    if k == 0:
        return torch.zeros_like(rows, dtype=torch.bool)
    if k == rows.shape[1]:
        return rows != 0
    magnitude = computable(rows).abs()
    least = kth_largest(magnitude.clone(), k)
    mask = magnitude >= least
    if not bool(least.all()):
        mask &= magnitude > 0
    if bool((mask.sum(1) > k).any()):
        ties = mask & (magnitude == least)
        spare = k - (mask.sum(1, keepdim=True) - ties.sum(1, keepdim=True))
        mask &= ~(ties & (ties.cumsum(1, dtype=torch.int32) > spare))
    return mask


def l1_threshold(magnitude: Tensor, radius: float) -> float:
    r"""Return the shift that projects magnitudes onto the l1 ball.

    Solves :math:`\sum_i \max(v_i - t, 0) = r` for the threshold :math:`t`; it is 0 for
    magnitudes within the ball.

    Parameters
    ----------
    magnitude : Tensor of shape (n,)
        Non-negative.
    radius : float
        At least 0.

    Notes
    -----
    Exact. Newton's method on the convex piecewise linear function (Michelot, J. Optim.
    Theory Appl. 50, 1986), which drops what lies below the threshold at each step:
    ``O(n)`` on random data, ``O(n^2)`` at worst.
    """
    total = _total(magnitude)
    if total <= radius:
        return 0.0
    if radius == 0.0:
        return float(magnitude.max())
    active: np.ndarray | Tensor = magnitude.numpy() if magnitude.is_cpu else magnitude
    threshold = (total - radius) / len(active)
    while True:
        kept = active[active > threshold]
        if len(kept) == len(active) or not len(kept):
            return threshold
        active, threshold = kept, (_total(kept) - radius) / len(kept)


def _total(x: np.ndarray | Tensor) -> float:
    if isinstance(x, Tensor):
        return float(x.sum(dtype=torch.float64))
    return float(x.sum(dtype=np.float64))
