"""Least squares over the degrees of freedom of compressed coefficients, directly."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from sklc.lstep.linear.affine import Affine
from sklc.lstep.linear.arrays import Array
from sklc.lstep.linear.cgls import cgls
from sklc.lstep.linear.design import DENSE, Design

_FEW = 100  # unknowns: a dense matrix of their columns is factored quickly


@dataclass(frozen=True, eq=False)
class LeastSquares:
    r"""A linear regression whose coefficients are affine in unknowns z.

    .. math:: \min_z \sum_k \sum_i s_i (y_{ik} - W_k x_i - b_k)^2
              + \sum_k \rho_k \|W_k\|^2

    Outputs that share no unknown are problems of their own; those that share some are
    solved together. The columns of a problem are columns of X (of a support) or sums of
    them (of a codebook), and its solution comes from their QR and singular value
    decompositions, as that of :func:`scipy.linalg.lstsq`; where they are many columns
    of sparse X, from conjugate gradients.

    Attributes
    ----------
    X : ndarray or CSR of shape (n, d)
    y : ndarray of shape (n, outputs)
        Centred, if intercepts are free.
    mean : ndarray of shape (d,)
        What centres X then; zero otherwise.
    root : ndarray of shape (n,)
        Square roots of the weights of the samples.
    ridge : ndarray of shape (outputs,)
        :math:`\rho`.
    coef : Affine
        From z to W, row by row.
    intercept : Affine or None
        From z to b; None if b is zero, or free and eliminated.
    """

    X: Any
    y: Array
    mean: Array
    root: Array
    ridge: Array
    coef: Affine
    intercept: Affine | None

    def solved(self, start: Array) -> Array:
        """Return the best z: the shortest, if there are several.

        Parameters
        ----------
        start : ndarray of shape (n_unknowns,)
            A z; its entries stay that have no part in the weights.
        """
        found = start.copy()
        for outputs, unknowns in self._problems():
            equations = [self._equations(output, unknowns) for output in outputs]
            size = self.X.shape[0] * len(unknowns)
            few = len(unknowns) <= _FEW and size <= DENSE
            direct = not sparse.issparse(self.X) or few
            found[unknowns] = _direct(equations) if direct else _iterated(equations)
        return found

    def _problems(self) -> Iterator[tuple[list[int], NDArray[np.intp]]]:
        """Yield outputs that share unknowns, and these unknowns."""
        n_outputs, n_unknowns = self.y.shape[1], self.coef.matrix.shape[1]
        owners, unknowns = self.coef.matrix.nonzero()
        owners = owners // self.X.shape[1]
        if self.intercept is not None:
            more = self.intercept.matrix.nonzero()
            owners = np.concatenate([owners, more[0]])
            unknowns = np.concatenate([unknowns, more[1]])
        size = n_outputs + n_unknowns
        edges = np.ones(len(owners)), (owners, n_outputs + unknowns)
        graph = sparse.coo_array(edges, shape=(size, size))
        _, labels = connected_components(graph, directed=False)
        for label in np.unique(labels[:n_outputs]):
            unknowns = np.flatnonzero(labels[n_outputs:] == label)
            if unknowns.size:
                yield np.flatnonzero(labels[:n_outputs] == label).tolist(), unknowns

    def _equations(self, output: int, unknowns: NDArray[np.intp]) -> "_Equations":
        d = self.X.shape[1]
        coef = self.coef.rows(output * d, output * d + d)
        own = self.intercept
        intercept = None if own is None else own.rows(output, output + 1)
        return _Equations(
            Design.of(self.X, coef, intercept, self.mean, unknowns),
            self.y[:, output],
            self.root,
            float(np.sqrt(self.ridge[output])),
        )


class _Equations:
    """What one output asks of z: a row for every sample, and for every penalty."""

    def __init__(self, design: Design, y: Array, root: Array, ridge: float) -> None:
        self.design, self.root = design, root
        rows = slice(None if ridge else 0)  # without a penalty, none
        self.ridge = ridge * design.coef.matrix[rows]
        self.right = np.concatenate(
            [root * (y - design.offset), -ridge * design.coef.constant[rows]]
        )

    def augmented(self) -> Array:
        """Return their matrix, and the right-hand side as one more column."""
        samples = self.root[:, None] * self.design.dense()
        matrix = np.concatenate([samples, self.ridge.toarray()])
        return np.column_stack([matrix, self.right])

    def forward(self, z: Array) -> Array:
        """Multiply their matrix by another."""
        samples = self.root[:, None] * self.design.forward(z)
        return np.concatenate([samples, self.ridge @ z])

    def backward(self, v: Array) -> Array:
        """Multiply the transpose of their matrix by another."""
        samples, penalties = np.split(v, [len(self.root)])
        found = self.design.backward(self.root[:, None] * samples)
        return np.asarray(found + self.ridge.T @ penalties)


def _direct(equations: list[_Equations]) -> Array:
    rows = equations[0].augmented()
    for more in equations[1:]:  # a triangle says as much as all rows before
        every = np.concatenate([rows, more.augmented()])
        rows = scipy.linalg.qr(every, mode="r", overwrite_a=True)[0][: every.shape[1]]
    noise = max(rows.shape) * np.finfo(np.float64).eps
    return np.asarray(scipy.linalg.lstsq(rows[:, :-1], rows[:, -1], noise)[0])


def _iterated(equations: list[_Equations]) -> Array:
    right = np.concatenate([part.right for part in equations])
    ends = np.cumsum([len(part.right) for part in equations])[:-1]

    def backward(v: Array) -> Array:
        pieces = zip(equations, np.split(v, ends), strict=True)
        return np.asarray(sum(part.backward(piece) for part, piece in pieces))

    def forward(z: Array) -> Array:
        return np.concatenate([part.forward(z) for part in equations])

    start = np.zeros((len(equations[0].design.unknowns), 1))
    return cgls(forward, backward, right[:, None], start)[:, 0]
