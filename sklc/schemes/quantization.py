"""Quantization to learned values."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sklc.budget import Budgets
from sklc.checks import check_bool, check_count, check_int
from sklc.codes import Code, Quantized
from sklc.codes.base import index_dtype
from sklc.ops.backend import at_least_float32, host_copies
from sklc.ops.kmeans import Clustering, Zeros, kmeans_of_sorted, sorted_rows
from sklc.ops.nearest import means_of_groups, nearest, nearest_or_zero
from sklc.ops.points import Reals
from sklc.ops.sorting import sort
from sklc.schemes.problem import Problem, Weights
from sklc.schemes.validation import check_weights, count
from sklc.schemes.vector import VectorScheme


class AdaptiveQuantization(VectorScheme):
    r"""Quantize the weights to a learned codebook of `k` values.

    Solves

    .. math:: \min_{c, z} \sum_i (w_i - c_{z_i})^2, \qquad z_i \in \{1, \dots, k\},

    k-means of numbers. Without a warm start the result is globally optimal while
    ``n * k <= 6e6`` for the `n` weights that are compressed at a time (those of a
    layer, or of all with ``granularity="joint"``); beyond that it is next to optimal,
    and :meth:`excess` certifies how nearly. It is never worse than a warm start, from
    which it is optimal while ``n * k <= 1e6``. Where a group has no more than `k`
    distinct values it is returned unchanged.

    With ``zero=True`` one of the values is 0, and with `kappa` at most so many weights
    take another one: pruned and quantized at once, as exactly as without.

    Takes ``O(n k log n)`` time where it is optimal, and ``O(n log n)`` otherwise, see
    :func:`sklc.ops.kmeans.kmeans`.

    Parameters
    ----------
    k : int, default=2
        Number of values, a pinned zero included.
    zero : bool, default=False
        Whether one of the values is 0.
    kappa : int or float, default=None
        Needs ``zero=True``. Most non-zeros: a number of weights, or a fraction (from
        0.0 to 1.0) of the weights of a group, rounded to nearest but above 0.0 at least
        1.
    granularity : {"joint", "layer", "channel"}, default="layer"
        One codebook for all layers together, for each, or for each output channel.

    References
    ----------
    M. A. Carreira-Perpinan and Y. Idelbayev, Model compression as constrained
    optimization, with application to neural nets. Part II: quantization,
    arXiv:1707.04319, 2017.

    Examples
    --------
    >>> import torch
    >>> from sklc.schemes import AdaptiveQuantization
    >>> weights = {"w": torch.tensor([1.0, 2.0, 6.0, 8.0, 1.5])}
    >>> AdaptiveQuantization(k=2).compress(weights, mu=1.0)["w"].dense()
    tensor([1.5000, 1.5000, 7.0000, 7.0000, 1.5000])
    """

    def __init__(
        self,
        k: int = 2,
        zero: bool = False,
        kappa: int | float | None = None,
        granularity: str = "layer",
    ) -> None:
        self.k = k
        self.zero = zero
        self.kappa = kappa
        self.granularity = granularity

    def validate(self) -> None:
        super().validate()
        check_int(self, "k", 1)
        check_bool(self, "zero")
        if self.kappa is not None:
            check_count(self, "kappa")
            if not self.zero:
                msg = (
                    f"AdaptiveQuantization(kappa={self.kappa!r}) bounds the number of "
                    "non-zeros, and needs a zero: set zero=True."
                )
                raise ValueError(msg)

    def excess(self, weights: Weights) -> dict[str, float]:
        """Certify how far from optimal :meth:`compress` without a warm start can be.

        Parameters
        ----------
        weights : dict of str to Tensor

        Returns
        -------
        dict of str to float
            For each weight, the bound on the excess of the squared error of its groups
            over the least possible, relative to it; 0.0 (up to rounding) is optimal. It
            is 1.0, which says nothing, beyond the exact limit where `kappa` lets more
            than half of the weights be other than zero.
        """
        self.validate()
        check_weights(weights)
        result = {}
        for names, rows in self._groups(Problem(weights)):
            (x,) = sorted_rows([rows])
            found = self._clustered(x, None, certify=True)
            total, excess = float(found.distortion.sum()), float(found.excess.sum())
            result.update(dict.fromkeys(names, excess / total if total else 0.0))
        return result

    def _values(self, n: int) -> tuple[int, bool]:
        """Return how many values a row of `n` may take, and whether one is pinned."""
        zero = bool(self.zero)
        return min(int(self.k), n + zero), zero

    def _compress(self, rows: Tensor, mu: float, warm: Code | None) -> Code:
        return self._compress_each([(rows, warm)], mu)[0]

    def _compress_each(
        self, problems: Sequence[tuple[Tensor, Code | None]], mu: float
    ) -> list[Code]:
        if len(problems) > 1 and all(rows.is_cpu for rows, _ in problems):
            # one after the other, as nothing is gained by holding all sorted rows
            return super()._compress_each(problems, mu)
        starts = [self._start(rows, warm) for rows, warm in problems]
        given = iter(host_copies([start for start in starts if start is not None]))
        return [
            self._clustered_code(
                rows, self._clustered(x, None if s is None else next(given))
            )
            for (rows, _), x, s in zip(
                problems, sorted_rows([r for r, _ in problems]), starts, strict=True
            )
        ]

    def _clustered(
        self, x: Reals, starts: Reals | None, certify: bool = False
    ) -> Clustering:
        """Cluster sorted rows."""
        k, zero = self._values(x.shape[1])
        kappa = None if self.kappa is None else count(self.kappa, x.shape[1])
        return kmeans_of_sorted(
            x, k, zero=zero, max_nonzero=kappa, starts=starts, certify=certify
        )

    def _improve(self, rows: Tensor, warm: Code) -> Code | None:
        """Take a step of Lloyd's algorithm, within the budget of non-zeros."""
        start = self._start(rows, warm)
        if start is None or not start.numel():
            return None
        if self._values(rows.shape[1])[0] >= rows.shape[1]:  # nothing need be lost
            return None
        zero = bool(self.zero)
        start = start.sort(dim=1).values
        if self.kappa is not None:
            return self._improve_sparse(rows, start)
        near = nearest_or_zero(rows, start, None) if zero else nearest(rows, start)
        moved = means_of_groups(rows, near.long() - int(zero), start)
        return self._code(rows, moved.sort(dim=1).values)

    def _improve_sparse(self, rows: Tensor, start: Tensor) -> Quantized:
        """Keep what gains most by its nearest value, and take the means of these."""
        near = nearest(rows, start).long()
        value = start.gather(1, near)
        gain = value * (2 * rows - value)
        assert self.kappa is not None
        most = gain.topk(count(self.kappa, rows.shape[1]), dim=1).indices
        kept = torch.zeros_like(gain, dtype=torch.bool).scatter_(1, most, True)
        index = (near + 1).masked_fill_(~kept | (gain <= 0), 0)
        moved = means_of_groups(rows, index - 1, start).to(rows.dtype)
        return Quantized(moved, index.to(index_dtype(moved.shape[1] + 1)), True)

    def _start(self, rows: Tensor, warm: Code | None) -> Tensor | None:
        """Return the codebooks of a warm start, if they fit."""
        k, zero = self._values(rows.shape[1])
        if (
            isinstance(warm, Quantized)
            and warm.zero == zero
            and len(warm.codebook) == len(rows)
            and warm.codebook.shape[1] <= k - zero
        ):
            return at_least_float32(warm.codebook)
        return None

    def _clustered_code(self, rows: Tensor, found: Clustering) -> Code:
        centers = found.centers.to(rows.device, rows.dtype)
        return self._code(rows, centers, found.zeros)

    def _code(
        self, rows: Tensor, centers: Tensor, zeros: Zeros | None = None
    ) -> Quantized:
        """Give every weight the number of its value."""
        zero = bool(self.zero)
        codebook = centers.to(rows.dtype)
        if zero:
            index = nearest_or_zero(rows, codebook, zeros)
        else:
            index = nearest(rows, codebook)
        dtype = index_dtype(codebook.shape[1] + zero)
        return Quantized(codebook, index.to(dtype), zero)

    def _budgets(self, problem: Problem) -> Budgets:
        kappa = 1.0 if self.kappa is None else self.kappa
        return self._row_budgets(problem, 0, lambda n: float(count(kappa, n)))

    def _feasible_rows(self, rows: Tensor) -> Tensor:
        k, zero = self._values(rows.shape[1])
        ordered = sort(rows)
        distinct = (ordered[:, 1:] != ordered[:, :-1]).sum(1) + 1
        if not zero:
            return (distinct <= k).all()
        n_nonzero = rows.count_nonzero(1)
        few_values = distinct - (n_nonzero < rows.shape[1]).int() < k
        if self.kappa is not None:
            few_values &= n_nonzero <= count(self.kappa, rows.shape[1])
        return few_values.all()
