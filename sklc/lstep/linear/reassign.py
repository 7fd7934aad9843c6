"""Exact single changes of codebooks: one coefficient takes another value."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from sklc.budget import Budget
from sklc.codes import Quantized, Scaled
from sklc.lstep.linear.arrays import Array, Pair
from sklc.lstep.linear.exchange import Indices
from sklc.lstep.linear.objective import Objective

_MOST = 3_000_000  # second derivatives: of more, nothing is changed
_GAIN = 1e-9  # of the loss of a constant: less is none
_ROUNDS = 10_000
_FLAT = 1e-12


def reassigned(
    objective: Objective, code: Quantized | Scaled, pair: Pair, budget: Budget
) -> Quantized | Scaled:
    r"""Return a code of coefficients that no single change of a value improves.

    With :math:`w = A z`, where each row of A picks a value of z, a coefficient that
    picks another one changes A by :math:`e_i \delta^T`. The minimum over z then follows
    from that before by an update of rank two, and all changes take as long as A has
    entries. Only squared errors are minimised so; of other losses, or where the second
    derivatives are many, the code stays.

    Parameters
    ----------
    objective : Objective
    code : Quantized or Scaled
        Refitted.
    pair : ndarray, ndarray
        Its coefficients, and the intercepts.
    budget : Budget
        How many non-zeros the coefficients of a row may have.
    """
    p = pair[0].size
    levels = Levels.of(code)
    if not objective.is_quadratic or p**2 > _MOST or not levels.n_values:
        return code
    quadratic = objective.quadratic(*pair)
    H = quadratic.rows(np.arange(p))
    line = quadratic.slope + H @ pair[0].ravel()
    rows, most = budget.rows.reshape(-1).numpy(), budget.most.numpy()
    index = code.index.reshape(-1).numpy().astype(np.intp)
    enough = _GAIN * objective.constant()
    for _ in range(_ROUNDS):
        rise = levels.rises(H, line, index)
        filled = levels.factor[np.arange(p), index] != 0
        full = np.bincount(rows[filled], minlength=len(most)) >= most
        rise[(full[rows] & ~filled)[:, None] & (levels.factor != 0)] = np.inf
        i, level = np.unravel_index(np.argmin(rise), rise.shape)
        if not rise[i, level] < -enough:
            break
        index[i] = level
    found = torch.from_numpy(index).to(code.index.dtype)
    return replace(code, index=found.view(code.index.shape))


@dataclass(frozen=True)
class Levels:
    """What each coefficient may be: a factor times one of the values.

    Attributes
    ----------
    value : integer ndarray of shape (p, n_levels)
        Numbers of values, by the number of a level.
    factor : ndarray of shape (p, n_levels)
    n_values : int
    """

    value: Indices
    factor: Array
    n_values: int

    @classmethod
    def of(cls, code: Quantized | Scaled) -> "Levels":
        """Return those of a code; there are no values that are not learned."""
        p = code.index.numel()
        if isinstance(code, Scaled):
            n_rows = len(code.scale) * code.scale.is_floating_point()
            row = np.arange(p) * max(n_rows, 1) // p
            factor = np.tile(np.array(code.levels), (p, 1))
            return cls(np.tile(row[:, None], (1, len(code.levels))), factor, n_rows)
        n_rows, k = code.codebook.shape
        row = np.arange(p)[:, None] * n_rows // p
        value, factor = row * k + np.arange(k), np.ones((p, k))
        if code.zero:
            value = np.column_stack([value[:, 0], value])
            factor = np.column_stack([np.zeros(p), factor])
        return cls(value, factor, n_rows * k)

    def rises(self, H: Array, line: Array, index: Indices) -> Array:
        r"""Return by how much each change of a level raises the minimum.

        Parameters
        ----------
        H : ndarray of shape (p, p)
        line : ndarray of shape (p,)
            The loss is :math:`\frac12 w^T H w - line^T w`.
        index : integer ndarray of shape (p,)
            The level of each coefficient.

        Returns
        -------
        ndarray of shape (p, n_levels)
            Infinite for what is no change, or leaves a value without coefficients, or
            is one that no coefficient has.
        """
        p, at = len(index), np.arange(len(index))
        own, share = self.value[at, index], self.factor[at, index]
        A = np.zeros((p, self.n_values))
        A[at, own] = share
        HA = H @ A
        inverse = np.linalg.pinv(A.T @ HA, hermitian=True)
        z = inverse @ (A.T @ line)
        w = A @ z
        slope, curved = line - HA @ z, H.diagonal()[:, None]
        made = HA @ inverse
        v = self.factor * z[self.value] - w[:, None]
        t11 = np.einsum("ij,ij->i", made, HA)[:, None]
        before, after = share[:, None], self.factor
        t12 = after * made[at[:, None], self.value] - (share * made[at, own])[:, None]
        t22 = (
            after**2 * inverse[self.value, self.value]
            - 2 * before * after * inverse[own[:, None], self.value]
            + before**2 * inverse[own, own][:, None]
        )
        g = slope[:, None] - curved * v
        # T q, and the inverse of [[t11 - H, t12 + 1], [t12 + 1, t22]]
        first, second = -t11 * v + t12 * g, -t12 * v + t22 * g
        a, b = t11 - curved, t12 + 1
        determinant = a * t22 - b**2
        good = np.abs(determinant) > _FLAT * (np.abs(a * t22) + b**2)
        safe = np.where(good, determinant, 1.0)
        solved = (t22 * first**2 - 2 * b * first * second + a * second**2) / safe
        gain = (-v * first + g * second) - solved
        rise = -slope[:, None] * v + curved * v**2 / 2 - gain / 2
        used = np.bincount(own, share != 0, minlength=self.n_values)
        empty = (after != 0) & (used[self.value] == 0)
        alone = (used[own] == 1) & (share != 0)
        rise[~good | empty | alone[:, None]] = np.inf
        rise[at, index] = np.inf
        return np.asarray(rise)
