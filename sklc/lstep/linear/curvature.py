"""Losses of linear models to second order: what exchanges of coefficients ask of them.

Each is a :class:`~sklc.lstep.linear.exchange.Quadratic`. Rows of second derivatives are
made when they are asked for.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from sklc.lstep.linear.arrays import Array
from sklc.lstep.linear.exchange import Indices


class Separate:
    """Outputs that do not know each other, and share their products up to a ridge.

    Parameters
    ----------
    slope : ndarray of shape (n_outputs, d)
    products : callable
        From numbers of features to their rows of the second derivatives, without ridge.
    squares : ndarray of shape (d,)
        The diagonal of these.
    ridge : ndarray of shape (n_outputs,)
        What is added to the diagonal of each output.
    """

    def __init__(
        self,
        slope: Array,
        products: Callable[[Indices], Array],
        squares: Array,
        ridge: Array,
    ) -> None:
        self._shape, self._products, self._ridge = slope.shape, products, ridge
        self.slope = slope.ravel()
        self.diagonal = (squares + ridge[:, None]).ravel()

    def rows(self, index: Indices) -> Array:
        """Return rows of the second derivatives."""
        output, feature = np.divmod(index, self._shape[1])
        found = np.zeros((len(index), *self._shape))
        at = np.arange(len(index))
        found[at, output] = self._products(feature)
        found[at, output, feature] += self._ridge[output]
        return found.reshape(len(index), self.slope.size)


class Coupled:
    r"""Outputs whose scores curve together, as those of a multinomial regression.

    Parameters
    ----------
    slope : ndarray of shape (n_outputs, d)
    X : ndarray or CSR of shape (n, d)
    curved : ndarray of shape (n_outputs, n_outputs, n)
        Second derivatives of the loss of each sample by its scores, weighted.
    ridge : float
    intercept : bool
        Whether there are intercepts, which follow the coefficients.
    """

    def __init__(
        self, slope: Array, X: Any, curved: Array, ridge: float, intercept: bool
    ) -> None:
        n_outputs, d = slope.shape
        self.slope, self._X, self._curved, self._ridge = slope.ravel(), X, curved, ridge
        own = curved[np.arange(n_outputs), np.arange(n_outputs)]
        squares = X.multiply(X) if sparse.issparse(X) else X**2
        self.diagonal = np.asarray(squares.T @ own.T).T.ravel() + ridge
        self._mixed = np.zeros((n_outputs * d, n_outputs))
        self._inner = np.zeros((n_outputs, n_outputs))
        if intercept:
            mixed = [np.asarray(X.T @ each.T) for each in curved]
            self._mixed = np.concatenate(mixed)
            # of all classes, a constant added to every score changes nothing
            self._inner = np.linalg.pinv(curved.sum(2), hermitian=True)
            freed = (self._mixed @ self._inner) * self._mixed
            self.diagonal = self.diagonal - freed.sum(1)

    def rows(self, index: Indices) -> Array:
        """Return rows of the second derivatives."""
        n_outputs, d = len(self._curved), self._X.shape[1]
        output, feature = np.divmod(index, d)
        columns = self._X[:, feature]
        if sparse.issparse(columns):
            columns = columns.toarray()
        found = np.empty((len(index), n_outputs, d))
        for other in range(n_outputs):
            weighted = columns * self._curved[output, other].T
            found[:, other] = np.asarray(self._X.T @ weighted).T
        found = found.reshape(len(index), n_outputs * d)
        found[np.arange(len(index)), index] += self._ridge
        return np.asarray(found - self._mixed[index] @ self._inner @ self._mixed.T)
