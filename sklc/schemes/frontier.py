"""What one weight can become: the least distortion at every size."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from sklc.codes import Code, Dense, Factored
from sklc.ops import svd
from sklc.ops.tensors import matricize, matrix_shape


class Frontier(ABC):
    r"""Of one weight, the best code of every size that it could have.

    Sizes are numbered, and the last one is the weight itself. What they cost is no part
    of it, so that one frontier answers many questions: the best code of a size, the
    best trade-off at a price, and (with the price moved) the best within a budget.

    Attributes
    ----------
    errors : Tensor of shape (n_sizes,)
        Least squared error :math:`\|w - \Delta(\Theta)\|^2` at each size, on the device
        of the weight.
    """

    @property
    @abstractmethod
    def errors(self) -> Tensor:
        """Least squared error at each size."""

    @abstractmethod
    def code(self, size: int) -> Code:
        """Return the best code of a size."""

    @abstractmethod
    def outline(self, size: int) -> Code:
        """Return the shape of a code of a size: its tensors are on the meta device."""

    def best(self, prices: Sequence[float], alpha: float | Tensor, mu: float) -> Tensor:
        r"""Return the size that is the best trade-off between price and error.

        Minimises :math:`\alpha\,C(s) + \frac\mu2\,e(s)` over the sizes `s`. A size that
        costs as much as the weight itself is never better; of sizes that tie the
        first is taken.

        Parameters
        ----------
        prices : sequence of float
            Price :math:`C(s)` of each size.
        alpha : float or scalar Tensor
        mu : float

        Returns
        -------
        integer scalar Tensor
            On the device of the weight: to look at it is left to the caller.
        """
        errors = self.errors
        price = torch.tensor(prices, dtype=errors.dtype).to(errors.device)
        objective = alpha * price + mu / 2 * errors
        useless = price >= price[-1]
        useless[-1] = False
        return objective.masked_fill(useless, torch.inf).argmin()


class RankFrontier(Frontier):
    r"""A weight as matrices of every rank, from 0 to the full one.

    The truncated singular value decomposition is the best matrix of its rank (Eckart
    and Young), with the tail of the squared singular values as error.

    Parameters
    ----------
    weight : Tensor of two or more dimensions
    view : {"scheme_1", "scheme_2"}
        How it is a matrix, see :func:`sklc.ops.tensors.matricize`.
    largest : int, default=None
        Largest rank that will be asked for, if it is known, which is faster: there are
        no larger sizes then.
    """

    def __init__(self, weight: Tensor, view: str, largest: int | None = None) -> None:
        self.weight = weight
        self.view = view
        self.shape = matrix_shape(weight.shape, view)
        self.full = min(self.shape)
        self.asked = largest
        self.largest = self.full if largest is None else min(largest, self.full)

    @cached_property
    def _svd(self) -> svd.SVD:
        known = None if self.largest == self.full else self.largest
        return svd.SVD(matricize(self.weight, self.view), known)

    @cached_property
    def _outlines(self) -> tuple[Tensor, Tensor]:
        """The largest two factors, without numbers."""
        m, n = self.shape
        outline = torch.empty(self.full, m + n, dtype=self.weight.dtype, device="meta")
        return outline[:, :m].T, outline[:, m:]

    @cached_property
    def errors(self) -> Tensor:
        square = self._svd.values[: self.largest].square()
        beyond = square.new_zeros(1)
        if self.largest < self.full:
            norm = self.weight.to(square).square().sum()
            beyond = (norm - square.sum()).clamp(min=0).unsqueeze(0)
        tail = square.flip(0).cumsum(0).flip(0)
        return torch.cat([tail + beyond, beyond])

    def code(self, size: int) -> Code:
        if size == self.full:
            return Dense(self.weight.clone())
        left, right = self._svd.truncate(size)
        return Factored(left, right, tuple(self.weight.shape), self.view)

    def outline(self, size: int) -> Code:
        if size == self.full:
            return Dense(torch.empty_like(self.weight, device="meta"))
        left, right = self._outlines
        shape = tuple(self.weight.shape)
        return Factored(left[:, :size], right[:size], shape, self.view)


def decompose(frontiers: Iterable[RankFrontier]) -> None:
    """Decompose weights together, so that the host waits less for their device.

    What is not decomposed here is when its frontier is first asked. One that will be
    asked for the weight itself needs no decomposition.
    """
    svd.decompose(f._svd for f in frontiers if f.asked is None or f.asked < f.full)
