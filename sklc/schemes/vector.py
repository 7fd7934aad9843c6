"""Schemes that see weights as vectors."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sklc.budget import Budget, Budgets
from sklc.checks import check, is_one_of
from sklc.codes import Code, Theta
from sklc.ops.backend import numbers
from sklc.schemes.base import Scheme
from sklc.schemes.problem import Problem
from sklc.schemes.rows import NAMED, Rows


class VectorScheme(Scheme):
    """A scheme that sees weights as vectors.

    A subclass writes :meth:`_compress` for a matrix each row of which is a problem of
    its own. What the rows are is the scheme's ``granularity``: ``"joint"``, one row of
    all weights; ``"layer"``, one row per weight; ``"channel"``, one row per output
    channel (the first axis) of a weight; or an object that says so, such as
    :class:`~sklc.schemes.Blocks`, if ``any_rows`` is true.
    """

    granularity: str | Rows = "layer"

    #: Whether rows may be any parts of a weight: codes are Sparse or Dense then.
    any_rows = False

    @abstractmethod
    def _compress(self, rows: Tensor, mu: float, warm: Code | None) -> Code:
        """Compress each row of a matrix.

        Parameters
        ----------
        rows : Tensor of shape (groups, n)
        mu : float
        warm : Code or None
            The warm start of the first weight in `rows`, of any kind. None if the rows
            are parts of a weight of another shape.

        Returns
        -------
        Code of shape (groups, n)
        """

    def _compress_each(
        self, problems: Sequence[tuple[Tensor, Code | None]], mu: float
    ) -> list[Code]:
        """Compress several matrices, each as :meth:`_compress` does.

        A scheme that must wait for a device does so once for all of them here.

        Parameters
        ----------
        problems : sequence of (rows, warm)
        mu : float
        """
        return [self._compress(rows, mu, warm) for rows, warm in problems]

    def _improve(self, rows: Tensor, warm: Code) -> Code | None:
        """Return a code that is no worse than a warm start, and cheaply found.

        None if the warm start does not fit, or nothing is cheaper than to compress.
        """
        return None

    def _improved(self, rows: Tensor, warm: Code | None, mu: float) -> Code:
        found = None if warm is None else self._improve(rows, warm)
        return self._compress(rows, mu, warm) if found is None else found

    def _feasible_rows(self, rows: Tensor) -> bool | Tensor:
        """Whether every row of a decompressed matrix keeps the constraint.

        Returns
        -------
        bool, or bool Tensor of shape ()
            The latter spares a wait for the device of the rows.
        """
        return True

    def validate(self) -> None:
        if self.any_rows and isinstance(self.granularity, Rows):
            self.granularity.validate()
            return
        wanted = "one of " + ", ".join(map(repr, NAMED))
        if self.any_rows:
            wanted += ", or rows such as Blocks(4)"
        check(self, "granularity", is_one_of(self.granularity, NAMED), wanted)

    @property
    def _rows(self) -> Rows:
        value = self.granularity
        return value if isinstance(value, Rows) else NAMED[value]

    def _check(self, problem: Problem) -> None:
        self._rows.check(self, problem)

    def _groups(self, problem: Problem) -> Iterator[tuple[list[str], Tensor]]:
        """Yield names of weights, and a matrix of rows of theirs."""
        for laid in self._rows.lay(problem):
            for matrix in laid.matrices:
                yield laid.names, matrix

    def _solve(self, problem: Problem, theta: Mapping[str, Code]) -> Theta:
        laid = list(self._rows.lay(problem))
        problems = [
            (rows, theta.get(part.names[0]) if part.in_order else None)
            for part in laid
            for rows in part.matrices
        ]
        if problem.improve:
            codes = iter([self._improved(*each, problem.mu) for each in problems])
        else:
            codes = iter(self._compress_each(problems, problem.mu))
        result: Theta = {}
        for part in laid:
            own = [next(codes) for _ in part.matrices]
            result.update(zip(part.names, part.codes(own), strict=True))
        return result

    def _row_budgets(
        self, problem: Problem, order: int, most: Callable[[int], float]
    ) -> Budgets:
        """Return budgets of rows, which depend on their lengths."""
        sizes = [weight.numel() for weight in problem.weights.values()]
        places = torch.arange(sum(sizes)).split(sizes)
        numbered = {
            name: place.view(weight.shape)
            for (name, weight), place in zip(
                problem.weights.items(), places, strict=True
            )
        }
        rows = torch.empty(sum(sizes), dtype=torch.long)
        granted: list[float] = []
        for _, matrix in self._groups(replace(problem, weights=numbered)):
            numbers = len(granted) + torch.arange(len(matrix))
            rows[matrix] = numbers.unsqueeze(1).expand_as(matrix)
            granted += [most(matrix.shape[1])] * len(matrix)
        most_of = torch.tensor(granted, dtype=torch.float64)
        parts = zip(problem.weights.items(), rows.split(sizes), strict=True)
        return {
            name: Budget(order, own.view(weight.shape), most_of)
            for (name, weight), own in parts
        }

    def _feasible(self, theta: Mapping[str, Code], problem: Problem) -> bool:
        dense = {name: code.dense() for name, code in theta.items()}
        laid = self._groups(Problem(dense, layers=problem.layers))
        return all(numbers(self._feasible_rows(rows) for _, rows in laid))
