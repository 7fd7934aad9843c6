"""Damped least squares by conjugate gradients, for matrices known by their products."""

from collections.abc import Callable

import numpy as np

from sklc.lstep.linear.arrays import Array

_TIGHT = 1e-11  # of the gradient, relative to that of zero
_MOST = 10_000  # iterations


def cgls(
    forward: Callable[[Array], Array],
    backward: Callable[[Array], Array],
    right: Array,
    start: Array,
    *,
    damping: Array | float = 0.0,
    anchor: Array | float = 0.0,
    unit: Array | float = 1.0,
    tol: float = 0.0,
) -> Array:
    r"""Solve damped least-squares problems that share a matrix, columns of X apart.

    .. math:: \min_x \|A x - b\|^2 + \delta \|x - a\|^2

    Where nothing is damped and A has dependent columns, a start of zero gives the
    shortest solution. Takes a product with A and one with its transpose an iteration,
    of which there are about the square root of the condition number of
    :math:`A^T A + \delta I`.

    Parameters
    ----------
    forward, backward : callable
        Multiply A, or its transpose, by a matrix.
    right : ndarray of shape (m, problems)
        b, one column for each problem.
    start : ndarray of shape (n, problems)
    damping : ndarray of shape (problems,), default=0
        :math:`\delta`.
    anchor : ndarray of shape (n, problems), default=0
        a.
    unit : ndarray of shape (n, 1), default=1
        In units of these, all entries of x should matter alike.
    tol : float, default=0
        Largest norm of the gradient in the end, relative to that at zero it is 1e-11.

    Returns
    -------
    ndarray of shape (n, problems)

    References
    ----------
    A. Bjorck, Numerical methods for least squares problems, SIAM 1996, section 7.4.
    """
    x = start.copy()
    error = right - forward(x)
    slope = unit * (backward(error) - damping * (x - anchor))
    size = _squares(slope)
    first = _squares(unit * (backward(right) + damping * anchor))
    enough = np.maximum(_TIGHT**2 * first, tol**2)
    direction = slope.copy()
    for _ in range(_MOST):
        going = size > enough
        if not going.any():
            break
        image, move = forward(unit * direction), unit * direction
        curved = _squares(image) + damping * _squares(move)
        going &= curved > 0
        step = np.where(going, size / np.where(going, curved, 1.0), 0.0)
        x += step * move
        error -= step * image
        slope = unit * (backward(error) - damping * (x - anchor))
        new = _squares(slope)
        turn = np.where(going, new / np.where(going, size, 1.0), 0.0)
        direction = slope + turn * direction
        size = new
    return x


def _squares(columns: Array) -> Array:
    return np.asarray(np.einsum("ij,ij->j", columns, columns))
