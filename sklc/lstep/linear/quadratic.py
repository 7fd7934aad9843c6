"""Mean squared errors, and their pulled minima by one factorisation."""

from typing import Any

import numpy as np
import scipy.linalg

from sklc.lstep.linear.objective import Array, Pair, scaled_rows


class SquaredError:
    r"""The loss of a linear regression.

    .. math:: L(W, b) = \frac1S \sum_i s_i \|y_i - W x_i - b\|^2
              + \sum_k \frac{\alpha_k}{S} \|W_k\|^2, \qquad S = \sum_i s_i.

    Parameters
    ----------
    X : ndarray or CSR of shape (n, d)
        Never densified: centring is done in the products.
    y : ndarray of shape (n, outputs)
    weight : ndarray of shape (n,)
        Non-negative, not all zero.
    alpha : ndarray of shape (outputs,)
    intercept : bool
        Whether b is free; zero otherwise.
    """

    def __init__(
        self, X: Any, y: Array, weight: Array, alpha: Array, intercept: bool
    ) -> None:
        self.X, self.y, self.intercept = X, y, intercept
        self.n_outputs = y.shape[1]
        self.share = weight / weight.sum()
        self.ridge = alpha / weight.sum()
        self.x_mean = np.asarray(self.share @ X) if intercept else np.zeros(X.shape[1])
        self.y_mean = self.share @ y if intercept else np.zeros(y.shape[1])
        # its centred products with y, and the eigenvectors of the smaller of its
        # centred X'X and XX': they serve for all pulls
        residual = self.share[:, None] * (y - self.y_mean)
        self.cross = np.asarray(X.T @ residual) - np.outer(self.x_mean, residual.sum(0))
        self.primal = X.shape[1] <= X.shape[0]
        eps = max(X.shape) * np.finfo(np.float64).eps
        if isinstance(X, np.ndarray):  # the eigenvalues come as exact as X is
            self.values, self.vectors = self._singular()
            self.noise = eps**2
        else:
            gram = self._covariance() if self.primal else self._kernel()
            values, self.vectors = np.linalg.eigh(gram)
            self.values = np.maximum(values, 0.0)
            self.noise = eps

    def _singular(self) -> tuple[Array, Array]:
        centred = (self.X - self.x_mean) * np.sqrt(self.share)[:, None]
        if self.primal:
            centred = scipy.linalg.qr(centred, mode="r", overwrite_a=True)[0].T
            centred = centred[:, : self.X.shape[1]]
        vectors, values, _ = np.linalg.svd(centred, full_matrices=False)
        return values**2, vectors

    def _covariance(self) -> Array:
        scaled = scaled_rows(self.X, self.share)
        return (self.X.T @ scaled).toarray() - np.outer(self.x_mean, self.x_mean)

    def _kernel(self) -> Array:
        root = np.sqrt(self.share)
        products, means = (self.X @ self.X.T).toarray(), self.X @ self.x_mean
        products = products - means[:, None] - means + self.x_mean @ self.x_mean
        return root[:, None] * products * root

    def value_and_gradient(self, W: Array, b: Array) -> tuple[float, Array, Array]:
        """Return the loss and its derivatives with respect to W and b."""
        error = self.X @ W.T + b - self.y
        weighted = self.share[:, None] * error
        value = float((weighted * error).sum() + (self.ridge * (W**2).sum(1)).sum())
        slope = 2 * np.asarray(self.X.T @ weighted).T + 2 * self.ridge[:, None] * W
        return value, slope, 2 * weighted.sum(0)

    def solve(
        self, start: Pair, target: Pair, mu: tuple[float, float], tol: float
    ) -> Pair:
        """Minimise the pulled loss, exactly: see :meth:`Objective.solve`."""
        W, b = np.empty_like(target[0]), self.y_mean
        # the best b for W leaves this much of the squared distance of u to its own best
        pulled = 2 * mu[1] / (2 + mu[1]) if self.intercept else 0.0
        for output, ridge in enumerate(self.ridge):
            missed = self.y_mean[output] - target[1][output]
            right = 2 * self.cross[:, output] + mu[0] * target[0][output]
            diagonal = 2 * ridge + mu[0]
            W[output] = self._inverse(right + pulled * missed * self.x_mean, diagonal)
            if pulled:  # Sherman and Morrison
                mean = self._inverse(self.x_mean, diagonal)
                scale = pulled / (1 + pulled * (self.x_mean @ mean))
                W[output] -= scale * (self.x_mean @ W[output]) * mean
        if self.intercept:
            b = (2 * (self.y_mean - W @ self.x_mean) + mu[1] * target[1]) / (2 + mu[1])
        return W, b

    def best_intercept(self, W: Array, b: Array, tol: float) -> Array:
        """Return the best intercepts: see :meth:`Objective.best_intercept`."""
        return self.y_mean - W @ self.x_mean

    def _inverse(self, right: Array, diagonal: float) -> Array:
        """Solve ``(2 X'X / S + diagonal I) w = right``, X being centred."""
        if self.primal:
            return self.vectors @ (
                (self.vectors.T @ right) * self._reciprocal(2 * self.values + diagonal)
            )
        projected = self.vectors.T @ self._rows(right)
        if diagonal == 0.0:  # the shortest solution
            twice = self._reciprocal(2 * self.values) * self._reciprocal(self.values)
            inner = projected * twice
            return self._columns(self.vectors @ inner)
        inner = projected * 2 / (2 * self.values + diagonal)
        return (right - self._columns(self.vectors @ inner)) / diagonal

    def _reciprocal(self, values: Array) -> Array:
        """Return the pseudo-inverse of a diagonal."""
        small = values <= self.noise * values.max(initial=0.0)
        return np.where(small, 0.0, 1.0 / np.where(small, 1.0, values))

    def _rows(self, v: Array) -> Array:
        """Multiply the centred, weighted X by a vector."""
        return np.sqrt(self.share) * (self.X @ v - self.x_mean @ v)

    def _columns(self, u: Array) -> Array:
        """Multiply the transpose of the centred, weighted X by a vector."""
        scaled = np.sqrt(self.share) * u
        return np.asarray(self.X.T @ scaled) - self.x_mean * scaled.sum()
