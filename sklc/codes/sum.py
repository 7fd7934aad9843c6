"""Weights that are sums of codes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sklc.codes.base import Code, require
from sklc.codes.streams import Stream
from sklc.ops.backend import at_least_float32


@dataclass(frozen=True, eq=False)
class Sum(Code):
    """The sum of several codes of the same weight.

    Attributes
    ----------
    terms : dict of str to Code
        By the names of the terms of :class:`~sklc.schemes.Additive`; at least one.
    """

    terms: dict[str, Code]

    @property
    def shape(self) -> torch.Size:
        return next(iter(self.terms.values())).shape

    def dense(self) -> Tensor:
        first, *others = (term.dense for term in self.terms.values())
        total = first()
        dtype = total.dtype
        for dense in others:  # one at a time, rounded once
            total = at_least_float32(total) + dense()
        return total.to(dtype)

    def validate(self) -> None:
        terms: object = self.terms
        codes = isinstance(terms, dict) and all(
            isinstance(term, Code) for term in terms.values()
        )
        require(codes and bool(self.terms), self, "terms, at least one")
        for term in self.terms.values():
            term.validate()
            require(term.shape == self.shape, self, "terms of one shape")

    def streams(self) -> dict[str, Stream]:
        return {
            f"{name}.{field}": stream
            for name, term in self.terms.items()
            for field, stream in term.streams().items()
        }

    def leaves(self) -> list[Code]:
        return [leaf for term in self.terms.values() for leaf in term.leaves()]

    def multiplicities(self) -> list[tuple[Tensor, Tensor]]:
        return [pair for term in self.terms.values() for pair in term.multiplicities()]
