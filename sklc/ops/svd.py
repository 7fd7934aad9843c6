"""Singular value decompositions of which one truncates at will."""

import scipy.linalg
import torch
from torch import Tensor

from sklc.ops.backend import at_least_float32, numpy_view, sum_dtype

_MODERATE = 30  # binary exponent of entries whose sums of squares are safe


class SVD:
    """The singular value decomposition of a matrix, of which one truncates at will.

    Of a single-precision matrix it is computed from the eigenvectors of the smaller of
    ``A A'`` and ``A' A`` in double precision: several times faster than a general
    decomposition, and right to 1e-7 of the largest singular value. Of a
    double-precision one by a general decomposition.

    Parameters
    ----------
    matrix : Tensor of shape (m, n)
    rank : int, default=None
        The largest rank to truncate to, if it is known: fewer vectors are faster.

    Attributes
    ----------
    values : Tensor of shape (min(m, n),), float64
        Singular values, in decreasing order; at least the first `rank` of them.
    """

    def __init__(self, matrix: Tensor, rank: int | None = None) -> None:
        self.dtype = matrix.dtype
        matrix = at_least_float32(matrix.detach())
        if sum_dtype(matrix) != torch.float64:
            matrix = matrix.cpu()
        self.root = _root_of_scale(matrix)
        # on another device to ask whether it is 1 would mean to wait for the answer
        if not matrix.is_cpu or float(self.root) != 1.0:
            matrix = matrix / self.root / self.root
        self.matrix = matrix
        self.wide = matrix.shape[0] <= matrix.shape[1]
        if matrix.dtype == torch.float64:
            self._left, values, _ = torch.linalg.svd(matrix, full_matrices=False)
            self.wide = True
        else:
            double = matrix.double() if self.wide else matrix.double().T
            square, self._left = _eigh(double, rank)
            values = square.clamp_(min=0).sqrt_()
        self.values = values * self.root * self.root

    def truncate(self, rank: int) -> tuple[Tensor, Tensor]:
        """Return the factors of the best approximation of rank `rank`, in its dtype.

        Returns
        -------
        left : Tensor of shape (m, rank)
        right : Tensor of shape (rank, n)
            Balanced: both have the singular values' square roots as column (row) norms.
        """
        basis = self._left[:, :rank]
        matrix = self.matrix if self.wide else self.matrix.T
        # projecting the matrix keeps the optimum, whatever the rounding of the values
        other = _product(basis.T.to(matrix.dtype), matrix)
        root = self.values[:rank].sqrt() / self.root
        safe = torch.where(root > 0, root, 1.0).to(matrix.dtype)
        left = torch.as_tensor(numpy_view(basis) * numpy_view(root * self.root))
        right = torch.as_tensor(
            numpy_view(other) / numpy_view(safe / self.root)[:, None]
        )
        if not self.wide:
            left, right = right.T, left.T
        return left.to(self.dtype).contiguous(), right.to(self.dtype).contiguous()


def _root_of_scale(matrix: Tensor) -> Tensor:
    """Return a power of two: divided by it twice, the entries have a moderate size.

    It is 1 but at the ends of the range of the dtype.
    """
    low, high = matrix.aminmax()
    exponent = torch.frexp(torch.maximum(high, -low)).exponent
    half = torch.where(exponent.abs() > _MODERATE, exponent // 2, 0)
    return torch.exp2(half.to(sum_dtype(matrix)))


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a @ b``, on a CPU by the threads that are awake from :func:`_eigh`."""
    if not a.is_cpu:
        return a @ b
    x, y = a.numpy(), b.numpy()
    gemm = scipy.linalg.get_blas_funcs("gemm", (x, y))
    return torch.from_numpy(gemm(1.0, y.T, x.T).T)


def _eigh(matrix: Tensor, rank: int | None) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, decreasing, and eigenvectors of ``matrix @ matrix.T``."""
    if matrix.is_cpu:
        gram = scipy.linalg.blas.dsyrk(1.0, matrix.numpy().T, trans=True, lower=True)
        n = len(gram)
        # a few of the vectors are faster found alone, many are faster found with all
        few = rank is not None and rank < n // 4
        values, vectors = scipy.linalg.eigh(
            gram,
            driver="evr" if few or n == 1 else "evd",  # SciPy 1.11: no evd of one
            subset_by_index=[n - max(rank or 0, 1), n - 1] if few else None,
            overwrite_a=True,
            check_finite=False,
        )
        values, vectors = torch.from_numpy(values), torch.from_numpy(vectors)
    else:
        values, vectors = torch.linalg.eigh(matrix @ matrix.T)
    return values.flip(0), vectors.flip(1)
