"""Weights that are products of two thin matrices."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sklc.codes.base import Code, is_numbers, is_shape, require
from sklc.codes.streams import Floats, Stream
from sklc.ops.tensors import VIEWS, matrix_shape, tensorize


@dataclass(frozen=True, eq=False)
class Factored(Code):
    """A low-rank matrix ``left @ right``, folded back into the weight.

    Attributes
    ----------
    left : Tensor of shape (m, rank)
    right : Tensor of shape (rank, n)
    size : tuple of int
        Shape of the weight.
    conv_scheme : {"scheme_1", "scheme_2"}
        How a convolution is viewed as an (m, n) matrix, see
        :func:`sklc.ops.tensors.matricize`.
    """

    left: Tensor
    right: Tensor
    size: tuple[int, ...]
    conv_scheme: str = "scheme_1"

    @property
    def shape(self) -> torch.Size:
        return torch.Size(self.size)

    @property
    def rank(self) -> int:
        """Columns of `left` and rows of `right`."""
        return self.left.shape[1]

    def dense(self) -> Tensor:
        return tensorize(self.left @ self.right, self.shape, self.conv_scheme)

    def validate(self) -> None:
        factors = is_numbers(self.left, 2) and is_numbers(self.right, 2)
        require(factors, self, "two matrices of real numbers")
        require(self.left.dtype == self.right.dtype, self, "factors of one dtype")
        require(self.right.shape[0] == self.rank, self, "two factors of one rank")
        view = self.conv_scheme in VIEWS
        require(view, self, f"a conv_scheme of {', '.join(VIEWS)}")
        matrix = is_shape(self.size) and len(self.size) > 1
        require(matrix, self, "a shape of two dimensions or more")
        found = self.left.shape[0], self.right.shape[1]
        fits = matrix_shape(self.shape, self.conv_scheme) == found
        require(fits, self, f"factors of its shape {self.size}")

    def streams(self) -> dict[str, Stream]:
        return {"left": Floats(self.left), "right": Floats(self.right)}
