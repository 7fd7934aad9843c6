"""Mean log losses, and their pulled minima."""

from typing import Any

import numpy as np
import scipy.linalg
from scipy.optimize import minimize
from scipy.special import log_softmax

from sklc.lstep.linear.objective import Array, Pair, scaled_rows

_DAMPING = 1e-10  # of Newton steps, relative to the curvature
_FEW = 1000  # coefficients: a matrix of so many rows and columns is factored quickly


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

    def __init__(
        self, X: Any, y: Any, n_classes: int, weight: Array, C: float, intercept: bool
    ) -> None:
        self.X, self.y, self.intercept = X, y, intercept
        self.binary = n_classes == 2
        self.n_outputs = 1 if self.binary else n_classes
        self.share = weight / weight.sum()
        self.ridge = 1 / (C * weight.sum())
        self.one_hot = np.eye(n_classes)[y]

    def value_and_gradient(self, W: Array, b: Array) -> tuple[float, Array, Array]:
        """Return the loss and its derivatives with respect to W and b."""
        value, slope = self._data_term(self.X @ W.T + b)
        value += self.ridge / 2 * float((W**2).sum())
        return value, np.asarray(self.X.T @ slope).T + self.ridge * W, slope.sum(0)

    def _data_term(self, scores: Array) -> tuple[float, Array]:
        """Return the mean log loss, and its derivative with respect to the scores."""
        logs = self._logs(scores)
        value = -float(self.share @ (logs * self.one_hot).sum(1))
        slope = self.share[:, None] * (np.exp(logs) - self.one_hot)
        return value, slope[:, 1:] if self.binary else slope

    def _logs(self, scores: Array) -> Array:
        if self.binary:  # the other class has score zero
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        return log_softmax(scores, axis=1)

    def best_intercept(self, W: Array, b: Array, tol: float) -> Array:
        """Return the best intercepts: see :meth:`Objective.best_intercept`."""
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
        share = np.exp(self._logs(self.X @ W.T + b))[:, int(self.binary) :]
        n, d = self.n_outputs, self.X.shape[1]
        size = n * d + n * self.intercept
        found = np.empty((size, size))
        weights = found[: n * d, : n * d].reshape(n, d, n, d)
        mixed = found[: n * d, n * d :].reshape(n, d, -1)
        for i in range(n):
            for j in range(i + 1):
                curvature = self.share * share[:, i] * ((i == j) - share[:, j])
                block = self.X.T @ scaled_rows(self.X, curvature)
                block = block if isinstance(block, np.ndarray) else block.toarray()
                weights[i, :, j], weights[j, :, i] = block, block.T
                if self.intercept:
                    slope = np.asarray(self.X.T @ curvature)
                    mixed[i, :, j] = mixed[j, :, i] = slope
                    found[n * d + i, n * d + j] = curvature.sum()
                    found[n * d + j, n * d + i] = curvature.sum()
        found[n * d :, : n * d] = found[: n * d, n * d :].T
        pulls = [self.ridge + mu[0]] * (n * d) + [mu[1]] * (n * self.intercept)
        found[np.diag_indices(size)] += pulls
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

        few = start[0].size <= _FEW
        free = [True, self.intercept]
        found = minimized(objective, list(start), free, tol, hessian if few else None)
        return found[0], found[1]


def minimized(
    objective: Any,
    start: list[Array],
    free: list[bool],
    tol: float,
    hessian: Any = None,
) -> list[Array]:
    """Minimise a smooth convex function of some of several arrays by L-BFGS.

    Parameters
    ----------
    objective : callable
        From the arrays to the value and the derivative with respect to each.
    start : list of ndarray
    free : list of bool
        Which of them may change.
    tol : float
        Largest entry of the gradient in the end.
    hessian : callable, default=None
        From the arrays to the second derivatives with respect to those that are free.
        Newton's method then takes over where L-BFGS takes long.
    """
    ends = np.cumsum([array.size * use for array, use in zip(start, free, strict=True)])

    def parts_of(flat: Array) -> list[Array]:
        return [
            flat[end - array.size : end].reshape(array.shape) if use else array
            for array, use, end in zip(start, free, ends, strict=True)
        ]

    def flat_objective(flat: Array) -> tuple[float, Array]:
        value, *slopes = objective(*parts_of(flat))
        return value, _joined(slopes, free)

    most = 20_000 if hessian is None else 200
    found = minimize(
        flat_objective,
        _joined(start, free),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": most, "maxfun": 2 * most, "gtol": tol, "ftol": 0.0},
    )
    if hessian is None or np.abs(found.jac).max(initial=0.0) <= tol:
        return parts_of(found.x)
    return parts_of(
        _newton(flat_objective, lambda x: hessian(*parts_of(x)), found.x, tol)
    )


def _newton(objective: Any, hessian: Any, x: Array, tol: float) -> Array:
    """Minimise a convex function by Newton steps, halved until they descend."""
    value, slope = objective(x)
    for _ in range(100):
        if np.abs(slope).max() <= tol:
            break
        # in units in which all parameters curve alike; flat directions stay as they are
        curved = hessian(x)
        unit = 1 / np.sqrt(np.maximum(curved.diagonal(), np.finfo(float).tiny))
        curved = unit[:, None] * curved * unit
        curved[np.diag_indices(len(x))] += _DAMPING
        step = unit * scipy.linalg.cho_solve(
            scipy.linalg.cho_factor(curved), unit * slope
        )
        for _ in range(30):
            new, new_slope = objective(x - step)
            if new <= value and np.isfinite(new_slope).all():
                break
            step /= 2
        else:
            break
        # where values no longer tell, gradients do
        if new == value and np.abs(new_slope).max() >= np.abs(slope).max():
            break
        x, value, slope = x - step, new, new_slope
    return x


def _joined(arrays: list[Array], use: list[bool]) -> Array:
    return np.concatenate(
        [array.ravel() for array, used in zip(arrays, use, strict=True) if used]
    )
