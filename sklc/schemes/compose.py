"""Schemes made of schemes: different ones for different layers, and sums."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import torch
from sklearn.utils.metaestimators import _BaseComposition
from torch import Tensor

from sklc.codes import Code, Sum, decompress
from sklc.layers import Layers
from sklc.schemes.base import Scheme, Theta, Weights
from sklc.schemes.validation import check_int, check_real
from sklc.selection import Selector, select


class _Composition(_BaseComposition, Scheme):
    """A scheme with named parts, whose parameters are reached as ``name__parameter``.

    A part is a tuple that begins with its name and its scheme.
    """

    schemes: Sequence[Any]

    @property
    def _named(self) -> list[tuple[str, Any]]:
        """The (name, scheme) pairs, which is what _BaseComposition works on."""
        return [(name, scheme) for name, scheme, *_ in self.schemes]

    @_named.setter
    def _named(self, pairs: list[tuple[str, Any]]) -> None:
        self.schemes = [
            (name, scheme, *part[2:])
            for (name, scheme), part in zip(pairs, self.schemes, strict=True)
        ]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, those of the parts as ``name__parameter``."""
        try:
            return self._get_params("_named", deep=deep) | {"schemes": self.schemes}
        except (TypeError, ValueError):  # not (yet) valid: validate() will say so
            return super().get_params(deep=False)

    def set_params(self, **params: Any) -> "_Composition":
        """Set parameters: ``name`` replaces a part, ``name__parameter`` changes one."""
        if "schemes" in params:
            self.schemes = params.pop("schemes")
        self._set_params("_named", **params)
        return self

    @property
    @abstractmethod
    def _form(self) -> str:
        """How a part is written."""

    def validate(self) -> None:
        kind = type(self).__name__
        length = self._form.count(",") + 1
        if not isinstance(self.schemes, list | tuple) or not self.schemes:
            msg = f"{kind} needs a list of {self._form}, got {self.schemes!r}."
            raise ValueError(msg)
        for part in self.schemes:
            if not isinstance(part, tuple) or len(part) != length:
                msg = f"Each part of {kind} must be {self._form}, got {part!r}."
                raise ValueError(msg)
            name, scheme = part[:2]
            if not isinstance(name, str) or not isinstance(scheme, Scheme):
                msg = (
                    f"Each part of {kind} must be {self._form} with a str and a "
                    f"Scheme, got {part!r}."
                )
                raise TypeError(msg)
        self._validate_names([part[0] for part in self.schemes])
        for _, scheme, *_ in self.schemes:
            scheme.validate()

    @property
    def rescales_distortion(self) -> bool:
        return any(scheme.rescales_distortion for _, scheme, *_ in self.schemes)


class Mixed(_Composition):
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
    def exact(self) -> bool:  # type: ignore[override]
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

    def _solve(
        self,
        weights: Weights,
        mu: float,
        theta: Mapping[str, Code],
        layers: Layers | None,
    ) -> Theta:
        found: Theta = {}
        for scheme, names in self._parts(weights):
            own = {name: weights[name] for name in names}
            found |= scheme._solve(own, mu, theta, layers)
        return {name: found[name] for name in weights if name in found}

    def _split(self, theta: Mapping[str, Code]) -> list[tuple[Scheme, Theta]]:
        # a selected weight that a scheme leaves alone is not in its Θ: not strict
        parts = self._parts(decompress(theta), strict=False)
        return [
            (scheme, {name: theta[name] for name in names})
            for scheme, names in parts
            if names
        ]

    def _feasible(self, theta: Mapping[str, Code]) -> bool:
        return all(scheme._feasible(own) for scheme, own in self._split(theta))

    def _penalty(
        self, theta: Mapping[str, Code], weights: Weights | None, layers: Layers | None
    ) -> float:
        return sum(
            scheme._penalty(own, weights, layers) for scheme, own in self._split(theta)
        )


class Additive(_Composition):
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
        starts = [
            self._alternate(weights, mu, terms[first:] + terms[:first], layers)
            for first in range(len(terms))
        ]
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
        return all(
            scheme._feasible(_term(theta, name)) for name, scheme in self.schemes
        )

    def _penalty(
        self, theta: Mapping[str, Code], weights: Weights | None, layers: Layers | None
    ) -> float:
        return sum(
            scheme._penalty(_term(theta, name), weights, layers)
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
        return self.scheme._penalty(self.theta, weights, layers)

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
    total = 0.0
    for x in tensors:
        dtype = torch.float32 if x.device.type == "mps" else torch.float64
        total += float(torch.linalg.vector_norm(x, dtype=dtype)) ** 2
    return total
