"""What a scheme is: one kind of compression, as the solution of its C step."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from sklc import selection
from sklc.budget import Budgets
from sklc.codes import Code, Theta, decompress
from sklc.codes.base import descendants
from sklc.layers import Layers
from sklc.ops.backend import numbers, sum_dtype
from sklc.schemes.problem import Problem, Weights
from sklc.schemes.validation import check_mu, check_weights


class Scheme(BaseEstimator, ABC):
    r"""One kind of compression.

    Its C step solves

    .. math:: \min_\Theta \; \mathrm{cost}(\Theta) + \frac\mu2 \|w - \Delta(\Theta)\|^2.

    A scheme holds hyperparameters and nothing else: what it computes, it returns. To
    write one, subclass :class:`~sklc.schemes.VectorScheme` or
    :class:`~sklc.schemes.MatrixScheme`.
    """

    @property
    def exact(self) -> bool:
        """Whether the C step is solved to global optimality.

        Otherwise it returns nothing worse than its warm start.
        """
        return True

    @property
    def keeps_feasible(self) -> bool:
        """Whether a feasible Θ stays so, whatever its degrees of freedom become.

        Otherwise training them needs :meth:`project`.
        """
        return True

    @property
    def has_cost(self) -> bool:
        """Whether Θ has a price, so that `mu` matters; otherwise a mere constraint."""
        return type(self)._cost is not Scheme._cost

    @property
    def smooth(self) -> bool:
        """Whether weights of a given size can turn into each other without a jump.

        Low rank is smooth. Supports and assignments to values are not: they must be
        decided, and decisions take time.
        """
        return False

    @property
    def rescales_distortion(self) -> bool:
        """Whether the C step measures its distortion in units of its own."""
        return False

    def compress(
        self,
        weights: Weights,
        mu: float,
        theta: Mapping[str, Code] | None = None,
        layers: Layers | None = None,
    ) -> Theta:
        """Compress weights: the C step, a pure function of its arguments.

        Parameters
        ----------
        weights : dict of str to Tensor
            Finite weights of any floating dtype, on any device.
        mu : float
            Penalty parameter, positive. Schemes with a constraint do not need it.
        theta : dict of str to Code, default=None
            Warm start: an earlier result. One whose structure does not fit is ignored.
        layers : dict of str to LayerInfo, default=None
            What is known of the layers, for the schemes that want it.

        Returns
        -------
        dict of str to Code
            By the same names; only those that a :class:`~sklc.schemes.Mixed` selects.

        Raises
        ------
        ValueError, TypeError
            If a hyperparameter, `mu` or a weight is invalid.
        """
        self.check(weights, layers)
        problem = Problem(weights, check_mu(mu), layers or {})
        with torch.no_grad():
            return self._solve(problem, theta or {})

    def improve(
        self,
        theta: Mapping[str, Code],
        weights: Weights,
        mu: float,
        layers: Layers | None = None,
    ) -> Theta:
        """Follow weights that have moved a little: a cheap step of a C step's kind.

        It is one of a local search (Lloyd's, alternating least squares) where the
        scheme has one that is cheaper than :meth:`compress`, and that otherwise. In
        units of its problem it is never worse than `theta`.

        Parameters
        ----------
        theta : dict of str to Code
            A result of :meth:`compress`, or of this method.
        weights : dict of str to Tensor
            Those that it compresses, valid as they were then, but for their values.
        mu : float
        layers : dict of str to LayerInfo, default=None
            As for :meth:`compress`.

        Returns
        -------
        dict of str to Code
        """
        problem = Problem(weights, mu, layers or {}, improve=True)
        with torch.no_grad():
            return self._solve(problem, theta)

    def check(self, weights: Weights, layers: Layers | None = None) -> None:
        """Raise what :meth:`compress` would raise for these weights, without solving.

        Parameters
        ----------
        weights : dict of str to Tensor
        layers : dict of str to LayerInfo, default=None
            As for :meth:`compress`.

        Raises
        ------
        ValueError, TypeError
            If a hyperparameter or a weight is invalid, or the scheme cannot compress
            it: it has the wrong dimensions, or too little is known of its layer.
        """
        self.validate()
        check_weights(weights)
        with torch.no_grad():
            self._check(Problem(weights, layers=layers or {}))

    def cost(
        self,
        theta: Mapping[str, Code],
        weights: Weights | None = None,
        layers: Layers | None = None,
    ) -> float:
        """Return the cost of Θ: 0 for a mere constraint, ``inf`` if Θ breaks it.

        Parameters
        ----------
        theta : dict of str to Code
        weights : dict of str to Tensor, default=None
            The weights that Θ compresses, where the cost depends on them.
        layers : dict of str to LayerInfo, default=None
            As for :meth:`compress`.
        """
        self.validate()
        problem = Problem(weights or {}, layers=layers or {})
        with torch.no_grad():
            if not self._feasible(theta, problem):
                return float("inf")
            return sum(floats(self._costs(theta, problem)).values())

    def cost_by_weight(
        self,
        theta: Mapping[str, Code],
        weights: Weights | None = None,
        layers: Layers | None = None,
    ) -> dict[str, float]:
        """Return the cost of each weight's code: of a feasible Θ, they add up to its.

        Parameters
        ----------
        theta : dict of str to Code
        weights : dict of str to Tensor, default=None
        layers : dict of str to LayerInfo, default=None
            As for :meth:`cost`.
        """
        self.validate()
        problem = Problem(weights or {}, layers=layers or {})
        with torch.no_grad():
            return floats(self._costs(theta, problem))

    def project(self, theta: Mapping[str, Code], layers: Layers | None = None) -> Theta:
        """Return the nearest feasible Θ of the same structure.

        Parameters
        ----------
        theta : dict of str to Code
            A result of :meth:`compress`, whose degrees of freedom have changed since.
        layers : dict of str to LayerInfo, default=None
            As for :meth:`compress`.
        """
        problem = Problem({}, layers=layers or {})
        with torch.no_grad():
            if self.keeps_feasible or self._feasible(theta, problem):
                return dict(theta)
            return self._project(theta, problem)

    def budgets(self, weights: Weights, layers: Layers | None = None) -> Budgets:
        """Return what the scheme grants each weight, as far as it can be said.

        Who knows it can look for a better structure of Θ than the C step does, which
        sees weights and no loss.

        Parameters
        ----------
        weights : dict of str to Tensor
            Those that the scheme covers.
        layers : dict of str to LayerInfo, default=None
            As for :meth:`compress`.

        Returns
        -------
        dict of str to Budget
        """
        self.validate()
        return self._budgets(Problem(weights, layers=layers or {}))

    def covers(self, weights: Weights, *, selected: bool = False) -> list[str]:
        """Return the names of the weights that this scheme compresses.

        Parameters
        ----------
        weights : dict of str to Tensor
            All parameters of a model.
        selected : bool, default=False
            Whether they were selected by name: a scheme then covers all of them, and
            otherwise those of two or more dimensions.
        """
        return list(weights) if selected else selection.default(weights)

    def validate(self) -> None:
        """Raise a ValueError or TypeError if a hyperparameter is invalid."""

    @abstractmethod
    def _solve(self, problem: Problem, theta: Mapping[str, Code]) -> Theta:
        """Compress the weights of a problem that has been checked."""

    def _check(self, problem: Problem) -> None:
        """Raise if the scheme, itself valid, cannot compress these weights."""

    def _budgets(self, problem: Problem) -> Budgets:
        """Return what is granted to each weight; nothing if that is not known."""
        return {}

    def _cost(self, name: str, code: Code, problem: Problem) -> float | Tensor:
        """Return the cost of one weight's code: a number, or a scalar on its device.

        The problem has what is known of weights and layers, which may be nothing.
        """
        return 0.0

    def _costs(
        self, theta: Mapping[str, Code], problem: Problem
    ) -> dict[str, float | Tensor]:
        """Return the cost of every code of a feasible Θ."""
        return {name: self._cost(name, code, problem) for name, code in theta.items()}

    def _feasible(self, theta: Mapping[str, Code], problem: Problem) -> bool:
        """Whether Θ keeps the constraint; of the problem, only the layers matter."""
        return True

    def _project(self, theta: Mapping[str, Code], problem: Problem) -> Theta:
        """Return the nearest feasible Θ of the same structure as this one."""
        dense = Problem(decompress(theta), layers=problem.layers)
        return self._solve(dense, theta)


def in_double(number: Tensor) -> Tensor:
    """Return a scalar in double precision, where its device has that."""
    return number.to(sum_dtype(number))


def floats(costs: Mapping[str, float | Tensor]) -> dict[str, float]:
    """Return costs as numbers, which leave their device all at once."""
    return {
        name: float(cost)
        for name, cost in zip(costs, numbers(costs.values()), strict=True)
    }


def all_schemes() -> list[type[Scheme]]:
    """Return every concrete scheme class, those of users included."""
    kinds = {kind for kind in descendants(Scheme) if not inspect.isabstract(kind)}
    return sorted(kinds, key=lambda kind: kind.__name__)
