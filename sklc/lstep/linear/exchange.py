"""Exact single changes of a support: one coefficient in, one out, or both."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from sklc.lstep.linear.arrays import Array

Indices = NDArray[np.intp]
_DEPENDENT = 1e-10  # of its curvature is left of a column that others make up


class Quadratic(Protocol):
    r"""A loss of coefficients, laid end to end, to second order; intercepts eliminated.

    .. math:: L(w + \delta) \approx L(w) - c^T \delta + \tfrac12 \delta^T H \delta

    Attributes
    ----------
    slope : ndarray of shape (p,)
        c: minus the gradient.
    diagonal : ndarray of shape (p,)
        That of H.
    """

    slope: Array
    diagonal: Array

    def rows(self, index: Indices) -> Array:
        """Return these rows of H."""


@dataclass(frozen=True)
class Change:
    """One coefficient leaves the support, another one enters; -1 for none.

    Attributes
    ----------
    rise : float
        Of loss and price, to second order.
    leaves, enters : int
    """

    rise: float
    leaves: int
    enters: int

    def of(self, support: Indices) -> Indices:
        """Return the support after the change."""
        rest = support[support != self.leaves]
        return np.sort(np.append(rest, self.enters)) if self.enters >= 0 else rest


class Tableau:
    r"""The minimum of a quadratic over a support, and that over each neighbour of it.

    With :math:`A = H_{SS}^{-1}` and :math:`B = A H_{S\cdot}`, to take coefficient `i`
    out raises the minimum by :math:`w_i^2 / 2 A_{ii}`, and to take `j` in lowers it by
    :math:`c_j^2 / 2 d_j`, where :math:`d_j = H_{jj} - H_{jS} B_{Sj}`; both at once by
    the same formulas with what the first leaves of c and d. All pairs take as long as B
    has entries, and so does a change (a rank-one update of each).

    Parameters
    ----------
    quadratic : Quadratic
        Expanded at `w`.
    w : ndarray of shape (p,)
        Its minimum over the support; zero outside.
    support : integer ndarray of shape (k,)
        Coefficients that depend on others are left out.
    """

    def __init__(self, quadratic: Quadratic, w: Array, support: Indices) -> None:
        self._H = quadratic
        self.c, self.w = quadratic.slope.copy(), w.copy()
        self.S = support
        self.HS = quadratic.rows(support)
        square = self.HS[:, support]
        unit = np.sqrt(np.where(square.diagonal() > 0, square.diagonal(), 1.0))
        square = square / unit / unit[:, None]
        size, order = np.zeros(0), support
        if len(support):  # not every SciPy takes nothing
            _, R, order = scipy.linalg.qr(square, pivoting=True)
            size = np.abs(R.diagonal())
        rank = int((size > _DEPENDENT * max(1.0, size.max(initial=0.0))).sum())
        if rank < len(support):
            keep = np.sort(order[:rank])
            self.w[np.delete(support, keep)] = 0.0
            self.S, self.HS = support[keep], self.HS[keep]
            square, unit = square[np.ix_(keep, keep)], unit[keep]
        inverse = scipy.linalg.inv(square) if rank else square
        self.A = inverse / unit / unit[:, None]
        self.B = self.A @ self.HS
        self.d = quadratic.diagonal - np.einsum("ij,ij->j", self.B, self.HS)

    def best(
        self, rows: Indices, room: NDArray[np.bool_], price: float, most: int = 1
    ) -> list[Change]:
        """Return the best changes, the best one first.

        Parameters
        ----------
        rows : integer ndarray of shape (p,)
            A coefficient may take the place of one in its row.
        room : bool ndarray of shape (n_rows,)
            Whether one more may enter.
        price : float
            Of a coefficient.
        most : int
            How many changes.
        """
        S, w = self.S, self.w[self.S]
        a = self.A.diagonal()
        outside = np.ones(len(self.w), dtype=bool)
        outside[S] = False
        enters = np.flatnonzero(outside & (self.d > _DEPENDENT * self._H.diagonal))
        B = self.B[:, enters]
        slope = self.c[enters] + (w / a)[:, None] * B
        curved = self.d[enters] + B**2 / a[:, None]
        rise = np.full((len(S) + 1, len(enters) + 1), np.inf)
        np.divide(slope**2, -2 * curved, out=rise[:-1, :-1])
        leave = w**2 / (2 * a)
        rise[:-1, :-1] += leave[:, None]
        single = len(room) == 1
        if not single:
            other = rows[S][:, None] != rows[enters]
            rise[:-1, :-1][other & ~room[rows[enters]]] = np.inf
        alone = price - self.c[enters] ** 2 / (2 * self.d[enters])
        rise[-1, :-1] = np.where(room[rows[enters]], alone, np.inf)
        rise[:-1, -1] = leave - price
        flat = rise.ravel()
        first = np.array([np.argmin(flat)])
        if most > 1:
            first = np.argpartition(flat, min(most, flat.size - 1))[:most]
            first = first[np.argsort(flat[first], kind="stable")]
        out, into = np.unravel_index(first, rise.shape)
        S, enters = np.append(S, -1), np.append(enters, -1)
        return [
            Change(float(flat[n]), int(S[i]), int(enters[j]))
            for n, i, j in zip(first, out, into, strict=True)
        ]

    def apply(self, change: Change) -> None:
        """Move to the minimum over another support."""
        if change.leaves >= 0:
            self._drop(int(np.flatnonzero(change.leaves == self.S)[0]))
        if change.enters >= 0:
            self._add(change.enters)

    def _drop(self, i: int) -> None:
        a, row, column = self.A[i, i], self.B[i].copy(), self.A[i].copy()
        force = self.w[self.S[i]] / a
        self.w[self.S] -= force * column
        self.w[self.S[i]] = 0.0
        self.c += force * row
        self.d += row**2 / a
        rest = np.arange(len(self.S)) != i
        share = column[rest] / a
        self.A = self.A[np.ix_(rest, rest)] - np.outer(share, column[rest])
        self.B = self.B[rest] - np.outer(share, row)
        self.HS, self.S = self.HS[rest], self.S[rest]

    def _add(self, j: int) -> None:
        d, made = self.d[j], self.B[:, j].copy()
        own = self._H.rows(np.array([j]))[0]
        left = own - made @ self.HS
        value = self.c[j] / d
        self.w[self.S] -= value * made
        self.w[j] = value
        self.c -= value * left
        self.d -= left**2 / d
        corner = np.append(-made, 1.0)
        self.A = np.pad(self.A, (0, 1)) + np.outer(corner, corner) / d
        self.B = np.vstack([self.B, np.zeros_like(left)]) + np.outer(corner, left) / d
        self.HS, self.S = np.vstack([self.HS, own]), np.append(self.S, j)
