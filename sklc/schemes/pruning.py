"""Pruning: weights that become zero."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sklc.budget import Budget, Budgets
from sklc.checks import check_count, check_real
from sklc.codes import Code, Sparse, Theta, decompress
from sklc.ops.backend import at_least_float32, numpy_view, sum_dtype
from sklc.ops.projections import l1_threshold, largest, shrink, top
from sklc.ops.sorting import above
from sklc.schemes.base import in_double
from sklc.schemes.problem import Problem
from sklc.schemes.rows import Rows
from sklc.schemes.validation import count
from sklc.schemes.vector import VectorScheme


class _Pruning(VectorScheme):
    """A scheme that keeps some weights, as they are or nearer to zero."""

    @abstractmethod
    def _kept(self, rows: Tensor, mu: float) -> tuple[Tensor, Tensor]:
        """Return rows that have the values of what is kept, and the mask of that."""

    def _compress(self, rows: Tensor, mu: float, warm: Code | None) -> Code:
        return Sparse.of(*self._kept(rows, mu))

    def _compress_each(
        self, problems: Sequence[tuple[Tensor, Code | None]], mu: float
    ) -> list[Code]:
        devices = {rows.device for rows, _ in problems}
        if len(devices) > 1 or all(rows.is_cpu for rows, _ in problems):
            return super()._compress_each(problems, mu)
        return [*Sparse.of_each([self._kept(rows, mu) for rows, _ in problems])]


class ConstraintL0Pruning(_Pruning):
    r"""Keep the `kappa` largest weights, zero the others.

    Solves, exactly and in :math:`O(n)`,

    .. math:: \min_\theta \|w - \theta\|^2
              \quad\text{s.t.}\quad \|\theta\|_0 \le \kappa.

    Of weights that tie in magnitude, the first are kept.

    Parameters
    ----------
    kappa : int or float, default=0.05
        Most non-zeros: a number of weights, or a fraction (from 0.0 to 1.0) of the
        weights of a row, rounded to nearest but above 0.0 at least 1. 0 prunes all.
    granularity : {"joint", "layer", "channel"} or Blocks, default="joint"
        One budget for all layers together, for each, for each output channel, or for
        each block of some weights: ``Blocks(4)`` with ``kappa=2`` is 2:4 sparsity.

    References
    ----------
    M. A. Carreira-Perpinan and Y. Idelbayev, "Learning-compression" algorithms for
    neural net pruning, CVPR 2018.

    Examples
    --------
    >>> import torch
    >>> from sklc.schemes import ConstraintL0Pruning
    >>> weights = {"w": torch.tensor([3.0, -2.0, 0.5, 1.0])}
    >>> ConstraintL0Pruning(kappa=2).compress(weights, mu=1.0)["w"].dense()
    tensor([ 3., -2.,  0.,  0.])
    """

    any_rows = True

    def __init__(
        self, kappa: int | float = 0.05, granularity: str | Rows = "joint"
    ) -> None:
        self.kappa = kappa
        self.granularity = granularity

    def validate(self) -> None:
        super().validate()
        check_count(self, "kappa")

    def _compress(self, rows: Tensor, mu: float, warm: Code | None) -> Code:
        values, index = top(rows, count(self.kappa, rows.shape[1]))
        return Sparse(values, index, tuple(rows.shape))

    def _kept(self, rows: Tensor, mu: float) -> tuple[Tensor, Tensor]:
        return rows, largest(rows, count(self.kappa, rows.shape[1]))

    def _budgets(self, problem: Problem) -> Budgets:
        return self._row_budgets(problem, 0, lambda n: float(count(self.kappa, n)))

    def _feasible_rows(self, rows: Tensor) -> Any:
        nonzero = numpy_view(at_least_float32(rows)) != 0
        return nonzero.sum(1).max() <= count(self.kappa, rows.shape[1])


class ConstraintL1Pruning(_Pruning):
    r"""Shrink the weights until their l1 norm is `kappa`, which zeroes the small ones.

    Solves, exactly and in :math:`O(n)` on random data,

    .. math:: \min_\theta \|w - \theta\|^2
              \quad\text{s.t.}\quad \|\theta\|_1 \le \kappa,

    the projection onto the l1 ball: all magnitudes are lowered by the same threshold.
    The norm of the result may exceed `kappa` by four units of rounding of the weights'
    dtype (``torch.finfo(dtype).eps``, relatively).

    Parameters
    ----------
    kappa : float, default=100.0
        Largest l1 norm of a row, at least 0. 0 prunes all.
    granularity : {"joint", "layer", "channel"} or Blocks, default="joint"
        One norm for all layers together, for each, for each output channel, or for each
        block of some weights.

    References
    ----------
    M. A. Carreira-Perpinan and Y. Idelbayev, "Learning-compression" algorithms for
    neural net pruning, CVPR 2018.

    Examples
    --------
    >>> import torch
    >>> from sklc.schemes import ConstraintL1Pruning
    >>> weights = {"w": torch.tensor([3.0, -2.0, 0.5])}
    >>> ConstraintL1Pruning(kappa=3.0).compress(weights, mu=1.0)["w"].dense()
    tensor([ 2., -1.,  0.])
    """

    keeps_feasible = False
    any_rows = True

    def __init__(self, kappa: float = 100.0, granularity: str | Rows = "joint") -> None:
        self.kappa = kappa
        self.granularity = granularity

    def validate(self) -> None:
        super().validate()
        check_real(self, "kappa", 0.0)

    def _kept(self, rows: Tensor, mu: float) -> tuple[Tensor, Tensor]:
        kappa = float(self.kappa)
        shrunk = shrink(rows, l1_threshold(rows, kappa), kappa)
        return shrunk, shrunk != 0

    def _budgets(self, problem: Problem) -> Budgets:
        return self._row_budgets(problem, 1, lambda n: float(self.kappa))

    def _feasible_rows(self, rows: Tensor) -> Tensor:
        norm = rows.abs().sum(1, dtype=sum_dtype(rows)).max()
        return norm <= float(self.kappa) * (1 + 4 * torch.finfo(rows.dtype).eps)

    def _project(self, theta: Mapping[str, Code], problem: Problem) -> Theta:
        # the projection keeps zeros, so it stays within the support
        found = decompress(super()._project(theta, problem))
        return {
            name: Sparse(
                found[name].reshape(-1)[code.index.long()], code.index, code.size
            )
            for name, code in theta.items()
            if isinstance(code, Sparse)
        }


class PenaltyL0Pruning(_Pruning):
    r"""Zero the weights that are not worth the price of a non-zero.

    Solves, exactly and in :math:`O(n)`,

    .. math:: \min_\theta \alpha \|\theta\|_0 + \frac\mu2 \|w - \theta\|^2,

    by the hard threshold :math:`|w| > \sqrt{2\alpha/\mu}`.

    Parameters
    ----------
    alpha : float, default=1e-6
        Price of a non-zero weight, in units of the loss; at least 0.

    References
    ----------
    M. A. Carreira-Perpinan and Y. Idelbayev, "Learning-compression" algorithms for
    neural net pruning, CVPR 2018.

    Examples
    --------
    >>> import torch
    >>> from sklc.schemes import PenaltyL0Pruning
    >>> weights = {"w": torch.tensor([3.0, -2.0, 0.5])}
    >>> PenaltyL0Pruning(alpha=1.0).compress(weights, mu=1.0)["w"].dense()
    tensor([ 3., -2.,  0.])
    """

    def __init__(self, alpha: float = 1e-6) -> None:
        self.alpha = alpha

    def validate(self) -> None:
        check_real(self, "alpha", 0.0)

    def _kept(self, rows: Tensor, mu: float) -> tuple[Tensor, Tensor]:
        threshold = math.sqrt(2.0 * float(self.alpha) / mu)
        return rows, torch.as_tensor(above(at_least_float32(rows), threshold))

    def _budgets(self, problem: Problem) -> Budgets:
        return _priced(0, problem, float(self.alpha))

    def _cost(self, name: str, code: Code, problem: Problem) -> Tensor:
        return float(self.alpha) * in_double(_entries(code).count_nonzero())


class PenaltyL1Pruning(_Pruning):
    r"""Shrink all weights by the same amount, which zeroes the small ones.

    Solves, exactly and in :math:`O(n)`,

    .. math:: \min_\theta \alpha \|\theta\|_1 + \frac\mu2 \|w - \theta\|^2,

    by the soft threshold :math:`\alpha/\mu`.

    Parameters
    ----------
    alpha : float, default=1e-6
        Price of a unit of magnitude, in units of the loss; at least 0.

    References
    ----------
    M. A. Carreira-Perpinan and Y. Idelbayev, "Learning-compression" algorithms for
    neural net pruning, CVPR 2018.

    Examples
    --------
    >>> import torch
    >>> from sklc.schemes import PenaltyL1Pruning
    >>> weights = {"w": torch.tensor([3.0, -2.0, 0.5])}
    >>> PenaltyL1Pruning(alpha=1.0).compress(weights, mu=1.0)["w"].dense()
    tensor([ 2., -1.,  0.])
    """

    def __init__(self, alpha: float = 1e-6) -> None:
        self.alpha = alpha

    def validate(self) -> None:
        check_real(self, "alpha", 0.0)

    def _kept(self, rows: Tensor, mu: float) -> tuple[Tensor, Tensor]:
        shrunk = shrink(rows, float(self.alpha) / mu)
        return shrunk, shrunk != 0

    def _budgets(self, problem: Problem) -> Budgets:
        return _priced(1, problem, float(self.alpha))

    def _cost(self, name: str, code: Code, problem: Problem) -> Tensor:
        entries = _entries(code)
        return float(self.alpha) * entries.abs().sum(dtype=sum_dtype(entries))


def _priced(order: int, problem: Problem, price: float) -> Budgets:
    """Return budgets that nothing but a price limits."""
    free = torch.tensor([math.inf], dtype=torch.float64)
    return {
        name: Budget(order, torch.zeros(w.shape, dtype=torch.long), free, price)
        for name, w in problem.weights.items()
    }


def _entries(code: Code) -> Tensor:
    """Return the weights that a code stands for, zeros left out where it lacks them."""
    return code.values if isinstance(code, Sparse) else code.dense()
