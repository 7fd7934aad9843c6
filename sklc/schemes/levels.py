"""Quantization to fixed levels, up to a scale."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklc.budget import Budgets
from sklc.codes import Code, Scaled
from sklc.ops.backend import at_least_float32, numpy_view, sum_dtype
from sklc.ops.projections import ternary_scale
from sklc.schemes.problem import Problem
from sklc.schemes.vector import VectorScheme


class BinaryQuantization(VectorScheme):
    r"""Quantize the weights to -1 and 1.

    Solves, exactly and in :math:`O(n)`,

    .. math:: \min_\theta \|w - \theta\|^2 \quad\text{s.t.}\quad \theta \in \{-1, 1\}^n,

    by the sign of every weight (1 for a zero). There is nothing to learn, so there is
    no granularity.

    References
    ----------
    M. A. Carreira-Perpinan and Y. Idelbayev, Model compression as constrained
    optimization, with application to neural nets. Part II: quantization,
    arXiv:1707.04319, 2017.

    Examples
    --------
    >>> import torch
    >>> from sklc.schemes import BinaryQuantization
    >>> weights = {"w": torch.tensor([3.0, -2.0, 0.1, 0.0])}
    >>> BinaryQuantization().compress(weights, mu=1.0)["w"].dense()
    tensor([ 1., -1.,  1.,  1.])
    """

    def _compress(self, rows: Tensor, mu: float, warm: Code | None) -> Code:
        one = torch.ones(len(rows), dtype=torch.int8, device=rows.device)
        index = _bytes(numpy_view(at_least_float32(rows)) >= 0)
        return _scaled(index, one, (-1.0, 1.0), rows)

    def _feasible_rows(self, rows: Tensor) -> Tensor:
        return (rows.abs() == 1).all()


class _OneScale(VectorScheme):
    """A scheme that learns one scale a row, and nothing else."""

    def __init__(self, granularity: str = "layer") -> None:
        self.granularity = granularity

    def _budgets(self, problem: Problem) -> Budgets:
        return self._row_budgets(problem, 0, float)


class ScaledBinaryQuantization(_OneScale):
    r"""Quantize the weights to -c and c, the scale c being learned.

    Solves, exactly and in :math:`O(n)`,

    .. math:: \min_{c, \theta} \|w - c\,\theta\|^2
              \quad\text{s.t.}\quad \theta \in \{-1, 1\}^n,\; c \ge 0,

    by the sign of every weight (1 for a zero), and the mean magnitude as scale.

    Parameters
    ----------
    granularity : {"joint", "layer", "channel"}, default="layer"
        One scale for all layers together, for each, or for each output channel.

    References
    ----------
    M. A. Carreira-Perpinan and Y. Idelbayev, Model compression as constrained
    optimization, with application to neural nets. Part II: quantization,
    arXiv:1707.04319, 2017.

    Examples
    --------
    >>> import torch
    >>> from sklc.schemes import ScaledBinaryQuantization
    >>> weights = {"w": torch.tensor([3.0, -2.0, 1.0, 0.0])}
    >>> ScaledBinaryQuantization().compress(weights, mu=1.0)["w"].dense()
    tensor([ 1.5000, -1.5000,  1.5000,  1.5000])
    """

    def _compress(self, rows: Tensor, mu: float, warm: Code | None) -> Code:
        scale = rows.abs().mean(1, dtype=sum_dtype(rows)).to(rows.dtype)
        index = _bytes(numpy_view(at_least_float32(rows)) >= 0)
        return _scaled(index, scale, (-1.0, 1.0), rows)

    def _feasible_rows(self, rows: Tensor) -> Tensor:
        magnitude = rows.abs()
        return (magnitude == magnitude[:, :1]).all()


class ScaledTernaryQuantization(_OneScale):
    r"""Quantize the weights to -c, 0 and c, the scale c being learned.

    Solves, exactly and in :math:`O(n \log n)`,

    .. math:: \min_{c, \theta} \|w - c\,\theta\|^2
              \quad\text{s.t.}\quad \theta \in \{-1, 0, 1\}^n,\; c \ge 0.

    With the magnitudes in decreasing order and :math:`s_j` the sum of the first `j`,
    the best support of size `j` is those first, its best scale their mean, and the
    error :math:`\|w\|^2 - s_j^2/j`: one sort, one cumulative sum and one maximum. A
    weight is zero if its magnitude is below ``c / 2``.

    Parameters
    ----------
    granularity : {"joint", "layer", "channel"}, default="layer"
        One scale for all layers together, for each, or for each output channel.

    References
    ----------
    M. A. Carreira-Perpinan and Y. Idelbayev, Model compression as constrained
    optimization, with application to neural nets. Part II: quantization,
    arXiv:1707.04319, 2017.

    Examples
    --------
    >>> import torch
    >>> from sklc.schemes import ScaledTernaryQuantization
    >>> weights = {"w": torch.tensor([3.0, -2.0, 0.1, 0.0])}
    >>> ScaledTernaryQuantization().compress(weights, mu=1.0)["w"].dense()
    tensor([ 2.5000, -2.5000,  0.0000,  0.0000])
    """

    def _compress(self, rows: Tensor, mu: float, warm: Code | None) -> Code:
        return self._code(rows, ternary_scale(rows).to(rows.dtype))

    def _improve(self, rows: Tensor, warm: Code) -> Code | None:
        """Take a step of Lloyd's algorithm."""
        if not (isinstance(warm, Scaled) and len(warm.scale) == len(rows)):
            return None
        if len(warm.levels) != 3 or warm.scale.dtype != rows.dtype:
            return None
        magnitude = rows.abs()
        support = magnitude > warm.scale[:, None] / 2
        total = torch.where(support, magnitude, 0).sum(1, dtype=sum_dtype(rows))
        number = support.sum(1)
        scale = torch.where(number > 0, total / number.clamp(min=1), warm.scale)
        return self._code(rows, scale.to(rows.dtype)[:, None])

    def _code(self, rows: Tensor, scale: Tensor) -> Scaled:
        half, values = (
            numpy_view(at_least_float32(scale / 2)),
            numpy_view(at_least_float32(rows)),
        )
        index = _bytes(values > half)
        index += values >= -half
        return _scaled(index, scale.squeeze(1), (-1.0, 0.0, 1.0), rows)

    def _feasible_rows(self, rows: Tensor) -> Tensor:
        magnitude = rows.abs()
        largest = magnitude.amax(1, keepdim=True)
        return ((magnitude == 0) | (magnitude == largest)).all()


def _scaled(
    index: Any, scale: Tensor, levels: tuple[float, ...], rows: Tensor
) -> Scaled:
    dtype = str(rows.dtype).removeprefix("torch.")
    return Scaled(torch.as_tensor(index), scale, levels, dtype)


def _bytes(mask: Any) -> Any:
    """Return a mask, of NumPy or torch, as the numbers 0 and 1."""
    return mask.view(torch.uint8 if isinstance(mask, Tensor) else np.uint8)
