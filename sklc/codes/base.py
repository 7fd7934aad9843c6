"""What every compressed tensor can do."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from sklc.codes.streams import Stream


class Code(ABC):
    """The compressed form of one weight: a frozen dataclass of tensors.

    Its floating-point fields are exactly its degrees of freedom, so that whatever
    values they take, :meth:`dense` stays what the scheme promised. Fields that are not
    tensors (or codes) are settings. What concerns several weights at once, such as a
    codebook that they share, is in :mod:`sklc.codes.theta`.
    """

    @property
    @abstractmethod
    def shape(self) -> torch.Size:
        """Shape of the weight."""

    @abstractmethod
    def dense(self) -> Tensor:
        """Decompress: the weight, differentiable in the degrees of freedom."""

    @abstractmethod
    def streams(self) -> dict[str, Stream]:
        """Return how each tensor field is stored, by field name."""

    def split(self, shapes: Sequence[torch.Size]) -> list[Self]:
        """Cut the code of a ``(groups, n)`` matrix into codes of the weights in it.

        Parameters
        ----------
        shapes : sequence of Size
            Shapes of the weights, laid end to end; one only if there are many groups.

        Returns
        -------
        list of codes
            What belongs to a group as a whole is the same tensor in all of them.
        """
        msg = f"{type(self).__name__} cannot be split over several weights."
        raise NotImplementedError(msg)

    def multiplicities(self) -> list[tuple[Tensor, Tensor]]:
        """Return the degrees of freedom that stand for many weights, with how many.

        Exactly, the squared norm of the derivative of :meth:`dense` with respect to
        each: the number of weights that have a value of a codebook, for example.
        """
        return []

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Return the same code with `function` applied to each of its tensors."""
        return replace(
            self,
            **{  # type: ignore[type-var]
                field.name: _mapped(getattr(self, field.name), function)
                for field in fields(self)  # type: ignore[arg-type]
            },
        )

    def tensors(self) -> list[Tensor]:
        """Return all tensors of the code, those of its parts included."""
        found: list[Tensor] = []
        self.map(lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
        return found


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Code):
        return value.map(function)
    if isinstance(value, dict):
        return {name: _mapped(part, function) for name, part in value.items()}
    return value


def descendants(kind: Any) -> list[Any]:
    """Return all subclasses of a class, theirs included."""
    children: list[Any] = kind.__subclasses__()
    return children + [below for child in children for below in descendants(child)]


def index_dtype(n_values: int) -> torch.dtype:
    """Return the smallest integer dtype that numbers `n_values` values."""
    if n_values <= 1 << 8:
        return torch.uint8
    return torch.int16 if n_values <= 1 << 15 else torch.int32
