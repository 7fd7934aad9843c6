"""Scores of samples as an affine function of what their coefficients depend on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sklc.lstep.linear.affine import Affine
from sklc.lstep.linear.arrays import Array

#: Entries that columns made of others may have together, to be kept dense.
DENSE = 30_000_000


@dataclass(frozen=True, eq=False)
class Design:
    """The scores ``D z + c`` of one output, z being those unknowns that they depend on.

    Attributes
    ----------
    X : ndarray or CSR of shape (n, n_used)
        Columns of the coefficients that depend on unknowns.
    coef : Affine
        From z to the coefficients of these columns.
    shift : ndarray of shape (n_unknowns,)
        What an intercept (or the centring of X) adds to every row of D.
    offset : ndarray of shape (n,)
        c.
    unknowns : integer ndarray of shape (n_unknowns,)
        Their numbers among all of Θ.
    """

    X: Any
    coef: Affine
    shift: Array
    offset: Array
    unknowns: NDArray[np.intp]

    @classmethod
    def of(
        cls,
        X: Any,
        coef: Affine,
        intercept: Affine | None = None,
        mean: Array | None = None,
        unknowns: NDArray[np.intp] | None = None,
    ) -> "Design":
        """Return the scores of an output.

        Parameters
        ----------
        X : ndarray or CSR of shape (n, d)
        coef : Affine
            From all unknowns to the d coefficients.
        intercept : Affine, default=None
            To the intercept; None if there is none.
        mean : ndarray of shape (d,), default=None
            What is subtracted from every sample.
        unknowns : integer ndarray, default=None
            Which of them to keep; by default those that the scores depend on.
        """
        if unknowns is None:
            parts = [coef] if intercept is None else [coef, intercept]
            unknowns = np.unique(np.concatenate([p.matrix.indices for p in parts]))
        matrix = coef.matrix[:, unknowns]
        used = np.flatnonzero(np.diff(matrix.indptr))
        shift = np.zeros(len(unknowns))
        offset = np.asarray(X @ coef.constant)
        if mean is not None:
            shift = shift - mean @ matrix
            offset = offset - mean @ coef.constant
        if intercept is not None:
            shift = shift + intercept.matrix[:, unknowns].toarray()[0]
            offset = offset + intercept.constant[0]
        inner = Affine(matrix[used], coef.constant[used])
        return cls(X[:, used], inner, shift, offset, unknowns)

    def dense(self) -> Array:
        """Return D."""
        product = self.X @ self.coef.matrix  # takes as long as A has entries
        if sparse.issparse(product):
            product = product.toarray()
        return np.asarray(product + self.shift)

    def columns(self) -> Any:
        """Return D, as a CSR array where it is sparse."""
        if sparse.issparse(self.X) and not self.shift.any():
            return sparse.csr_array(self.X @ self.coef.matrix)
        return self.dense()

    def forward(self, z: Array) -> Array:
        """Multiply D by a matrix."""
        return np.asarray(self.X @ (self.coef.matrix @ z)) + self.shift @ z

    def backward(self, v: Array) -> Array:
        """Multiply the transpose of D by a matrix."""
        product = self.coef.matrix.T @ (self.X.T @ v)
        return np.asarray(product) + np.outer(self.shift, v.sum(0))
