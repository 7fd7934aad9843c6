"""A weight that is kept as it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from sklc.codes.base import Code, require
from sklc.codes.streams import Floats, Stream


@dataclass(frozen=True, eq=False)
class Dense(Code):
    """The weight itself, where compressing it would not pay.

    Attributes
    ----------
    weight : Tensor
    """

    weight: Tensor

    @property
    def shape(self) -> torch.Size:
        return self.weight.shape

    def dense(self) -> Tensor:
        return self.weight

    def streams(self) -> dict[str, Stream]:
        return {"weight": Floats(self.weight)}

    def validate(self) -> None:
        weight: object = self.weight
        good = isinstance(weight, Tensor) and weight.is_floating_point()
        require(good, self, "a tensor of real numbers")

    def split(self, shapes: Sequence[torch.Size]) -> list[Self]:
        parts = self.weight.reshape(-1).split([shape.numel() for shape in shapes])
        return [
            type(self)(part.view(shape))
            for part, shape in zip(parts, shapes, strict=True)
        ]
