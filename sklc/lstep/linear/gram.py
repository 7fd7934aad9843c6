"""The centred products of data with themselves, factored once for all pulls."""

from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg

from sklc.lstep.linear.arrays import Array, scaled_rows

_CLEAR = 1e-5  # of the largest eigenvalue: products tell those above as well as X does


class Gram:
    """Eigenvectors of the smaller of X'X and XX', X being weighted and centred.

    Parameters
    ----------
    X : ndarray or CSR of shape (n, d)
        Never densified: centring is done in the products.
    share : ndarray of shape (n,)
        Weights of the samples, of sum 1.
    mean : ndarray of shape (d,)
        What is subtracted from every sample.
    """

    def __init__(self, X: Any, share: Array, mean: Array) -> None:
        self.X, self.mean, self.root = X, mean, np.sqrt(share)
        self.primal = X.shape[1] <= X.shape[0]
        eps = max(X.shape) * np.finfo(np.float64).eps
        self.noise = eps
        product = self._product(share)
        driver = "evd" if len(product) > 1 else "evr"  # SciPy 1.11: no evd of one
        values, self.vectors = scipy.linalg.eigh(product, driver=driver)
        self.values = np.maximum(values, 0.0)
        # centring leaves one of XX' that is zero
        least = self.values[int(not self.primal) :].min(initial=np.inf)
        if isinstance(X, np.ndarray) and not least > _CLEAR * self.values[-1]:
            self.values, self.vectors = self._singular()  # as exact as X is
            self.noise = eps**2

    @cached_property
    def matrix(self) -> Array:
        """X'X, if that is the smaller one."""
        return np.asarray((self.vectors * self.values) @ self.vectors.T)

    def _singular(self) -> tuple[Array, Array]:
        centred = (self.X - self.mean) * self.root[:, None]
        if self.primal:
            centred = scipy.linalg.qr(centred, mode="r", overwrite_a=True)[0].T
            centred = centred[:, : self.X.shape[1]]
        vectors, values, _ = np.linalg.svd(centred, full_matrices=False)
        return values**2, vectors

    def _product(self, share: Array) -> Array:
        """Return the smaller of X'X and XX'."""
        if isinstance(self.X, np.ndarray):
            centred = (self.X - self.mean) * self.root[:, None]
            return centred.T @ centred if self.primal else centred @ centred.T
        return self._covariance(share) if self.primal else self._kernel()

    def _covariance(self, share: Array) -> Array:
        products = (self.X.T @ scaled_rows(self.X, share)).toarray()
        return np.asarray(products - np.outer(self.mean, self.mean))

    def _kernel(self) -> Array:
        products, means = (self.X @ self.X.T).toarray(), self.X @ self.mean
        products = products - means[:, None] - means + self.mean @ self.mean
        return np.asarray(self.root[:, None] * products * self.root)

    def solve(self, right: Array, diagonal: float) -> Array:
        """Solve ``(2 X'X + diagonal I) w = right``; where it is 0, the shortest w."""
        if self.primal:
            return np.asarray(
                self.vectors @ ((self.vectors.T @ right) * self._inverse(diagonal))
            )
        projected = self.vectors.T @ self._rows(right)
        if diagonal == 0.0:
            inner = projected * self._inverse(0.0) * 2 * self._inverse(0.0)
            return self._columns(self.vectors @ inner)
        inner = projected * 2 / (2 * self.values + diagonal)
        return np.asarray((right - self._columns(self.vectors @ inner)) / diagonal)

    def _inverse(self, diagonal: float) -> Array:
        """Return the pseudo-inverse of the shifted eigenvalues."""
        values = 2 * self.values + diagonal
        small = values <= self.noise * values.max(initial=0.0)
        return np.where(small, 0.0, 1.0 / np.where(small, 1.0, values))

    def _rows(self, v: Array) -> Array:
        """Multiply the centred, weighted X by a vector."""
        return np.asarray(self.root * (self.X @ v - self.mean @ v))

    def _columns(self, u: Array) -> Array:
        """Multiply the transpose of the centred, weighted X by a vector."""
        scaled = self.root * u
        return np.asarray(self.X.T @ scaled - self.mean * scaled.sum())
