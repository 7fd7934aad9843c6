"""What the loss of a linear model is to its L step."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pair = tuple[Array, Array]


class Objective(Protocol):
    """A convex loss of coefficients W and intercepts b.

    Attributes
    ----------
    n_outputs : int
    """

    n_outputs: int

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

    def best_intercept(self, W: Array, b: Array, tol: float) -> Array:
        """Return the intercepts that minimise the loss for given coefficients.

        Parameters
        ----------
        W, b : ndarray
            Coefficients, and intercepts where an iterative method may begin.
        tol : float
            Largest entry of the gradient in the end, of an iterative method.
        """


def scaled_rows(X: Any, scale: Array) -> Any:
    """Return X, dense or CSR, with each row multiplied by a number."""
    if isinstance(X, np.ndarray):
        return X * scale[:, None]
    return X.multiply(scale[:, None]).tocsr()
