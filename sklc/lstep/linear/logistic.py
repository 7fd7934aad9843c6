"""Mean log losses, and their pulled minima."""

from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import expit, log_softmax, xlogy

from sklc.lstep.linear.affine import Affine
from sklc.lstep.linear.arrays import Array, Pair, scaled_rows
from sklc.lstep.linear.curvature import Coupled
from sklc.lstep.linear.descent import minimized, refined
from sklc.lstep.linear.design import DENSE, Design


class LogLoss:
    r"""The loss of a logistic regression, binary or multinomial.

    .. math:: L(W, b) = \frac1S \sum_i s_i \ell(y_i, W x_i + b)
              + \frac1{2 C S} \|W\|^2, \qquad S = \sum_i s_i.

    Parameters
    ----------
    X : ndarray or CSR of shape (n, d)
    y : integer ndarray of shape (n,)
        Numbers of classes; of two classes W and b have one row.
    n_classes : int
    weight : ndarray of shape (n,)
        Non-negative, not all zero.
    C : float
        Inverse strength of the penalty; may be inf.
    intercept : bool
        Whether b is free; zero otherwise.
    """

    is_quadratic = False

    def __init__(
        self, X: Any, y: Any, n_classes: int, weight: Array, C: float, intercept: bool
    ) -> None:
        self.X, self.y, self.intercept = X, y, intercept
        self.binary = n_classes == 2
        self.n_outputs = 1 if self.binary else n_classes
        self.share = weight / weight.sum()
        self.ridge = 1 / (C * weight.sum())
        self.one_hot = np.eye(n_classes)[y]

    def value(self, W: Array, b: Array) -> float:
        """Return the loss."""
        value = self._data_term(self.X @ W.T + b)[0]
        return float(value + self.ridge / 2 * (W**2).sum())

    def value_and_gradient(self, W: Array, b: Array) -> tuple[float, Array, Array]:
        """Return the loss and its derivatives with respect to W and b."""
        value, slope = self._data_term(self.X @ W.T + b)
        value += self.ridge / 2 * float((W**2).sum())
        return value, np.asarray(self.X.T @ slope).T + self.ridge * W, slope.sum(0)

    def _data_term(self, scores: Array) -> tuple[float, Array]:
        """Return the mean log loss, and its derivative with respect to the scores."""
        if self.binary:
            margin, y = scores[:, 0], self.one_hot[:, 1]
            value = float(self.share @ (np.logaddexp(0.0, margin) - y * margin))
            return value, (self.share * (expit(margin) - y))[:, None]
        logs = self._logs(scores)
        value = -float(self.share @ (logs * self.one_hot).sum(1))
        return value, self.share[:, None] * (np.exp(logs) - self.one_hot)

    def _logs(self, scores: Array) -> Array:
        if self.binary:  # the other class has score zero
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        return np.asarray(log_softmax(scores, axis=1))

    def best_intercept(self, W: Array, b: Array, tol: float) -> Array:
        """Return the best intercepts: see :meth:`Objective.best_intercept`."""
        if not self.intercept:
            return b
        scores = self.X @ W.T

        def objective(b: Array) -> tuple[float, Array]:
            value, slope = self._data_term(scores + b)
            return value, slope.sum(0)

        return minimized(objective, [b], [True], tol)[0]

    def hessian(self, W: Array, b: Array, mu: tuple[float, float]) -> Array:
        """Return the second derivatives of the pulled loss.

        Parameters
        ----------
        W, b : ndarray
        mu : float, float
            The pulls on W and on b.

        Returns
        -------
        ndarray of shape (p, p)
            W, row by row, comes first and b, if it is free, last.
        """
        n, d = self.n_outputs, self.X.shape[1]
        columns, numbers = self.X, np.arange(n * d).reshape(n, d)
        if self.intercept:
            columns = _with_ones(self.X)
            numbers = np.column_stack([numbers, n * d + np.arange(n)])
        pulls = [self.ridge + mu[0]] * (n * d) + [mu[1]] * (n * self.intercept)
        scores = self.X @ W.T + b
        found = self._curvature(scores, [columns] * n, list(numbers), len(pulls))
        found[np.diag_indices(len(pulls))] += pulls
        return found

    def _curvature(
        self, scores: Array, columns: list[Any], numbers: list[Any], size: int
    ) -> Array:
        """Return the second derivatives of the mean log loss.

        Parameters
        ----------
        scores : ndarray of shape (n, n_outputs)
        columns : list of ndarray or CSR of shape (n, n_unknowns)
            Derivatives of each score.
        numbers : list of integer ndarray of shape (n_unknowns,)
            By which unknowns.
        size : int
            How many unknowns there are.
        """
        chance = np.exp(self._logs(scores))[:, int(self.binary) :]
        found = np.zeros((size, size))
        for i, own in enumerate(numbers):
            for j, other in enumerate(numbers[: i + 1]):
                curved = self.share * chance[:, i] * ((i == j) - chance[:, j])
                block = columns[i].T @ scaled_rows(columns[j], curved)
                block = block if isinstance(block, np.ndarray) else block.toarray()
                found[np.ix_(own, other)] += block
                if i != j:
                    found[np.ix_(other, own)] += block.T
        return found

    def solve(
        self, start: Pair, target: Pair, mu: tuple[float, float], tol: float
    ) -> Pair:
        """Minimise the pulled loss: see :meth:`Objective.solve`.

        By L-BFGS, and where that is slow (features of very different scales) and there
        are few parameters, by Newton's method.
        """

        def objective(*parts: Array) -> tuple[Any, ...]:
            value, *slopes = self.value_and_gradient(*parts)
            for at, part in enumerate(parts):
                away = part - target[at]
                value += mu[at] / 2 * float((away**2).sum())
                slopes[at] = slopes[at] + mu[at] * away
            return value, *slopes

        def hessian(*parts: Array) -> Array:
            return self.hessian(parts[0], parts[1], mu)

        found = minimized(objective, list(start), [True, self.intercept], tol, hessian)
        return found[0], found[1]

    def quadratic(self, W: Array, b: Array) -> Coupled:
        """Return the loss to second order: see :meth:`Objective.quadratic`."""
        slope = self.value_and_gradient(W, b)[1]
        chance = np.exp(self._logs(self.X @ W.T + b))[:, int(self.binary) :].T
        curved = -chance[:, None] * chance
        curved[np.diag_indices(len(chance))] += chance
        curved *= self.share
        return Coupled(-slope, self.X, curved, self.ridge, self.intercept)

    def low_rank(self, rank: int) -> None:
        """Return nothing: log losses are descended on."""

    def constant(self) -> float:
        """Return the least loss of a constant: see :meth:`Objective.constant`."""
        chance = self.share @ self.one_hot
        return -float(xlogy(chance, chance).sum())

    def refit(
        self, coef: Affine, intercept: Affine | None, start: Pair, tol: float
    ) -> Pair | None:
        """Minimise over what W and b depend on: see :meth:`Objective.refit`.

        The columns that few unknowns act by are made first: no step needs all of X.
        """
        n, d = self.n_outputs, self.X.shape[1]
        designs = [
            Design.of(
                self.X,
                coef.rows(k * d, k * d + d),
                None if intercept is None else intercept.rows(k, k + 1),
            )
            for k in range(n)
        ]
        if len(self.y) * sum(len(design.unknowns) for design in designs) > DENSE:
            return None
        columns = [design.columns() for design in designs]
        offset = np.column_stack([design.offset for design in designs])
        free = intercept is None and self.intercept
        size = len(start[0])
        square = self.ridge * (coef.matrix.T @ coef.matrix)

        def scores(z: Array, b: Array) -> Array:
            pairs = zip(columns, designs, strict=True)
            own = [column @ z[design.unknowns] for column, design in pairs]
            return np.column_stack(own) + offset + (b if free else 0.0)

        def objective(z: Array, b: Array) -> tuple[float, Array, Array]:
            value, slope = self._data_term(scores(z, b))
            w = coef(z)
            value += self.ridge / 2 * float(w @ w)
            found = self.ridge * np.asarray(coef.matrix.T @ w)
            for k, (column, design) in enumerate(zip(columns, designs, strict=True)):
                found[design.unknowns] += column.T @ slope[:, k]
            return value, found, slope.sum(0)

        def hessian(z: Array, b: Array) -> Array:
            wide, numbers = columns, [design.unknowns for design in designs]
            if free:
                wide = [_with_ones(column) for column in columns]
                numbers = [np.append(own, size + k) for k, own in enumerate(numbers)]
            found = self._curvature(scores(z, b), wide, numbers, size + n * free)
            found[:size, :size] += square.toarray()
            return found

        z, b = refined(objective, list(start), [True, free], tol, hessian)
        return z, b


def _with_ones(X: Any) -> Any:
    """Return X with one more column, of ones."""
    ones = np.ones((X.shape[0], 1))
    if isinstance(X, np.ndarray):
        return np.concatenate([X, ones], axis=1)
    return sparse.hstack([X, sparse.csr_array(ones)], format="csr")
