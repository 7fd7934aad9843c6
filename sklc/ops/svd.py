"""Singular value decompositions of which one truncates at will."""

from collections.abc import Iterable
from functools import cached_property

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
        self.general = matrix.dtype == torch.float64
        self.wide = self.general or matrix.shape[0] <= matrix.shape[1]
        self.rank = rank

    @property
    def values(self) -> Tensor:
        """Singular values, in decreasing order; at least the first `rank` of them."""
        return self._found[0] * self.root * self.root

    @cached_property
    def _found(self) -> tuple[Tensor, Tensor]:
        """Singular values of the scaled matrix, and vectors of its smaller side."""
        if self.matrix.is_cpu and not self.general:
            return _roots(*_eigh(self._upright.double(), self.rank))
        values, vectors = self._decompose(self._operand[None])
        return values[0], vectors[0]

    @property
    def _upright(self) -> Tensor:
        return self.matrix if self.wide else self.matrix.T

    @property
    def _operand(self) -> Tensor:
        """What a decomposition of the whole is computed from."""
        if self.general:
            return self.matrix
        double = self._upright.double()
        return double @ double.T

    def _decompose(self, operands: Tensor) -> tuple[Tensor, Tensor]:
        """Decompose a batch of operands like this one's."""
        if self.general:
            left, values, _ = torch.linalg.svd(operands, full_matrices=False)
            return values, left
        squares, vectors = torch.linalg.eigh(operands)
        return _roots(squares.flip(-1), vectors.flip(-1))

    def truncate(self, rank: int) -> tuple[Tensor, Tensor]:
        """Return the factors of the best approximation of rank `rank`, in its dtype.

        Returns
        -------
        left : Tensor of shape (m, rank)
        right : Tensor of shape (rank, n)
            Balanced: both have the singular values' square roots as column (row) norms.
        """
        basis = self._found[1][:, :rank]
        matrix = self._upright
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


def decompose(svds: Iterable[SVD]) -> None:
    """Do now what each would do when it is asked, elsewhere than on a CPU in batches.

    The host waits for every decomposition, which looks for errors: here once for those
    of a size, however many there are.
    """
    batches: dict[tuple[object, ...], list[tuple[SVD, Tensor]]] = {}
    for svd in svds:
        if not svd.matrix.is_cpu:
            operand = svd._operand
            kind = operand.shape, svd.general, operand.device
            batches.setdefault(kind, []).append((svd, operand))
    for batch in batches.values():
        operands = torch.stack([operand for _, operand in batch])
        found = batch[0][0]._decompose(operands)
        for (svd, _), values, vectors in zip(batch, *found, strict=True):
            svd._found = values, vectors


def _roots(squares: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    return squares.clamp(min=0).sqrt(), vectors


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
    return torch.from_numpy(values).flip(0), torch.from_numpy(vectors).flip(1)
