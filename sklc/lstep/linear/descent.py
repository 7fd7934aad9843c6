"""Minima of smooth functions of some arrays, by L-BFGS and by Newton's method."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
from scipy.optimize import minimize

from sklc.lstep.linear.arrays import Array

_ROUNDING = 1e-15  # of values, relatively
_DAMPING = 1e-10  # of Newton steps, relative to the curvature
_FEW = 1000  # unknowns: a matrix of so many rows and columns is factored quickly


def minimized(
    objective: Callable[..., Any],
    start: list[Array],
    free: list[bool],
    tol: float,
    hessian: Callable[..., Array] | None = None,
) -> list[Array]:
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
    hessian : callable, default=None
        Of a convex function, from the arrays to the second derivatives with respect to
        those that are free. Newton's method then takes over where L-BFGS takes long
        and the unknowns are few.
    """
    flat = _Flat(objective, start, free, hessian)
    if not flat.size:
        return start
    most = 20_000 if flat.hessian is None else 200
    found = minimize(
        flat.objective,
        flat.joined(start),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": most, "maxfun": 2 * most, "gtol": tol, "ftol": 0.0},
    )
    if flat.hessian is None or np.abs(found.jac).max(initial=0.0) <= tol:
        return flat.parts(found.x)
    return flat.parts(_newton(flat.objective, flat.hessian, found.x, tol))


def refined(
    objective: Callable[..., Any],
    start: list[Array],
    free: list[bool],
    tol: float,
    hessian: Callable[..., Array],
) -> list[Array]:
    """Minimise a convex function from near its minimum, by Newton's method first.

    Parameters are those of :func:`minimized`.
    """
    flat = _Flat(objective, start, free, hessian)
    if flat.hessian is not None and flat.size:
        x = _newton(flat.objective, flat.hessian, flat.joined(start), tol)
        if np.abs(flat.objective(x)[1]).max() <= tol:
            return flat.parts(x)
        start = flat.parts(x)
    return minimized(objective, start, free, tol, hessian)


class _Flat:
    """A function of some of several arrays as one of a vector."""

    def __init__(
        self,
        objective: Callable[..., Any],
        start: list[Array],
        free: list[bool],
        hessian: Callable[..., Array] | None,
    ) -> None:
        self._objective, self._hessian = objective, hessian
        self._start, self._free = start, free
        sizes = [array.size * use for array, use in zip(start, free, strict=True)]
        self._ends, self.size = np.cumsum(sizes), sum(sizes)

    def parts(self, flat: Array) -> list[Array]:
        """Return the arrays."""
        return [
            flat[end - array.size : end].reshape(array.shape) if use else array
            for array, use, end in zip(self._start, self._free, self._ends, strict=True)
        ]

    def joined(self, arrays: list[Any]) -> Array:
        """Return those that are free, laid end to end."""
        pairs = zip(arrays, self._free, strict=True)
        return np.concatenate([array.ravel() for array, used in pairs if used])

    def objective(self, flat: Array) -> tuple[float, Array]:
        """Return the value and the derivative."""
        value, *slopes = self._objective(*self.parts(flat))
        return value, self.joined(slopes)

    @property
    def hessian(self) -> Callable[[Array], Array] | None:
        """The second derivatives, if they are known and the unknowns are few."""
        given = self._hessian
        if given is None or self.size > _FEW:
            return None
        return lambda flat: given(*self.parts(flat))


def _newton(
    objective: Callable[[Array], tuple[float, Array]],
    hessian: Callable[[Array], Array],
    x: Array,
    tol: float,
) -> Array:
    """Minimise a convex function by Newton steps, halved until they descend."""
    value, slope = objective(x)
    for _ in range(100):
        if np.abs(slope).max() <= tol:
            break
        step = _newton_step(hessian(x), slope)
        equal = value + _ROUNDING * abs(value)  # as far as rounding lets one tell
        for _ in range(30):
            new, new_slope = objective(x - step)
            less = np.abs(new_slope).max() < np.abs(slope).max()
            descends = new <= value or (new <= equal and less)
            if descends and np.isfinite(new_slope).all():
                break
            step /= 2
        else:
            break
        # where values no longer tell, gradients do
        if new == value and np.abs(new_slope).max() >= np.abs(slope).max():
            break
        x, value, slope = x - step, new, new_slope
    return x


def _newton_step(curved: Array, slope: Array) -> Array:
    """Solve ``curved @ step = slope``; in flat directions the step is short."""
    # in units in which all unknowns curve alike
    diagonal = curved.diagonal()
    flat = diagonal <= np.finfo(float).eps ** 2 * diagonal.max()
    unit = np.where(flat, 0.0, 1 / np.sqrt(np.where(flat, 1.0, diagonal)))
    curved = unit[:, None] * curved * unit
    damping = _DAMPING
    while True:
        try:
            shifted = curved + damping * np.eye(len(curved))
            factor = scipy.linalg.cho_factor(shifted)
            return np.asarray(unit * scipy.linalg.cho_solve(factor, unit * slope))
        except scipy.linalg.LinAlgError:  # what is flat curves down, by rounding
            damping *= 100
