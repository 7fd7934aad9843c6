"""Quadratics under an l1 norm that is bounded, or has a price, solved to the end."""

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from sklc.lstep.linear.arrays import Array, Pair
from sklc.lstep.linear.exchange import Indices, Quadratic
from sklc.lstep.linear.objective import Objective

_CLOSE = 1e-10  # of the largest slope: so little does no coefficient pull at zero
_TIGHT = 1e-12  # of a bound
_NEWTON, _ENOUGH = 50, 1e-13  # steps, and the relative gain of the last one
_SHORT = 1e-6  # of a step: there is none that descends
_STEPS = 10_000
_SHIFT = 1e-13  # of the curvatures, where they are singular


def shrunk(
    objective: Objective, W: Array, b: Array, search: "ActiveSet", tol: float
) -> Pair:
    """Minimise a loss of coefficients that have an l1 norm, by Newton's method.

    Parameters
    ----------
    objective : Objective
    W, b : ndarray
        Coefficients within their bounds, and where intercepts may begin.
    search : ActiveSet
        What minimises the loss to second order.
    tol : float
        Largest slope of the intercepts in the end, of an iterative method.
    """
    b = objective.best_intercept(W, b, tol)
    value = objective.value(W, b) + search.price(W)
    for _ in range(_NEWTON):
        aim = search.minimum(objective.quadratic(W, b), W.ravel()).reshape(W.shape)
        share, before = 1.0, value
        while share > _SHORT:
            new = W + share * (aim - W)
            new_b = objective.best_intercept(new, b, tol)
            found = objective.value(new, new_b) + search.price(new)
            if found < value:
                W, b, value = new, new_b, found
                break
            share /= 2
        if not before - value > _ENOUGH * abs(before):
            break
    return W, b


class ActiveSet:
    r"""Minimises a quadratic whose coefficients have an l1 norm.

    .. math:: \min_w \tfrac12 w^T H w - c^T w + \alpha \|w\|_1
              \quad\text{s.t.}\quad \|w_r\|_1 \le \kappa_r \text{ for every row } r

    While no coefficient changes its sign, and no bound becomes tight or loose, this is
    a linear system. The one that would change its sign first becomes zero; when there
    is none left, the one that the slope pulls at most leaves zero. Each step lowers the
    objective, so that no set of signs occurs twice.

    Parameters
    ----------
    rows : integer ndarray of shape (p,)
    most : ndarray of shape (n_rows,)
        :math:`\kappa`, which may be infinite.
    price : float
        :math:`\alpha`.

    References
    ----------
    M. R. Osborne, B. Presnell and B. A. Turlach, A new approach to variable selection
    in least squares problems, IMA Journal of Numerical Analysis 20, 2000.
    """

    def __init__(self, rows: Indices, most: Array, price: float) -> None:
        self._rows, self._most, self._price = rows, most, price

    def price(self, W: Array) -> float:
        """Return the price of coefficients."""
        return self._price * float(np.abs(W).sum()) if self._price else 0.0

    def minimum(self, quadratic: Quadratic, start: Array) -> Array:
        """Return the minimum.

        Parameters
        ----------
        quadratic : Quadratic
            Expanded at `start`.
        start : ndarray of shape (p,)
            Coefficients within their bounds.
        """
        w, self._H = start.copy(), quadratic
        S = np.flatnonzero(w)
        signs = np.sign(w[S])
        HS, slope = quadratic.rows(S), quadratic.slope.copy()
        tight = self._norms(w) >= self._most * (1 - _TIGHT)
        scale = np.abs(slope + w[S] @ HS).max(initial=0.0)
        for _ in range(_STEPS):
            move, force = self._aim(HS[:, S], slope[S], w[S], S, signs, tight)
            step, leaves = self._free_way(w[S], move, signs)
            bound, row = self._bound(w, S, signs, move, tight)
            step = min(step, bound)
            w[S] += step * move
            slope -= step * (move @ HS)
            if step < 1.0:
                if bound > step:
                    w[S[leaves]] = 0.0
                    S, signs = np.delete(S, leaves), np.delete(signs, leaves)
                    HS = np.delete(HS, leaves, axis=0)
                else:
                    tight[row] = True
                continue
            if (force < -_CLOSE * scale)[tight].any():
                tight[np.argmin(np.where(tight, force, np.inf))] = False
                continue
            pull = np.abs(slope) - (force[self._rows] + self._price)
            pull[S] = -np.inf
            enters = int(np.argmax(pull))
            if not pull[enters] > _CLOSE * scale:
                break
            S, signs = np.append(S, enters), np.append(signs, np.sign(slope[enters]))
            HS = np.vstack([HS, quadratic.rows(np.array([enters]))])
        return self._within(w)

    def _aim(
        self,
        square: Array,
        slope: Array,
        w: Array,
        S: Indices,
        signs: Array,
        tight: NDArray[np.bool_],
    ) -> tuple[Array, Array]:
        """Return the move to the minimum for these signs, and what bounds hold back."""
        force = np.zeros(len(self._most))
        bound = np.unique(self._rows[S][tight[self._rows[S]]])
        normal = (self._rows[S] == bound[:, None]) * signs
        # in units in which all coefficients curve alike
        unit = 1 / np.sqrt(np.where(square.diagonal() > 0, square.diagonal(), 1.0))
        square = unit[:, None] * square * unit
        right = np.column_stack([slope - self._price * signs, normal.T])
        found = unit[:, None] * _solved(square, unit[:, None] * right)
        if len(bound):
            missed = self._most[bound] - normal @ w
            held = np.linalg.lstsq(
                normal @ found[:, 1:], normal @ found[:, 0] - missed, rcond=None
            )[0]
            force[bound] = held
            return found[:, 0] - found[:, 1:] @ held, force
        return found[:, 0], force

    @staticmethod
    def _free_way(w: Array, move: Array, signs: Array) -> tuple[float, int]:
        """Return how far no sign changes, up to the end, and whose changes first."""
        against = signs * move < 0
        ratio = np.divide(-w, move, out=np.full(len(w), np.inf), where=against)
        first = int(np.argmin(ratio)) if len(w) else -1
        return (1.0, -1) if first < 0 or ratio[first] >= 1 else (ratio[first], first)

    def _bound(
        self, w: Array, S: Indices, signs: Array, move: Array, tight: NDArray[np.bool_]
    ) -> tuple[float, int]:
        """Return how far no loose bound is reached, and which one is first."""
        grows = np.bincount(self._rows[S], signs * move, minlength=len(self._most))
        left = np.maximum(self._most - self._norms(w), 0.0)
        loose = ~tight & (grows > 0) & np.isfinite(left)
        ratio = np.divide(left, grows, out=np.full(len(left), np.inf), where=loose)
        row = int(np.argmin(ratio))
        return (float(ratio[row]), row) if ratio[row] < 1 else (1.0, -1)

    def _norms(self, w: Array) -> Array:
        norms = np.bincount(self._rows, np.abs(w), minlength=len(self._most))
        return norms.astype(np.float64)

    def _within(self, w: Array) -> Array:
        """Return the coefficients, whose norms rounding has left within the bounds."""
        norms = self._norms(w)
        over = np.where(norms > self._most, self._most / np.maximum(norms, 1e-300), 1.0)
        return np.asarray(w * over[self._rows])


def _solved(square: Array, right: Array) -> Array:
    """Solve a positive semidefinite system."""
    if not len(square):  # which not every SciPy takes
        return right
    shift = 0.0
    while True:
        try:
            factor = scipy.linalg.cho_factor(square + shift * np.eye(len(square)))
            return np.asarray(scipy.linalg.cho_solve(factor, right))
        except scipy.linalg.LinAlgError:
            shift = max(_SHIFT, 10 * shift)
