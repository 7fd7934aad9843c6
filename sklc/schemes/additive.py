"""Sums of schemes on the same weights."""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor

from sklc.checks import check_int, check_real
from sklc.codes import Code, Sum, Theta, decompress
from sklc.layers import Layers
from sklc.ops.backend import sum_dtype
from sklc.schemes.base import Scheme, Weights
from sklc.schemes.composition import Composition


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

    def _solve(
        self,
        weights: Weights,
        mu: float,
        theta: Mapping[str, Code],
        layers: Layers | None,
    ) -> Theta:
        terms = [
            _Term(name, scheme, _fitting(scheme, _term(theta, name), weights))
            for name, scheme in self.schemes
        ]
        if any(term.theta for term in terms):
            return self._alternate(weights, mu, terms, layers)[1]
        # one after the other: only the best is held besides the one in work
        starts = (
            self._alternate(weights, mu, terms[first:] + terms[:first], layers)
            for first in range(len(terms))
        )
        return min(starts, key=lambda start: start[0])[1]

    def _alternate(
        self, weights: Weights, mu: float, terms: list["_Term"], layers: Layers | None
    ) -> tuple[float, Theta]:
        """Improve the terms in turn; return the objective and the sums."""
        terms = [copy(term) for term in terms]
        left = {name: weight.clone() for name, weight in weights.items()}
        for term in terms:
            term.take_from(left)
        objective = math.inf
        for _ in range(self.max_sweeps):
            for term in terms:
                term.improve(left, mu, layers)
            before, objective = (
                objective,
                mu / 2 * _square(left.values())
                + sum(term.penalty(weights, layers) for term in terms),
            )
            if before < math.inf and before - objective <= self.tol * before:
                break
        sums: dict[str, dict[str, Code]] = {name: {} for name in weights}
        found = {term.name: term.theta for term in terms}
        for name, _ in self.schemes:
            for weight, code in found[name].items():
                sums[weight][name] = code
        return objective, {name: Sum(parts) for name, parts in sums.items() if parts}

    def _feasible(self, theta: Mapping[str, Code]) -> bool:
        if not all(isinstance(code, Sum) for code in theta.values()):
            return False
        terms = [(scheme, _term(theta, name)) for name, scheme in self.schemes]
        return all(scheme._feasible(own) for scheme, own in terms if own)

    def _project(self, theta: Mapping[str, Code]) -> Theta:
        terms = {
            name: scheme.project(_term(theta, name)) for name, scheme in self.schemes
        }
        return {
            weight: Sum({name: terms[name][weight] for name in code.terms})
            for weight, code in theta.items()
            if isinstance(code, Sum)
        }

    def _cost(
        self, theta: Mapping[str, Code], weights: Weights | None, layers: Layers | None
    ) -> float:
        return sum(
            scheme._cost(_term(theta, name), weights, layers)
            for name, scheme in self.schemes
        )


class _Term:
    """A term of the sum: its scheme, its codes, and the weights they stand for."""

    def __init__(self, name: str, scheme: Scheme, theta: Theta) -> None:
        self.name = name
        self.scheme = scheme
        self.theta = theta
        self.dense = decompress(theta)

    def take_from(self, left: Mapping[str, Tensor]) -> None:
        """Subtract the term from what is left of the weights."""
        for name, dense in self.dense.items():
            left[name].sub_(dense)

    def penalty(self, weights: Weights, layers: Layers | None) -> float:
        return self.scheme._cost(self.theta, weights, layers)

    def improve(
        self, left: dict[str, Tensor], mu: float, layers: Layers | None
    ) -> None:
        """Compress anew what the other terms leave, and update what is left."""
        target = {
            name: left[name] + self.dense[name] if name in self.dense else left[name]
            for name in left
        }
        theta = self.scheme._solve(target, mu, self.theta, layers)
        new = _Term(self.name, self.scheme, theta)
        rest = {name: target[name] - dense for name, dense in new.dense.items()}
        if self.theta:
            old = {name: left[name] for name in new.dense}
            gain = self.penalty(target, layers) - new.penalty(target, layers)
            if gain + mu / 2 * (_square(old.values()) - _square(rest.values())) <= 0:
                return
        self.theta, self.dense = new.theta, new.dense
        left |= rest


def _term(theta: Mapping[str, Code], term: str) -> Theta:
    """Return one term of the sums in Θ, of those that have it."""
    return {
        name: code.terms[term]
        for name, code in theta.items()
        if isinstance(code, Sum) and term in code.terms
    }


def _fitting(scheme: Scheme, theta: Theta, weights: Weights) -> Theta:
    """Return the warm start of a term, or none if the scheme could not return it."""
    theta = {name: code for name, code in theta.items() if name in weights}
    if theta.keys() != set(scheme.covers(weights, selected=True)):
        return {}
    for name, dense in decompress(theta).items():
        weight = weights[name]
        if (dense.shape, dense.dtype, dense.device) != (
            weight.shape,
            weight.dtype,
            weight.device,
        ):
            return {}
    return theta if scheme._feasible(theta) else {}


def _square(tensors: Any) -> float:
    """Return the sum of squares of tensors, in double precision where there is one."""
    norms = (torch.linalg.vector_norm(x, dtype=sum_dtype(x)) for x in tensors)
    return sum(float(norm) ** 2 for norm in norms)
