"""What the loss of a linear model is to its L step."""

from typing import Protocol

from sklc.lstep.linear.affine import Affine
from sklc.lstep.linear.arrays import Array, Pair
from sklc.lstep.linear.exchange import Quadratic


class Objective(Protocol):
    """A convex loss of coefficients W and intercepts b.

    Attributes
    ----------
    n_outputs : int
    is_quadratic : bool
        Whether it is what :meth:`quadratic` returns, everywhere.
    """

    n_outputs: int
    is_quadratic: bool

    def value(self, W: Array, b: Array) -> float:
        """Return the loss.

        Parameters
        ----------
        W : ndarray of shape (n_outputs, n_features)
        b : ndarray of shape (n_outputs,)
        """

    def value_and_gradient(self, W: Array, b: Array) -> tuple[float, Array, Array]:
        """Return the loss, and its derivatives with respect to W and b.

        Parameters
        ----------
        W : ndarray of shape (n_outputs, n_features)
        b : ndarray of shape (n_outputs,)
        """

    def solve(
        self, start: Pair, target: Pair, mu: tuple[float, float], tol: float
    ) -> Pair:
        r"""Minimise :math:`L + \frac\mu2 \|W - t\|^2 + \frac\nu2 \|b - u\|^2`.

        Parameters
        ----------
        start : ndarray, ndarray
            W and b, where an iterative method may begin.
        target : ndarray, ndarray
            t and u.
        mu : float, float
            The pulls :math:`\mu` and :math:`\nu`.
        tol : float
            Largest entry of the gradient in the end, of an iterative method.
        """

    def refit(
        self, coef: Affine, intercept: Affine | None, start: Pair, tol: float
    ) -> Pair | None:
        r"""Minimise the loss over what the coefficients depend on.

        .. math:: \min_{z, b} L(A z + c, b)

        Parameters
        ----------
        coef : Affine
            From z to W, row by row.
        intercept : Affine or None
            From z to b; None if b is free (or zero, without intercepts).
        start : ndarray, ndarray
            z and b, where an iterative method may begin.
        tol : float
            Largest entry of the gradient in the end, of an iterative method.

        Returns
        -------
        ndarray, ndarray
            z and b. None where the map does not make it a smaller problem.
        """

    def low_rank(self, rank: int) -> tuple[Array, Array] | None:
        r"""Minimise the loss over the coefficients of a low rank, globally.

        .. math:: \min_{U, V, b} L(U V, b)

        Parameters
        ----------
        rank : int

        Returns
        -------
        ndarray of shape (n_outputs, rank), ndarray of shape (rank, n_features)
            U and V. None where no such solution is known.
        """

    def quadratic(self, W: Array, b: Array) -> Quadratic:
        """Return the loss to second order, the intercepts following the coefficients.

        Parameters
        ----------
        W, b : ndarray
            Where to expand it, b being the best for W, if it is free.
        """

    def constant(self) -> float:
        """Return the least loss of a constant prediction, without any penalty."""

    def best_intercept(self, W: Array, b: Array, tol: float) -> Array:
        """Return the intercepts that minimise the loss for given coefficients.

        Parameters
        ----------
        W, b : ndarray
            Coefficients, and intercepts where an iterative method may begin.
        tol : float
            Largest entry of the gradient in the end, of an iterative method.
        """
