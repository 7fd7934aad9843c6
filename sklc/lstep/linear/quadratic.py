"""Mean squared errors, and their pulled minima."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from sklc.lstep.linear.affine import Affine
from sklc.lstep.linear.arrays import Array, Pair
from sklc.lstep.linear.cgls import cgls
from sklc.lstep.linear.curvature import Separate
from sklc.lstep.linear.exchange import Indices
from sklc.lstep.linear.gram import Gram
from sklc.lstep.linear.least_squares import LeastSquares

_FEW = 300  # rows or columns of sparse data: their products are factored quickly
_TIGHT = 1e-10  # of the gradient
_CLOSE = 1e-5  # of what is asked of an iterative method, which goes on from its end


@dataclass(frozen=True)
class Reduced:
    """Fewer samples that tell as much of the centred coefficients.

    Attributes
    ----------
    X : ndarray of shape (d, d)
    y : ndarray of shape (d, outputs)
    rest : float
        The squared error that no coefficients explain.
    """

    X: Array
    y: Array
    rest: float


class SquaredError:
    r"""The loss of a linear regression.

    .. math:: L(W, b) = \frac1S \sum_i s_i \|y_i - W x_i - b\|^2
              + \sum_k \frac{\alpha_k}{S} \|W_k\|^2, \qquad S = \sum_i s_i.

    One factorisation serves for all pulls. Sparse data that have many rows and columns
    are not factored, since their products would be dense: conjugate gradients then take
    each solution from the last.

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

    is_quadratic = True

    def __init__(
        self, X: Any, y: Array, weight: Array, alpha: Array, intercept: bool
    ) -> None:
        self.X, self.y, self.intercept = X, y, intercept
        self._X_T = X.T  # of sparse X it takes a while to make
        self.n_outputs = y.shape[1]
        self.share = weight / weight.sum()
        self.ridge = alpha / weight.sum()
        self.x_mean = np.asarray(self.share @ X) if intercept else np.zeros(X.shape[1])
        self.y_mean = self.share @ y if intercept else np.zeros(y.shape[1])
        self.root = np.sqrt(self.share)
        self.right = self.root[:, None] * (y - self.y_mean)
        self.gram: Gram | None = None
        if not sparse.issparse(X) or min(X.shape) <= _FEW:
            self.cross = self._backward(self.right)
            self.gram = Gram(X, self.share, self.x_mean)
        self.reduced: Reduced | None = None
        if self.gram is not None and self.gram.primal and len(y) > 2 * X.shape[1]:
            self.reduced = self._reduced(self.gram)

    def _reduced(self, gram: Gram) -> "Reduced":
        solved = [gram.solve(2 * cross, 0.0) for cross in self.cross.T]
        W = np.array(solved).reshape(self.n_outputs, -1)
        rest = float(((self.right - self._forward(W.T)) ** 2).sum())
        X = np.sqrt(gram.values)[:, None] * gram.vectors.T
        return Reduced(X, X @ W.T, rest)

    def value(self, W: Array, b: Array) -> float:
        """Return the loss."""
        if self.reduced is not None:
            return self.value_and_gradient(W, b)[0]
        error = self.X @ W.T + b - self.y
        value = (self.share[:, None] * error**2).sum() + (
            self.ridge * (W**2).sum(1)
        ).sum()
        return float(value)

    def value_and_gradient(self, W: Array, b: Array) -> tuple[float, Array, Array]:
        """Return the loss and its derivatives with respect to W and b."""
        if self.reduced is not None and (self.intercept or not b.any()):
            return self._from_reduced(self.reduced, W, b)
        error = self.X @ W.T + b - self.y
        weighted = self.share[:, None] * error
        value = float((weighted * error).sum() + (self.ridge * (W**2).sum(1)).sum())
        slope = 2 * np.asarray(self._X_T @ weighted).T + 2 * self.ridge[:, None] * W
        return value, slope, 2 * weighted.sum(0)

    def _from_reduced(
        self, data: "Reduced", W: Array, b: Array
    ) -> tuple[float, Array, Array]:
        error = data.X @ W.T - data.y
        away = W @ self.x_mean + b - self.y_mean
        value = data.rest + (error**2).sum() + (self.ridge * (W**2).sum(1)).sum()
        slope = 2 * (error.T @ data.X + self.ridge[:, None] * W)
        if self.intercept:
            value += (away**2).sum()
            slope += 2 * np.outer(away, self.x_mean)
        return float(value), slope, 2 * away

    def solve(
        self, start: Pair, target: Pair, mu: tuple[float, float], tol: float
    ) -> Pair:
        """Minimise the pulled loss, exactly: see :meth:`Objective.solve`."""
        # the best b for W leaves this much of the squared distance of u to its own best
        pulled = 2 * mu[1] / (2 + mu[1]) if self.intercept else 0.0
        missed = self.y_mean - target[1]
        if self.gram is None:
            W = self._iterated(
                start[0], target[0], mu[0], pulled / 2, missed, _CLOSE * tol
            )
        else:
            W = self._factored(self.gram, target[0], mu[0], pulled, missed)
        b = self.y_mean
        if self.intercept:
            b = (2 * (self.y_mean - W @ self.x_mean) + mu[1] * target[1]) / (2 + mu[1])
        return W, b

    def _factored(
        self, gram: Gram, target: Array, mu: float, pulled: float, missed: Array
    ) -> Array:
        W = np.empty_like(target)
        for output, ridge in enumerate(self.ridge):
            right = 2 * self.cross[:, output] + mu * target[output]
            right = right + pulled * missed[output] * self.x_mean
            diagonal = 2 * ridge + mu
            W[output] = gram.solve(right, diagonal)
            if pulled:  # Sherman and Morrison
                mean = gram.solve(self.x_mean, diagonal)
                scale = pulled / (1 + pulled * (self.x_mean @ mean))
                W[output] -= scale * (self.x_mean @ W[output]) * mean
        return W

    def _iterated(
        self,
        start: Array,
        target: Array,
        mu: float,
        pulled: float,
        missed: Array,
        tol: float,
    ) -> Array:
        damping = self.ridge + mu / 2
        anchor = mu / 2 * target.T / np.where(damping > 0, damping, 1.0)
        first = np.where(damping > 0, start.T, 0.0)  # of many solutions, the shortest
        unit = 1.0
        if damping.min() > 0:
            unit = 1 / np.sqrt(self.squares + damping.max())[:, None]
        n, one = len(self.right), slice(int(pulled > 0))  # a pull on b: one row more
        mean = np.sqrt(pulled) * self.x_mean[None][one]
        found = cgls(
            lambda w: np.vstack([self._forward(w), mean @ w]),
            lambda v: self._backward(v[:n]) + mean.T @ v[n:],
            np.vstack([self.right, np.sqrt(pulled) * missed[None][one]]),
            first,
            damping=damping,
            anchor=anchor,
            unit=unit,
            tol=tol,
        )
        return np.asarray(found.T)

    def _forward(self, w: Array) -> Array:
        """Multiply the centred, weighted X by a matrix."""
        return np.asarray(self.root[:, None] * (self.X @ w - self.x_mean @ w))

    def _backward(self, v: Array) -> Array:
        """Multiply the transpose of the centred, weighted X by a matrix."""
        scaled = self.root[:, None] * v
        return np.asarray(self._X_T @ scaled) - np.outer(self.x_mean, scaled.sum(0))

    def best_intercept(self, W: Array, b: Array, tol: float) -> Array:
        """Return the best intercepts: see :meth:`Objective.best_intercept`."""
        return self.y_mean - W @ self.x_mean

    def quadratic(self, W: Array, b: Array) -> Separate:
        """Return the loss to second order: see :meth:`Objective.quadratic`."""
        slope = self.value_and_gradient(W, b)[1]
        return Separate(-slope, self._products, 2 * self.squares, 2 * self.ridge)

    @cached_property
    def squares(self) -> Array:
        """The sums of squares of the centred, weighted columns of X."""
        if sparse.issparse(self.X):
            squares = self.share @ self.X.multiply(self.X)
            return np.asarray(squares - self.x_mean**2)
        return np.asarray(self.share @ (self.X - self.x_mean) ** 2)

    def _products(self, features: Indices) -> Array:
        """Return rows of the second derivatives of one output, without ridge."""
        if self.gram is not None and self.gram.primal:
            return np.asarray(2 * self.gram.matrix[features])
        columns = self.X[:, features]
        if sparse.issparse(columns):
            columns = columns.toarray()
        centred = self.root[:, None] * (columns - self.x_mean[features])
        return np.asarray(2 * self._backward(centred).T)

    def low_rank(self, rank: int) -> tuple[Array, Array] | None:
        """Minimise over low-rank W: see :meth:`Objective.low_rank`.

        With one ridge for all outputs this is reduced-rank regression: the free
        solution, projected on the leading eigenvectors of what it explains.
        """
        if np.ptp(self.ridge) > 0:
            return None
        zero = np.zeros((self.n_outputs, self.X.shape[1])), np.zeros(self.n_outputs)
        W = self.solve(zero, zero, (0.0, 0.0), _TIGHT)[0]
        explained = W @ self._backward(self.right)
        _, vectors = np.linalg.eigh(explained + explained.T)
        left = vectors[:, ::-1][:, :rank].copy()
        return left, left.T @ W

    def constant(self) -> float:
        """Return the least loss of a constant: see :meth:`Objective.constant`."""
        away = self.y - self.share @ self.y
        return float((self.share @ away**2).sum())

    def refit(
        self, coef: Affine, intercept: Affine | None, start: Pair, tol: float
    ) -> Pair:
        """Minimise over what W and b depend on: see :meth:`Objective.refit`."""
        free = intercept is None  # or there is none
        if free and self.reduced is not None:
            X, y = self.reduced.X, self.reduced.y
            zero, one = np.zeros(X.shape[1]), np.ones(len(X))
            problem = LeastSquares(X, y, zero, one, self.ridge, coef, None)
            z = problem.solved(start[0])
            return z, self.best_intercept(coef(z).reshape(len(y[0]), -1), start[1], tol)
        problem = LeastSquares(
            self.X,
            self.y - self.y_mean if free else self.y,
            self.x_mean if free else np.zeros_like(self.x_mean),
            self.root,
            self.ridge,
            coef,
            intercept,
        )
        found = problem.solved(start[0])
        b = start[1]
        if free and self.intercept:
            W = coef(found).reshape(self.n_outputs, -1)
            b = self.best_intercept(W, b, tol)
        return found, b
