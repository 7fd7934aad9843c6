"""Rows: within which part of the weights a budget, codebook or scale holds."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from sklc.checks import check_int
from sklc.codes import Code, Dense, Sparse
from sklc.schemes.problem import Problem


@dataclass(frozen=True, eq=False)
class Laid:
    """Weights laid out as matrices, each row of which is a problem of its own.

    Attributes
    ----------
    names : list of str
        Of the weights.
    matrices : list of Tensor of shape (groups, n)
        Where not all rows have one length there are several.
    codes : callable
        From the codes of the matrices to those of the weights.
    in_order : bool
        Whether the entries of the matrix are those of the weights, in their order.
    """

    names: list[str]
    matrices: list[Tensor]
    codes: Callable[[list[Code]], list[Any]]
    in_order: bool = True


class Rows(BaseEstimator, ABC):
    """How weights are cut into rows: a value, as the ``granularity`` of a scheme is."""

    @abstractmethod
    def lay(self, problem: Problem) -> Iterator[Laid]:
        """Yield the weights of a problem, laid out in rows."""

    def validate(self) -> None:
        """Raise a ValueError if a parameter is invalid."""

    def check(self, owner: object, problem: Problem) -> None:
        """Raise a ValueError if weights cannot be laid out for a scheme, `owner`."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))


class Joint(Rows):
    """One row of all weights."""

    def check(self, owner: object, problem: Problem) -> None:
        kinds = {(weight.dtype, weight.device) for weight in problem.weights.values()}
        if len(kinds) > 1:
            msg = (
                f"{type(owner).__name__}(granularity='joint') needs weights of one "
                f"dtype and device, got {sorted(map(str, kinds))}; use 'layer'."
            )
            raise ValueError(msg)

    def lay(self, problem: Problem) -> Iterator[Laid]:
        weights = problem.weights
        if not weights:
            return
        flat = [weight.reshape(1, -1) for weight in weights.values()]
        row = flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)
        shapes = [weight.shape for weight in weights.values()]
        yield Laid(list(weights), [row], lambda codes: codes[0].split(shapes))


class Layer(Rows):
    """One row for each weight."""

    def lay(self, problem: Problem) -> Iterator[Laid]:
        for name, weight in problem.weights.items():
            yield _alone(name, weight, 1)


class Channel(Rows):
    """One row for each output of each weight, on its first axis."""

    def check(self, owner: object, problem: Problem) -> None:
        for name in problem.weights:
            layer = problem.layers.get(name)
            if layer and layer.output_axis != 0:
                msg = (
                    f"granularity='channel' needs the outputs on the first axis, but "
                    f"{name!r} of {layer.kind} has them on axis {layer.output_axis}; "
                    "use 'layer' for it."
                )
                raise ValueError(msg)

    def lay(self, problem: Problem) -> Iterator[Laid]:
        for name, weight in problem.weights.items():
            yield _alone(name, weight, len(weight) if weight.ndim else 1)


def _alone(name: str, weight: Tensor, n_rows: int) -> Laid:
    rows = weight.reshape(n_rows, -1)
    return Laid([name], [rows], lambda codes: codes[0].split([weight.shape]))


class Blocks(Rows):
    """One row for every `m` weights that follow each other along the inputs.

    A weight ``(out, in)`` of a linear layer has blocks of ``weight[o, i : i + m]``, and
    a convolution ``(out, in, k1, k2)``, of `in` input channels of its group, those of
    ``weight[o, i : i + m, a, b]``: the same tap of neighbouring channels. In a
    transposed convolution ``(in, out, k1, k2)`` the inputs are on the first axis. Where
    `m` does not divide the number of inputs the last block of an output is shorter.

    A budget of `n` weights for blocks of `m` is n:m sparsity, for which processors have
    instructions:

    >>> import torch
    >>> from sklc.schemes import Blocks, ConstraintL0Pruning
    >>> two_to_four = ConstraintL0Pruning(kappa=2, granularity=Blocks(4))
    >>> weights = {"fc.weight": torch.tensor([[5.0, -4, 3, 2, 0.1, 0.2, 0.3, 0.4]])}
    >>> two_to_four.compress(weights, mu=1.0)["fc.weight"].dense()
    tensor([[ 5.0000, -4.0000,  0.0000,  0.0000,  0.0000,  0.0000,  0.3000,  0.4000]])

    Parameters
    ----------
    m : int, default=4
        Length of a block. Of a short last one a budget of more weights is all of it.

    Raises
    ------
    ValueError
        If `m` is not an int of at least 1, or a weight has no axis of inputs.
    """

    def __init__(self, m: int = 4) -> None:
        self.m = m

    def validate(self) -> None:
        check_int(self, "m", 1)

    def check(self, owner: object, problem: Problem) -> None:
        for name, weight in problem.weights.items():
            if weight.ndim < 2:
                msg = (
                    f"{self!r} runs along the inputs of a weight, but {name!r} has "
                    f"shape {tuple(weight.shape)}; select layers of two or more "
                    "dimensions."
                )
                raise ValueError(msg)

    def lay(self, problem: Problem) -> Iterator[Laid]:
        for name, weight in problem.weights.items():
            layer = problem.layers.get(name)
            axis = 1 - layer.output_axis if layer else 1
            n_inputs = weight.shape[axis]
            length = min(check_int(self, "m", 1), n_inputs)
            whole = n_inputs - n_inputs % length
            inputs_last = weight.movedim(axis, -1)
            spans = [(0, whole), (whole, n_inputs)][: 1 + (whole < n_inputs)]
            yield Laid(
                [name],
                [
                    inputs_last[..., first:last].reshape(-1, min(length, last - first))
                    for first, last in spans
                ],
                _Placed(weight.shape, axis, spans),
                in_order=False,
            )


@dataclass(frozen=True)
class _Placed:
    """Puts the codes of spans of the inputs in their places of a weight."""

    shape: torch.Size
    axis: int
    spans: list[tuple[int, int]]

    def __call__(self, codes: list[Code]) -> list[Code]:
        if all(isinstance(code, Sparse) for code in codes):
            return [self._sparse(codes)]
        if all(isinstance(code, Dense) for code in codes):
            return [self._dense(codes)]
        kinds = {type(code).__name__ for code in codes}
        msg = (
            f"Rows of blocks need codes that are Sparse or Dense, got {sorted(kinds)}; "
            "use another granularity."
        )
        raise TypeError(msg)

    def _sparse(self, codes: list[Any]) -> Sparse:
        if self.axis == len(self.shape) - 1 and len(codes) == 1:  # where they are
            return Sparse(codes[0].values, codes[0].index, tuple(self.shape))
        places = [
            self._places(code.index.long(), *span)
            for code, span in zip(codes, self.spans, strict=True)
        ]
        index, order = torch.cat(places).sort()
        values = torch.cat([code.values for code in codes])[order]
        few = self.shape.numel() < 1 << 31
        return Sparse(values, index.int() if few else index, tuple(self.shape))

    def _places(self, at: Tensor, first: int, last: int) -> Tensor:
        """Return where in the weight the entries of a span are, laid end to end."""
        behind = self.shape[self.axis + 1 :].numel()
        other, inputs = at // (last - first), at % (last - first) + first
        before, after = other // behind, other % behind
        return (before * self.shape[self.axis] + inputs) * behind + after

    def _dense(self, codes: list[Any]) -> Dense:
        others = [size for axis, size in enumerate(self.shape) if axis != self.axis]
        parts = [
            code.weight.reshape(*others, last - first)
            for code, (first, last) in zip(codes, self.spans, strict=True)
        ]
        return Dense(torch.cat(parts, dim=-1).movedim(-1, self.axis).contiguous())


#: Rows that have a name.
NAMED = {"joint": Joint(), "layer": Layer(), "channel": Channel()}
