"""Different schemes for different layers."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from sklc.budget import Budget, Budgets
from sklc.codes import Code, Theta
from sklc.schemes.base import Scheme
from sklc.schemes.composition import Composition
from sklc.schemes.problem import Problem, Weights
from sklc.selection import Selector, select


class Mixed(Composition):
    r"""Compress different layers by different schemes.

    Solves the C step of every scheme for its own layers; weights that none selects are
    left alone, and are trained freely. Exact if the schemes are.

    Parameters
    ----------
    schemes : list of (name, scheme, layers)
        `name` is how :meth:`set_params` and a grid search reach the scheme
        (``name__parameter``), and `layers` says which weights it compresses: a shell
        pattern, a list of patterns, or a callable, see :func:`sklc.selection.select`.

    Raises
    ------
    ValueError
        If a selection is empty, or a weight is selected twice.

    Examples
    --------
    >>> import torch
    >>> from sklc.schemes import AdaptiveQuantization, ConstraintL0Pruning, Mixed
    >>> scheme = Mixed([
    ...     ("prune", ConstraintL0Pruning(kappa=1), "fc1"),
    ...     ("quantize", AdaptiveQuantization(k=1), "fc2"),
    ... ])
    >>> weights = {"fc1.weight": torch.tensor([[1.0, 2.0]]),
    ...            "fc2.weight": torch.tensor([[1.0, 2.0]])}
    >>> for name, code in scheme.compress(weights, mu=1.0).items():
    ...     print(name, code.dense())
    fc1.weight tensor([[0., 2.]])
    fc2.weight tensor([[1.5000, 1.5000]])
    >>> scheme.set_params(prune__kappa=2).schemes[0][1]
    ConstraintL0Pruning(kappa=2)
    """

    def __init__(self, schemes: Sequence[tuple[str, Scheme, Selector]] = ()) -> None:
        self.schemes = schemes

    _form = "(name, scheme, layers)"

    @property
    def exact(self) -> bool:
        return all(scheme.exact for _, scheme, _ in self.schemes)

    def _parts(
        self, weights: Mapping[str, Any], *, strict: bool = True
    ) -> list[tuple[Scheme, list[str]]]:
        """Return the schemes and the names of their weights."""
        owner: dict[str, str] = {}
        parts = []
        for name, scheme, selector in self.schemes:
            names = select(selector, weights, strict=strict)
            for weight in names:
                if weight in owner:
                    msg = (
                        f"{weight!r} is selected by {owner[weight]!r} and by {name!r}. "
                        "Make their layers disjoint, or use Additive to compress a "
                        "weight as a sum."
                    )
                    raise ValueError(msg)
                owner[weight] = name
            parts.append((scheme, names))
        return parts

    def covers(self, weights: Weights, *, selected: bool = False) -> list[str]:
        self.validate()
        covered = {
            name
            for scheme, names in self._parts(weights)
            for name in scheme.covers({n: weights[n] for n in names}, selected=True)
        }
        return [name for name in weights if name in covered]

    def _check(self, problem: Problem) -> None:
        for scheme, names in self._parts(problem.weights):
            scheme._check(problem.only(names))

    def _solve(self, problem: Problem, theta: Mapping[str, Code]) -> Theta:
        found: Theta = {}
        for scheme, names in self._parts(problem.weights):
            found |= scheme._solve(problem.only(names), theta)
        return {name: found[name] for name in problem.weights if name in found}

    def _split(
        self, theta: Mapping[str, Code], problem: Problem
    ) -> list[tuple[Scheme, Theta]]:
        """Return the schemes and the codes of their weights."""
        # a selector may look at weights, so these must be had
        weights = {
            name: problem.weights[name] if name in problem.weights else code.dense()
            for name, code in theta.items()
        }
        # a selected weight that a scheme leaves alone is not in its Θ: not strict
        return [
            (scheme, {name: theta[name] for name in names})
            for scheme, names in self._parts(weights, strict=False)
            if names
        ]

    def _feasible(self, theta: Mapping[str, Code], problem: Problem) -> bool:
        return all(
            scheme._feasible(own, problem)
            for scheme, own in self._split(theta, problem)
        )

    def _project(self, theta: Mapping[str, Code], problem: Problem) -> Theta:
        found: Theta = {}
        for scheme, own in self._split(theta, problem):
            found |= scheme.project(own, problem.layers)
        return {name: found[name] for name in theta}

    def _budgets(self, problem: Problem) -> Budgets:
        found: dict[str, Budget] = {}
        for scheme, names in self._parts(problem.weights):
            found |= scheme._budgets(problem.only(names))
        return found

    def _costs(
        self, theta: Mapping[str, Code], problem: Problem
    ) -> dict[str, float | Tensor]:
        costs: dict[str, float | Tensor] = {}
        for scheme, own in self._split(theta, problem):
            costs |= scheme._costs(own, problem)
        return {name: costs[name] for name in theta if name in costs}
