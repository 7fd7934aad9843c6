"""What every compressed tensor can do."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from sklc.codes.streams import Stream

_INTEGERS = torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64


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

    def validate(self) -> None:  # noqa: B027
        """Raise a ValueError unless the fields make a code.

        For codes that come from elsewhere, which nobody is to believe. Nothing is
        decompressed, and :meth:`dense` is safe to call if this returns; whether there
        is memory for the :attr:`shape` is another question.
        """

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

    def leaves(self) -> "list[Code]":
        """Return the codes that it is made of, which are made of no others."""
        return [self]

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


def require(good: bool, code: Code, what: str) -> None:
    """Raise a ValueError that says `what` a code needs, unless it has it."""
    if not good:
        msg = f"A {type(code).__name__} needs {what}."
        raise ValueError(msg)


def is_numbers(tensor: Any, ndim: int) -> bool:
    """Whether something is a tensor of real numbers, with so many dimensions."""
    floats = isinstance(tensor, Tensor) and tensor.is_floating_point()
    return floats and tensor.ndim == ndim


def is_below(index: Any, n: int) -> bool:
    """Whether something is a tensor of integers from 0 to below `n`."""
    if not isinstance(index, Tensor) or index.dtype not in _INTEGERS:
        return False
    return not index.numel() or bool(index.min() >= 0 and index.max() < n)


def is_shape(size: Any) -> bool:
    """Whether something is a tuple of sizes."""
    return isinstance(size, tuple) and all(
        type(length) is int and length >= 0 for length in size
    )


def index_dtype(n_values: int) -> torch.dtype:
    """Return the smallest integer dtype that numbers `n_values` values."""
    if n_values <= 1 << 8:
        return torch.uint8
    return torch.int16 if n_values <= 1 << 15 else torch.int32
