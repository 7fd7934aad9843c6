"""Low rank: weights that are products of thin matrices."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sklc.checks import check_bool, check_count, check_option, check_real
from sklc.codes import Code, Dense, Factored
from sklc.layers import LayerInfo, Layers
from sklc.ops.svd import SVD
from sklc.ops.tensors import matricize
from sklc.schemes.base import MatrixScheme, Theta, Weights
from sklc.schemes.validation import count


class LowRank(MatrixScheme):
    r"""Replace every weight by the nearest matrix of a given rank.

    Solves, exactly (Eckart and Young) and in :math:`O(mn \min(m, n))`,

    .. math:: \min_\Theta \|W - \Theta\|_F^2 \quad\text{s.t.}\quad
              \operatorname{rank}\Theta \le r,

    by a truncated singular value decomposition.

    Parameters
    ----------
    rank : int or float, default=0.1
        Largest rank: a number, or a fraction (from 0.0 to 1.0) of the full rank
        ``min(m, n)``, rounded to nearest. At or above the full rank the weights are
        returned as they are.
    conv_scheme : {"scheme_1", "scheme_2"}, default="scheme_1"
        How a convolution of shape ``(out, in, k1, k2)`` becomes a matrix:
        ``(out, in * k1 * k2)`` or ``(out * k1, in * k2)``.

    References
    ----------
    Y. Idelbayev and M. A. Carreira-Perpinan, Low-rank compression of neural nets:
    learning the rank of each layer, CVPR 2020.

    Examples
    --------
    >>> import torch
    >>> from sklc.schemes import LowRank
    >>> weights = {"fc.weight": torch.diag(torch.tensor([3.0, 2.0, 1.0]))}
    >>> LowRank(rank=2).compress(weights, mu=1.0)["fc.weight"].dense().diag().round()
    tensor([3., 2., 0.])
    """

    def __init__(self, rank: int | float = 0.1, conv_scheme: str = "scheme_1") -> None:
        self.rank = rank
        self.conv_scheme = conv_scheme

    def validate(self) -> None:
        super().validate()
        check_count(self, "rank")

    def _compress(self, weight: Tensor, mu: float, layer: LayerInfo | None) -> Code:
        matrix = matricize(weight, self.conv_scheme)
        full = min(matrix.shape)
        rank = count(self.rank, full)
        if rank == full:
            return Dense(weight.clone())
        left, right = SVD(matrix, rank).truncate(rank)
        return Factored(left, right, tuple(weight.shape), self.conv_scheme)

    def _feasible(self, theta: Mapping[str, Code]) -> bool:
        return all(
            rank_of(code, self.conv_scheme)
            <= count(self.rank, min(matricize(code.dense(), self.conv_scheme).shape))
            for code in theta.values()
        )


class RankSelection(MatrixScheme):
    r"""Learn the rank of every layer, as a trade-off between its cost and the error.

    Solves, exactly and in :math:`O(mn \min(m, n))` per layer,

    .. math:: \min_{\Theta, r} \; \alpha \, C(r) + \frac\mu2 \|W - \Theta\|_F^2
              \quad\text{s.t.}\quad \operatorname{rank}\Theta = r,

    by one singular value decomposition and the best of all ranks. The cost of rank `r`
    is what its factors take, :math:`C(r) = r (m + n)`, but no more than the :math:`mn`
    of the dense weight, which is kept where that is best. Of ranks that tie the
    smallest is taken.

    Parameters
    ----------
    alpha : float, default=1e-6
        Price of one number stored (of one multiplication per sample, if the criterion
        is ``"flops"``), in units of the loss; at least 0.
    criterion : {"storage", "flops"}, default="storage"
        What is priced. ``"flops"`` counts each number as often as its layer uses it
        for one sample, and needs to know the layers.
    normalize : bool, default=False
        Divide the squared error of every layer by the square of its norm (the published
        experiments on convolutional nets do). It is then not the distortion of the
        other schemes, so that it cannot be a term of
        :class:`~sklc.schemes.Additive`.
    conv_scheme : {"scheme_1", "scheme_2"}, default="scheme_1"
        As for :class:`LowRank`.

    References
    ----------
    Y. Idelbayev and M. A. Carreira-Perpinan, Low-rank compression of neural nets:
    learning the rank of each layer, CVPR 2020.

    Examples
    --------
    >>> import torch
    >>> from sklc.schemes import RankSelection
    >>> weights = {"fc.weight": torch.diag(torch.tensor([9.0, 3.0, 1.0, 0, 0, 0]))}
    >>> theta = RankSelection(alpha=1.0).compress(weights, mu=4.0)
    >>> theta["fc.weight"].rank  # mu/2 s^2 must exceed 12: 162 and 18 do, 2 does not
    2
    """

    def __init__(
        self,
        alpha: float = 1e-6,
        criterion: str = "storage",
        normalize: bool = False,
        conv_scheme: str = "scheme_1",
    ) -> None:
        self.alpha = alpha
        self.criterion = criterion
        self.normalize = normalize
        self.conv_scheme = conv_scheme

    def validate(self) -> None:
        super().validate()
        check_real(self, "alpha", 0.0)
        check_option(self, "criterion", ("storage", "flops"))
        check_bool(self, "normalize")

    @property
    def rescales_distortion(self) -> bool:
        return self.normalize

    def _compress(self, weight: Tensor, mu: float, layer: LayerInfo | None) -> Code:
        matrix = matricize(weight, self.conv_scheme)
        svd = SVD(matrix)
        square = svd.values.square()
        error = torch.cat([square.flip(0).cumsum(0).flip(0), square.new_zeros(1)])
        unit = float(square.sum()) if self.normalize else 1.0
        prices = torch.tensor(
            [self._price(rank, matrix.shape, layer) for rank in range(len(error))],
            dtype=error.dtype,
            device=error.device,
        )
        rank = int((prices * unit + mu / 2 * error).argmin())
        if rank * sum(matrix.shape) >= matrix.numel():
            return Dense(weight.clone())
        left, right = svd.truncate(rank)
        return Factored(left, right, tuple(weight.shape), self.conv_scheme)

    def _price(self, rank: int, shape: torch.Size, layer: LayerInfo | None) -> float:
        uses = layer.uses if layer and self.criterion == "flops" else 1.0
        return self.alpha * uses * min(rank * sum(shape), shape.numel())

    def _solve(
        self,
        weights: Weights,
        mu: float,
        theta: Mapping[str, Code],
        layers: Layers | None,
    ) -> Theta:
        self._check_known(weights, layers)
        return super()._solve(weights, mu, theta, layers)

    def _check_known(self, names: Mapping[str, object], layers: Layers | None) -> None:
        unknown = [name for name in names if name not in (layers or {})]
        if self.criterion == "flops" and unknown:
            msg = (
                "RankSelection(criterion='flops') must know how often a layer is used; "
                f"pass layers=... with {unknown}, or use criterion='storage'."
            )
            raise ValueError(msg)

    def _cost(
        self, theta: Mapping[str, Code], weights: Weights | None, layers: Layers | None
    ) -> float:
        self._check_known(theta, layers)
        if self.normalize and weights is None:
            msg = "RankSelection(normalize=True).cost(theta, weights) needs weights."
            raise ValueError(msg)
        total = 0.0
        for name, code in theta.items():
            shape = matricize(code.dense(), self.conv_scheme).shape
            rank = rank_of(code, self.conv_scheme)
            unit = 1.0
            if self.normalize and weights is not None:
                unit = float(weights[name].double().square().sum())
            total += unit * self._price(rank, shape, (layers or {}).get(name))
        return total


def rank_of(code: Code, conv_scheme: str) -> int:
    """Return the rank of a code: that of its factors, or the numerical rank."""
    if isinstance(code, Factored) and code.conv_scheme == conv_scheme:
        return code.rank
    matrix = matricize(code.dense(), conv_scheme)
    values = SVD(matrix).values
    tolerance = max(matrix.shape) * torch.finfo(matrix.dtype).eps
    return int((values > tolerance * values.max()).sum())
