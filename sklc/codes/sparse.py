"""Weights most of which are zero."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from sklc.codes.base import Code, is_below, is_numbers, is_shape, require
from sklc.codes.streams import Floats, Positions, Stream
from sklc.ops.sorting import pick


@dataclass(frozen=True, eq=False)
class Sparse(Code):
    """The values that are not zero and where they are.

    Attributes
    ----------
    values : Tensor of shape (n_nonzero,)
    index : integer Tensor of shape (n_nonzero,)
        Their positions in the weight laid out in a row, increasing.
    size : tuple of int
        Shape of the weight.
    """

    values: Tensor
    index: Tensor
    size: tuple[int, ...]

    @classmethod
    def of(cls, weight: Tensor, keep: Tensor) -> Self:
        """Keep the entries of `weight` where the mask `keep` of its shape is true."""
        dtype = _index_dtype(weight)
        values, index = pick(weight.reshape(-1), keep.reshape(-1), dtype)
        return cls(values, index, tuple(weight.shape))

    @classmethod
    def of_each(cls, kept: Sequence[tuple[Tensor, Tensor]]) -> list[Self]:
        """Keep entries of several weights, each as :meth:`of` does.

        However many there are, the host waits for their device twice.

        Parameters
        ----------
        kept : sequence of (weight, keep)
            At least one, all on one device.
        """
        together = torch.cat([keep.reshape(-1) for _, keep in kept])
        shapes = [weight.shape for weight, _ in kept]
        (places,) = together.nonzero(as_tuple=True)
        codes = cls(places, places, tuple(together.shape)).split(shapes)
        return [
            cls(
                weight.reshape(-1).index_select(0, code.index),
                code.index.to(_index_dtype(weight)),
                code.size,
            )
            for (weight, _), code in zip(kept, codes, strict=True)
        ]

    @property
    def shape(self) -> torch.Size:
        return torch.Size(self.size)

    def dense(self) -> Tensor:
        zeros = self.values.new_zeros(self.shape.numel())
        return zeros.index_put((self.index.long(),), self.values).view(self.shape)

    def validate(self) -> None:
        require(is_shape(self.size), self, "a shape")
        require(is_numbers(self.values, 1), self, "a row of real numbers")
        places = is_below(self.index, self.shape.numel())
        require(places, self, f"positions in its shape {self.size}")
        fits = self.index.shape == self.values.shape
        require(fits, self, "as many positions as values")
        increasing = bool((self.index[1:] > self.index[:-1]).all())
        require(increasing, self, "increasing positions")

    def streams(self) -> dict[str, Stream]:
        return {
            "values": Floats(self.values),
            "index": Positions(self.index, self.shape.numel()),
        }

    def split(self, shapes: Sequence[torch.Size]) -> list[Self]:
        if len(shapes) == 1:
            return [type(self)(self.values, self.index, tuple(shapes[0]))]
        sizes = torch.tensor([shape.numel() for shape in shapes])
        ends = sizes.cumsum(0)
        at = torch.searchsorted(
            self.index, ends.to(self.index.device, self.index.dtype)
        ).tolist()
        codes = []
        for shape, first, last, end in zip(
            shapes, [0, *at[:-1]], at, ends.tolist(), strict=True
        ):
            index = self.index[first:last] - (end - shape.numel())
            codes.append(type(self)(self.values[first:last], index, tuple(shape)))
        return codes


def _index_dtype(weight: Tensor) -> torch.dtype:
    """Return the dtype that numbers the entries of a weight."""
    return torch.int32 if weight.numel() < 1 << 31 else torch.int64
