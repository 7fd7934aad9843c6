"""Which models no other beats."""

from typing import Any

import numpy as np


def pareto_front(sizes: Any, scores: Any) -> np.ndarray:
    """Return which models no other beats: none smaller is as good, or as small better.

    Parameters
    ----------
    sizes, scores : array-like of shape (n,)
        The smaller, and the greater, the better.

    Returns
    -------
    ndarray of int
        Their numbers, by increasing size; without those that are not numbers.

    Examples
    --------
    >>> from sklc.plot.pareto import pareto_front
    >>> pareto_front([10, 20, 20, 30], [0.8, 0.9, 0.7, 0.85]).tolist()
    [0, 1]
    """
    sizes, scores = np.asarray(sizes, dtype=float), np.asarray(scores, dtype=float)
    order = np.lexsort((-scores, sizes))
    order = order[~np.isnan(sizes[order] + scores[order])]
    best = np.maximum.accumulate(scores[order])
    beaten = np.zeros(len(order), dtype=bool)
    beaten[1:] = best[1:] <= best[:-1]
    return np.asarray(order[~beaten])
