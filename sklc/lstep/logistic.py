"""Mean log losses, and their pulled minima."""

from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from sklc.lstep.objective import Array, Pair


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
        scores = self.X @ W.T + b
        if self.binary:  # the other class has score zero
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        logs = log_softmax(scores, axis=1)
        value = -float(self.share @ (logs * self.one_hot).sum(1))
        slope = self.share[:, None] * (np.exp(logs) - self.one_hot)
        if self.binary:
            slope = slope[:, 1:]
        value += self.ridge / 2 * float((W**2).sum())
        return value, np.asarray(self.X.T @ slope).T + self.ridge * W, slope.sum(0)

    def solve(
        self, start: Pair, target: Pair, mu: tuple[float, float], tol: float
    ) -> Pair:
        """Minimise the pulled loss by L-BFGS: see :meth:`Objective.solve`."""

        def objective(*parts: Array) -> tuple[Any, ...]:
            value, *slopes = self.value_and_gradient(*parts)
            for at, part in enumerate(parts):
                away = part - target[at]
                value += mu[at] / 2 * float((away**2).sum())
                slopes[at] = slopes[at] + mu[at] * away
            return value, *slopes

        return tuple(minimized(objective, list(start), [True, self.intercept], tol))


def minimized(objective: Any, start: list[Array], free: list[bool], tol: float) -> Any:
    """Minimise a smooth function of some of several arrays by L-BFGS.

    Parameters
    ----------
    objective : callable
        From the arrays to the value and the derivative with respect to each.
    start : list of ndarray
    free : list of bool
        Which of them may change.
    tol : float
        Largest entry of the gradient in the end.
    """
    ends = np.cumsum([array.size * use for array, use in zip(start, free, strict=True)])

    def unfold(flat: Array) -> list[Array]:
        return [
            flat[end - array.size : end].reshape(array.shape) if use else array
            for array, use, end in zip(start, free, ends, strict=True)
        ]

    def flat_objective(flat: Array) -> tuple[float, Array]:
        value, *slopes = objective(*unfold(flat))
        return value, _joined(slopes, free)

    found = minimize(
        flat_objective,
        _joined(start, free),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 20_000, "maxfun": 40_000, "gtol": tol, "ftol": 0.0},
    )
    return unfold(found.x)


def _joined(arrays: list[Array], use: list[bool]) -> Array:
    return np.concatenate(
        [array.ravel() for array, used in zip(arrays, use, strict=True) if used]
    )
