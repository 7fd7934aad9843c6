"""Weights that take few values: learned ones, or fixed levels times a learned scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from sklc.codes.base import Code, is_below, is_numbers, require
from sklc.codes.dtypes import dtype_of
from sklc.codes.streams import Floats, Indices, Stream


@dataclass(frozen=True, eq=False)
class Quantized(Code):
    """A learned codebook and, for every weight, the number of its value.

    Attributes
    ----------
    codebook : Tensor of shape (1, k) or (out, k)
        The values: one list, or one per output channel (the first axis). With `zero`,
        those that are not the pinned zero.
    index : integer Tensor of the weight's shape
        Numbers into the codebook; with `zero`, 0 means zero and ``j`` the value
        ``j - 1``.
    zero : bool
        Whether one more value is pinned at zero.
    """

    codebook: Tensor
    index: Tensor
    zero: bool = False

    @property
    def shape(self) -> torch.Size:
        return self.index.shape

    @property
    def n_values(self) -> int:
        """How many values an index tells apart, a pinned zero included."""
        return self.codebook.shape[1] + self.zero

    def dense(self) -> Tensor:
        values = self.codebook
        if self.zero:
            values = torch.cat([values.new_zeros(len(values), 1), values], dim=1)
        return _look_up(values, self.index)

    def validate(self) -> None:
        require(type(self.zero) is bool, self, "a zero that is true or false")
        require(is_numbers(self.codebook, 2), self, "a matrix of real numbers")
        require(is_below(self.index, self.n_values), self, "indices into its codebook")
        require(_has_rows(self.index, len(self.codebook)), self, "a codebook per row")

    def streams(self) -> dict[str, Stream]:
        zero = 0 if self.zero else None
        return {
            "codebook": Floats(self.codebook),
            "index": Indices(self.index, self.n_values, zero),
        }

    def multiplicities(self) -> list[tuple[Tensor, Tensor]]:
        counts = _counts(self.index, len(self.codebook), self.n_values)
        return [(self.codebook, counts[:, int(self.zero) :].to(self.codebook))]

    def split(self, shapes: Sequence[torch.Size]) -> list[Self]:
        return [
            type(self)(self.codebook, index, self.zero)
            for index in _split(self.index, shapes)
        ]


@dataclass(frozen=True, eq=False)
class Scaled(Code):
    """Fixed levels times a learned scale.

    Attributes
    ----------
    index : integer Tensor of the weight's shape
        Numbers into `levels`.
    scale : Tensor of shape (1,) or (out,)
        One scale, or one per output channel (the first axis). Integer ones (as the
        scale that :class:`~sklc.schemes.BinaryQuantization` fixes) are no degree of
        freedom.
    levels : tuple of float
        Increasing.
    dtype : str
        Dtype of the weight.
    """

    index: Tensor
    scale: Tensor
    levels: tuple[float, ...]
    dtype: str

    @property
    def shape(self) -> torch.Size:
        return self.index.shape

    def dense(self) -> Tensor:
        dtype = dtype_of(self.dtype)
        levels = torch.tensor(self.levels, dtype=dtype, device=self.index.device)
        return _look_up(self.scale.to(dtype).unsqueeze(1) * levels, self.index)

    def validate(self) -> None:
        levels: object = self.levels
        numbers = isinstance(levels, tuple) and all(
            isinstance(level, int | float) and math.isfinite(level) for level in levels
        )
        require(numbers, self, "levels that are finite numbers")
        increasing = all(a < b for a, b in zip(self.levels, self.levels[1:]))  # noqa: B905
        require(increasing, self, "increasing levels")
        require(dtype_of(self.dtype).is_floating_point, self, "a dtype of real numbers")
        scale: object = self.scale
        row = isinstance(scale, Tensor) and scale.ndim == 1 and not scale.is_complex()
        require(row, self, "a row of scales")
        require(is_below(self.index, len(self.levels)), self, "indices into its levels")
        require(_has_rows(self.index, len(self.scale)), self, "one scale per row")

    def streams(self) -> dict[str, Stream]:
        zero = self.levels.index(0.0) if 0.0 in self.levels else None
        streams: dict[str, Stream] = {
            "index": Indices(self.index, len(self.levels), zero)
        }
        if self.scale.is_floating_point():
            streams["scale"] = Floats(self.scale)
        return streams

    def multiplicities(self) -> list[tuple[Tensor, Tensor]]:
        if not self.scale.is_floating_point():
            return []
        counts = _counts(self.index, len(self.scale), len(self.levels))
        squares = self.scale.new_tensor(self.levels).square()
        return [(self.scale, counts.to(self.scale) @ squares)]

    def split(self, shapes: Sequence[torch.Size]) -> list[Self]:
        return [
            type(self)(index, self.scale, self.levels, self.dtype)
            for index in _split(self.index, shapes)
        ]


def _has_rows(index: Tensor, rows: int) -> bool:
    """Whether so many rows of values are for all of an index, or for each channel."""
    return rows == 1 or (index.ndim > 0 and rows == len(index) > 0)


def _look_up(values: Tensor, index: Tensor) -> Tensor:
    """Return ``values[row, index]``, a row of values for all or for each channel."""
    if len(values) == 1:
        return values[0].index_select(0, index.reshape(-1).int()).view(index.shape)
    rows = index.reshape(len(values), -1).long()
    return values.gather(1, rows).view(index.shape)


def _counts(index: Tensor, rows: int, n_values: int) -> Tensor:
    """Return how often each value occurs, in each row of a (rows, n) index."""
    offsets = n_values * torch.arange(rows, device=index.device).unsqueeze(1)
    flat = (index.reshape(rows, -1).long() + offsets).reshape(-1)
    return flat.bincount(minlength=rows * n_values).view(rows, n_values)


def _split(index: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    parts = index.reshape(-1).split([shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
