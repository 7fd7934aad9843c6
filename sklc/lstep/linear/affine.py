"""Compressed weights as an affine function of their degrees of freedom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from sklc.codes import Code, Sum
from sklc.codes.theta import Theta, mapped
from sklc.lstep.linear.arrays import Array


@dataclass(frozen=True)
class Affine:
    r"""A map :math:`z \mapsto A z + c` from degrees of freedom to weights.

    Attributes
    ----------
    matrix : CSR array of shape (n_weights, n_free)
        A: for a support, a selection of columns of the unit matrix; for a codebook, a
        one where a weight has a value.
    constant : ndarray of shape (n_weights,)
        c: what no degree of freedom changes.
    """

    matrix: sparse.csr_array
    constant: Array

    def __call__(self, free: Array) -> Array:
        """Return the weights."""
        return np.asarray(self.matrix @ free) + self.constant

    def rows(self, first: int, last: int) -> "Affine":
        """Return the map to some of the weights."""
        return Affine(self.matrix[first:last], self.constant[first:last])


def affine(theta: Mapping[str, Code], free: Sequence[Tensor]) -> Affine | None:
    """Return the map from the degrees of freedom of Θ to Δ(Θ), if it is affine.

    It is found by trying: the weights of a code each of which depends on one degree of
    freedom, as those of supports and codebooks do, follow from three decompressions,
    and a sum of such codes from its terms. Takes time linear in the weights.

    Parameters
    ----------
    theta : dict of str to Code
    free : sequence of Tensor
        Its degrees of freedom, see :func:`sklc.codes.degrees_of_freedom`, in the order
        in which they are laid end to end.

    Returns
    -------
    Affine or None
        To the weights laid end to end; None if the map is of another kind, such as the
        product of two factors.
    """
    found = [_of_code(code, free) for code in theta.values()]
    parts = [part for part in found if part is not None]
    if len(parts) < len(found):
        return None
    return Affine(
        sparse.csr_array(sparse.vstack([part.matrix for part in parts], format="csr")),
        np.concatenate([part.constant for part in parts]),
    )


def _of_code(code: Code, free: Sequence[Tensor]) -> Affine | None:
    if isinstance(code, Sum):
        terms = [_of_code(term, free) for term in code.terms.values()]
        known = [term for term in terms if term is not None]
        if len(known) < len(terms):
            return None
        matrix = sum((term.matrix for term in known[1:]), known[0].matrix)
        return Affine(
            sparse.csr_array(matrix), np.sum([term.constant for term in known], axis=0)
        )
    size = sum(tensor.numel() for tensor in free)
    constant = _at(code, free, np.zeros(size))
    factor = _at(code, free, np.ones(size)) - constant
    number = _at(code, free, np.arange(1.0, size + 1)) - constant
    rows = np.flatnonzero(factor)
    columns = np.rint(number[rows] / factor[rows]).astype(int) - 1
    if rows.size and not 0 <= columns.min() <= columns.max() < size:
        return None
    shape = len(factor), size
    matrix = sparse.csr_array((factor[rows], (rows, columns)), shape=shape)
    found = Affine(matrix, constant)
    trial = np.random.default_rng(0).standard_normal(size)
    return found if np.allclose(found(trial), _at(code, free, trial)) else None


def _at(code: Code, free: Sequence[Tensor], values: Array) -> Array:
    """Return Δ, its degrees of freedom having these values."""
    parts = torch.from_numpy(values).split([tensor.numel() for tensor in free])
    given = {
        id(tensor): part.view(tensor.shape).to(tensor.dtype)
        for tensor, part in zip(free, parts, strict=True)
    }
    theta: Theta = mapped({"": code}, lambda tensor: given.get(id(tensor), tensor))
    return theta[""].dense().detach().reshape(-1).double().numpy()
