"""Supports that no single exchange of coefficients improves."""

import numpy as np
import torch
from scipy import sparse

from sklc.budget import Budget
from sklc.codes import Sparse
from sklc.lstep.linear.affine import Affine
from sklc.lstep.linear.arrays import Array, Pair
from sklc.lstep.linear.exchange import Change, Indices, Tableau
from sklc.lstep.linear.lasso import ActiveSet, shrunk
from sklc.lstep.linear.objective import Objective

_GAIN = 1e-9  # of the loss of a constant: less is none
_TRIALS = 10  # changes, the most promising first, of losses that are not quadratic
_MOST = 3_000_000  # entries of a tableau: of larger ones nothing is exchanged
_ROUNDS = 1000


def shrunk_code(
    objective: Objective, code: Sparse, b: Array, budget: Budget, tol: float
) -> tuple[Sparse, Pair]:
    """Return the best code of an l1 norm that is bounded, or has a price.

    Parameters
    ----------
    objective : Objective
    code : Sparse
        Of the coefficients; where to begin.
    b : ndarray of shape (n_outputs,)
        Where the intercepts may begin.
    budget : Budget
    tol : float
        Largest slope of the intercepts in the end, of an iterative method.

    Returns
    -------
    code : Sparse
    pair : ndarray, ndarray
        W and b.
    """
    search = ActiveSet(*_plain(budget))
    W, b = shrunk(objective, code.dense().numpy(), b, search, tol)
    return _coded(W, np.flatnonzero(W), code), (W, b)


def exchanged_code(
    objective: Objective, code: Sparse, start: Pair, budget: Budget, tol: float
) -> tuple[Sparse, Pair]:
    """Return a code that no single exchange of non-zeros improves.

    Parameters
    ----------
    objective : Objective
    code : Sparse
        Of the coefficients.
    start : ndarray, ndarray
        W and b, the best for its support.
    budget : Budget
    tol : float
        Largest entry of the gradient in the end, of an iterative method.

    Returns
    -------
    code : Sparse
    pair : ndarray, ndarray
        W and b.
    """
    search = Exchange(objective, *_plain(budget), tol)
    support, pair = search.improved(code.index.numpy().astype(np.intp), start)
    return _coded(pair[0], support, code), pair


def _plain(budget: Budget) -> tuple[Indices, Array, float]:
    rows, most = budget.rows.reshape(-1).numpy(), budget.most.double().numpy()
    return rows, most, budget.price


def _coded(W: Array, support: Indices, code: Sparse) -> Sparse:
    values = torch.from_numpy(W.ravel()[support])
    return Sparse(values, torch.from_numpy(support).to(code.index.dtype), code.size)


class Exchange:
    r"""Improves supports by the best exchange of single coefficients, again and again.

    .. math:: \min_{S, W, b} L(W, b) + \alpha |S|
              \quad\text{s.t.}\quad W_j = 0 \text{ for } j \notin S,

    where S holds so many coefficients in each row, at most. Squared errors are
    exchanged until no change of one coefficient (in, out, or both) lowers them; of log
    losses the most promising ones, to second order, are tried.

    Parameters
    ----------
    objective : Objective
    rows : integer ndarray of shape (p,)
        The row of each coefficient.
    most : ndarray of shape (n_rows,)
        How many of a row S may hold.
    price : float
        :math:`\alpha`.
    tol : float
        Largest entry of the gradient in the end, of an iterative method.
    """

    def __init__(
        self, objective: Objective, rows: Indices, most: Array, price: float, tol: float
    ) -> None:
        self._objective, self._rows, self._most = objective, rows, most
        self._price, self._tol = price, tol
        self._enough = _GAIN * objective.constant()

    def improved(self, support: Indices, start: Pair) -> tuple[Indices, Pair]:
        """Return a support that is at least as good, and its coefficients.

        Parameters
        ----------
        support : integer ndarray of shape (k,)
            Among all coefficients, laid end to end.
        start : ndarray, ndarray
            W and b, the best for it.
        """
        value, pair = self._value(support, start), start
        step = self._followed if self._objective.is_quadratic else self._tried
        for _ in range(_ROUNDS):
            if len(support) * start[0].size > _MOST:
                break
            found = step(support, pair, value)
            if found is None:
                break
            value, support, pair = found
        return support, pair

    def _followed(
        self, support: Indices, pair: Pair, value: float
    ) -> tuple[float, Indices, Pair] | None:
        """Exchange until nothing is gained; the formulas are exact."""
        table = self._tableau(support, pair)
        for _ in range(_ROUNDS):
            (change,) = self._best(table, 1)
            if not change.rise < -self._enough:
                break
            table.apply(change)
        found = self._fitted(np.sort(table.S), pair)
        return found if found[0] < value - self._enough else None

    def _tried(
        self, support: Indices, pair: Pair, value: float
    ) -> tuple[float, Indices, Pair] | None:
        """Return the first of the most promising changes that is an improvement."""
        for change in self._best(self._tableau(support, pair), _TRIALS):
            if change.rise < 0:
                found = self._fitted(change.of(support), pair)
                if found[0] < value - self._enough:
                    return found
        return None

    def _tableau(self, support: Indices, pair: Pair) -> Tableau:
        W, b = pair
        return Tableau(self._objective.quadratic(W, b), W.ravel(), support)

    def _best(self, table: Tableau, most: int) -> list[Change]:
        held = np.bincount(self._rows[table.S], minlength=len(self._most))
        return table.best(self._rows, held < self._most, self._price, most)

    def _value(self, support: Indices, pair: Pair) -> float:
        loss = self._objective.value(*pair)
        return loss + self._price * len(support)

    def _fitted(self, support: Indices, pair: Pair) -> tuple[float, Indices, Pair]:
        W, b = pair
        n, p = len(support), W.size
        matrix = sparse.csr_array((np.ones(n), (support, np.arange(n))), shape=(p, n))
        start = W.ravel()[support]
        found = self._objective.refit(
            Affine(matrix, np.zeros(p)), None, (start, b), self._tol
        )
        assert found is not None
        W = np.zeros_like(W)
        W.ravel()[support] = found[0]
        pair = W, found[1]
        return self._value(support, pair), support, pair
