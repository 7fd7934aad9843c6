"""Sums of schemes on the same weights."""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from sklc.checks import check_int, check_real
from sklc.codes import Code, Sum, Theta, decompress
from sklc.ops.backend import at_least_float32, numbers, sum_dtype
from sklc.schemes.base import Scheme, floats
from sklc.schemes.composition import Composition
from sklc.schemes.problem import Problem, Weights

_PIECE = 1 << 20  # numbers of which the error is summed at once


class Additive(Composition):
    r"""Represent the same weights as a sum of differently compressed terms.

    Minimises, over the terms of the sum in turn,

    .. math:: \min_{\Theta_1, \Theta_2, \dots} \; \sum_t \mathrm{cost}_t(\Theta_t)
              + \frac\mu2 \Big\|w - \sum_t \Delta_t(\Theta_t)\Big\|^2 :

    each term compresses what the others leave of the weights. No sweep over the terms
    raises the objective. The result is a local optimum, as good as or better than its
    warm start; without one, the best of those that begin with each of the terms.

    Parameters
    ----------
    schemes : list of (name, scheme)
        The terms; `name` is how :meth:`set_params` and a grid search reach a scheme
        (``name__parameter``).
    max_sweeps : int, default=50
    tol : float, default=1e-4
        Stop when a sweep lowers the objective by less than this, relatively.

    References
    ----------
    Y. Idelbayev and M. A. Carreira-Perpinan, More general and effective model
    compression via an additive combination of compressions, ECML PKDD 2021.

    Examples
    --------
    >>> import torch
    >>> from sklc.schemes import AdaptiveQuantization, Additive, ConstraintL0Pruning
    >>> scheme = Additive([
    ...     ("codes", AdaptiveQuantization(k=2)),
    ...     ("corrections", ConstraintL0Pruning(kappa=1)),
    ... ])
    >>> weights = {"w": torch.tensor([1.0, 2.0, 1.0, 2.0, 9.0])}
    >>> scheme.compress(weights, mu=1.0)["w"].dense().round(decimals=3)
    tensor([1., 2., 1., 2., 9.])
    """

    exact = False

    def __init__(
        self,
        schemes: Sequence[tuple[str, Scheme]] = (),
        max_sweeps: int = 50,
        tol: float = 1e-4,
    ) -> None:
        self.schemes = schemes
        self.max_sweeps = max_sweeps
        self.tol = tol

    _form = "(name, scheme)"

    def validate(self) -> None:
        super().validate()
        check_int(self, "max_sweeps", 1)
        check_real(self, "tol", 0.0)
        for name, scheme in self.schemes:
            if scheme.rescales_distortion:
                msg = (
                    f"The term {name!r} of Additive measures its error in units of its "
                    "own, RankSelection(normalize=True); use normalize=False."
                )
                raise ValueError(msg)

    def covers(self, weights: Weights, *, selected: bool = False) -> list[str]:
        self.validate()
        covered = {
            name
            for _, scheme in self.schemes
            for name in scheme.covers(weights, selected=selected)
        }
        return [name for name in weights if name in covered]

    def _check(self, problem: Problem) -> None:
        for _, scheme in self.schemes:
            scheme._check(problem)

    def _solve(self, problem: Problem, theta: Mapping[str, Code]) -> Theta:
        starts = {
            name: _fitting(scheme, _term(theta, name), problem)
            for name, scheme in self.schemes
        }
        if any(starts.values()):
            return _sums(self._alternate(problem, starts, 0)[1], problem)
        # one after the other: only the best is held besides the one in work
        found = (
            self._alternate(problem, starts, first) for first in range(len(starts))
        )
        return _sums(min(found, key=lambda terms: terms[0])[1], problem)

    def _alternate(
        self, problem: Problem, terms: dict[str, Theta], first: int
    ) -> tuple[float, dict[str, Theta]]:
        """Improve the terms in turn, from the `first` on; return the objective, too."""
        turns = [*self.schemes[first:], *self.schemes[:first]]
        terms = dict(terms)
        objective = math.inf
        for _ in range(int(self.max_sweeps)):
            before = objective
            for name, scheme in turns:
                others = [terms[other] for other, _ in turns if other != name]
                terms[name], distortion = _improved(
                    scheme, problem, others, terms[name]
                )
            costs = (
                _total(scheme, terms[name], problem) for name, scheme in self.schemes
            )
            objective = problem.mu / 2 * distortion + sum(costs)
            if before < math.inf and before - objective <= float(self.tol) * before:
                break
        return objective, terms

    def _feasible(self, theta: Mapping[str, Code], problem: Problem) -> bool:
        if not all(isinstance(code, Sum) for code in theta.values()):
            return False
        terms = [(scheme, _term(theta, name)) for name, scheme in self.schemes]
        return all(scheme._feasible(own, problem) for scheme, own in terms if own)

    def _project(self, theta: Mapping[str, Code], problem: Problem) -> Theta:
        terms = {
            name: scheme.project(_term(theta, name), problem.layers)
            for name, scheme in self.schemes
        }
        return {
            weight: Sum({name: terms[name][weight] for name in code.terms})
            for weight, code in theta.items()
            if isinstance(code, Sum)
        }

    def _costs(
        self, theta: Mapping[str, Code], problem: Problem
    ) -> dict[str, float | Tensor]:
        costs: dict[str, float | Tensor] = dict.fromkeys(theta, 0.0)
        for name, scheme in self.schemes:
            for weight, cost in scheme._costs(_term(theta, name), problem).items():
                costs[weight] = costs[weight] + cost
        return costs


def _improved(
    scheme: Scheme, problem: Problem, others: Iterable[Theta], theta: Theta
) -> tuple[Theta, float]:
    """Compress what other terms leave of the weights.

    Returns
    -------
    dict of str to Code
        The result, or the term as it was if that is as good.
    float
        The squared error of the sum with it.
    """
    left = problem
    for other in others:
        left = left.minus(decompress(other))
    new = scheme._solve(left, theta)
    after = _distortion(left, new)
    if not theta:
        return new, after
    before = _distortion(left, theta)
    gain = _total(scheme, theta, left) - _total(scheme, new, left)
    if gain + left.mu / 2 * (before - after) <= 0:
        return theta, before
    return new, after


def _distortion(problem: Problem, theta: Theta) -> float:
    """Return the squared error of Θ, in which weights without a code count in full."""
    squares = []
    for name, weight in problem.weights.items():
        dense = theta[name].dense() if name in theta else torch.zeros_like(weight)
        # a piece at a time, lest numbers in double precision fill the memory
        pieces = zip(
            *(x.reshape(-1).split(_PIECE) for x in (weight, dense)), strict=True
        )
        squares += [_square(at_least_float32(w) - d) for w, d in pieces]
    return math.fsum(numbers(squares))


def _square(x: Tensor) -> Tensor:
    """Return the sum of squares, in double precision where there is one."""
    norm: Tensor = torch.linalg.vector_norm(x, dtype=sum_dtype(x))
    return norm.square()


def _total(scheme: Scheme, theta: Theta, problem: Problem) -> float:
    return sum(floats(scheme._costs(theta, problem)).values())


def _sums(terms: Mapping[str, Theta], problem: Problem) -> Theta:
    """Return the sum of what each weight has of terms."""
    return {
        weight: Sum({name: t[weight] for name, t in terms.items() if weight in t})
        for weight in problem.weights
        if any(weight in theta for theta in terms.values())
    }


def _term(theta: Mapping[str, Code], term: str) -> Theta:
    """Return one term of the sums in Θ, of those that have it."""
    return {
        name: code.terms[term]
        for name, code in theta.items()
        if isinstance(code, Sum) and term in code.terms
    }


def _fitting(scheme: Scheme, theta: Theta, problem: Problem) -> Theta:
    """Return the warm start of a term, or none if the scheme could not return it."""
    weights = problem.weights
    theta = {name: code for name, code in theta.items() if name in weights}
    if theta.keys() != set(scheme.covers(weights, selected=True)):
        return {}
    for name, code in theta.items():
        dense, weight = code.dense(), weights[name]
        if (dense.shape, dense.dtype, dense.device) != (
            weight.shape,
            weight.dtype,
            weight.device,
        ):
            return {}
    return theta if scheme._feasible(theta, problem) else {}
