"""Low rank: weights that are products of thin matrices."""

from abc import abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sklc.checks import check, check_bool, check_count, check_real
from sklc.codes import Code, Factored, Theta
from sklc.costs import COSTS, Cost, as_cost
from sklc.layers import LayerInfo
from sklc.ops.backend import at_least_float32, numbers, sum_dtype
from sklc.ops.svd import SVD
from sklc.ops.tensors import matricize, matrix_shape
from sklc.schemes.frontier import RankFrontier, decompose
from sklc.schemes.matrix import MatrixScheme
from sklc.schemes.problem import Problem
from sklc.schemes.validation import count


class _Ranks(MatrixScheme):
    """A scheme that takes one size of the frontier of every weight."""

    @abstractmethod
    def _frontier(self, weight: Tensor) -> RankFrontier:
        """Return what a weight can become."""

    @abstractmethod
    def _best(
        self, frontier: RankFrontier, mu: float, layer: LayerInfo | None
    ) -> int | Tensor:
        """Return the size to take: a number, or a scalar on the weight's device."""

    def _compress(self, weight: Tensor, mu: float, layer: LayerInfo | None) -> Code:
        frontier = self._frontier(weight)
        return frontier.code(int(self._best(frontier, mu, layer)))

    def _solve(self, problem: Problem, theta: Mapping[str, Code]) -> Theta:
        on_cpu = all(weight.is_cpu for weight in problem.weights.values())
        if problem.improve or on_cpu:
            return super()._solve(problem, theta)  # one frontier in memory at a time
        frontiers = {name: self._frontier(w) for name, w in problem.weights.items()}
        decompose(frontiers.values())
        best = numbers(
            self._best(frontier, problem.mu, problem.layers.get(name))
            for name, frontier in frontiers.items()
        )
        return {
            name: frontier.code(int(size))
            for (name, frontier), size in zip(frontiers.items(), best, strict=True)
        }


class LowRank(_Ranks):
    r"""Replace every weight by the nearest matrix of a given rank.

    Solves, exactly (Eckart and Young) and in :math:`O(mn \min(m, n))`,

    .. math:: \min_\Theta \|W - \Theta\|_F^2 \quad\text{s.t.}\quad
              \operatorname{rank}\Theta \le r,

    by a truncated singular value decomposition.

    Parameters
    ----------
    rank : int or float, default=0.1
        Largest rank: a number, or a fraction (from 0.0 to 1.0) of the full rank
        ``min(m, n)``, rounded to nearest but above 0.0 at least 1. At or above the full
        rank the weights are returned as they are.
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

    @property
    def smooth(self) -> bool:
        return True

    def _allowed(self, shape: torch.Size) -> int:
        return count(self.rank, min(matrix_shape(shape, self.conv_scheme)))

    def _frontier(self, weight: Tensor) -> RankFrontier:
        return RankFrontier(weight, self.conv_scheme, self._allowed(weight.shape))

    def _best(
        self, frontier: RankFrontier, mu: float, layer: LayerInfo | None
    ) -> int | Tensor:
        return frontier.largest

    def _improve(self, weight: Tensor, warm: Code | None) -> Code | None:
        """Fit one factor after the other: a step of alternating least squares."""
        if not (
            isinstance(warm, Factored)
            and warm.shape == weight.shape
            and warm.conv_scheme == self.conv_scheme
            and 0 < warm.rank == self._allowed(weight.shape)
        ):
            return None
        matrix = matricize(at_least_float32(weight), self.conv_scheme)
        left, _ = torch.linalg.qr(matrix @ at_least_float32(warm.right).T)
        right = (left.T @ matrix).to(weight.dtype)
        size = tuple(weight.shape)
        return Factored(left.to(weight.dtype), right, size, self.conv_scheme)

    def _feasible(self, theta: Mapping[str, Code], problem: Problem) -> bool:
        view = self.conv_scheme
        allowed = {name: self._allowed(code.shape) for name, code in theta.items()}
        return all(
            allowed[name] >= min(matrix_shape(code.shape, view))
            or _rank_of(code, view) <= allowed[name]
            for name, code in theta.items()
        )


class RankSelection(_Ranks):
    r"""Learn the rank of every layer, as a trade-off between its cost and the error.

    Solves, exactly and in :math:`O(mn \min(m, n))` per layer,

    .. math:: \min_{\Theta, r} \; \alpha \, C(r) + \frac\mu2 \|W - \Theta\|_F^2
              \quad\text{s.t.}\quad \operatorname{rank}\Theta = r,

    by one singular value decomposition and the best of all ranks. The cost of rank `r`
    is what its factors take, :math:`C(r) = r (m + n)` numbers for example. The dense
    weight is kept where that is best: ranks that take as much are never chosen. Of
    ranks that tie the smallest is taken.

    Parameters
    ----------
    alpha : float, default=1e-6
        Price of a unit of the criterion (one number stored, or one multiplication per
        sample), in units of the loss; at least 0.
    criterion : {"storage", "flops"}, Cost or callable, default="storage"
        What is priced: the numbers stored (:class:`sklc.costs.Storage`); the
        multiplications for one sample (:class:`sklc.costs.Flops`), which needs to know
        the layers; or what a function of a code and its
        :class:`~sklc.layers.LayerInfo` returns, see :class:`sklc.costs.Cost`.
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
        criterion: str | Cost | Callable[[Code, LayerInfo | None], float] = "storage",
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
        check_bool(self, "normalize")
        known = ", ".join(map(repr, COSTS))
        wanted = f"one of {known}, a cost, or a function of a code and its layer"
        check(self, "criterion", as_cost(self.criterion) is not None, wanted)

    @property
    def rescales_distortion(self) -> bool:
        return bool(self.normalize)

    @property
    def _price(self) -> Cost:
        found = as_cost(self.criterion)
        assert found is not None
        return found

    def _check(self, problem: Problem) -> None:
        super()._check(problem)
        frontiers = {
            name: self._frontier(weight) for name, weight in problem.weights.items()
        }
        for dense in False, True:
            codes = {
                name: frontier.outline(frontier.full if dense else 0)
                for name, frontier in frontiers.items()
            }
            self._check_known(codes, problem)
            for name, code in codes.items():
                self._price(code, problem.layers.get(name))

    def _check_known(self, theta: Mapping[str, Code], problem: Problem) -> None:
        """Raise unless enough is known of the layers to price these codes."""
        price = self._price
        lacking: dict[str, list[str]] = {}
        for name, code in theta.items():
            if reason := price.unknown(code, problem.layers.get(name)):
                lacking.setdefault(reason, []).append(name)
        for reason, names in lacking.items():
            msg = (
                f"RankSelection(criterion={self.criterion!r}) cannot price {names}: "
                f"{reason}. Use criterion='storage', or select other layers with Mixed."
            )
            raise ValueError(msg)

    def _frontier(self, weight: Tensor) -> RankFrontier:
        return RankFrontier(weight, self.conv_scheme)

    def _best(
        self, frontier: RankFrontier, mu: float, layer: LayerInfo | None
    ) -> int | Tensor:
        price = self._price
        alpha: float | Tensor = float(self.alpha)
        if self.normalize:
            alpha = alpha * frontier.errors[0]  # of rank 0, the squared norm
        sizes = range(len(frontier.errors))
        prices = [price(frontier.outline(size), layer) for size in sizes]
        return frontier.best(prices, alpha, mu)

    def _costs(
        self, theta: Mapping[str, Code], problem: Problem
    ) -> dict[str, float | Tensor]:
        self._check_known(theta, problem)
        return super()._costs(theta, problem)

    def _cost(self, name: str, code: Code, problem: Problem) -> float | Tensor:
        price = float(self.alpha) * self._price(code, problem.layers.get(name))
        if not self.normalize:
            return price
        if name not in problem.weights:
            msg = "RankSelection(normalize=True).cost(theta, weights) needs weights."
            raise ValueError(msg)
        weight = problem.weights[name]
        return price * weight.to(sum_dtype(weight)).square().sum()


def _rank_of(code: Code, view: str) -> int:
    """Return the rank of the factors, or how many singular values are no rounding."""
    if isinstance(code, Factored) and code.conv_scheme == view:
        return code.rank
    matrix = matricize(code.dense(), view)
    values = SVD(matrix).values
    tolerance = max(matrix.shape) * torch.finfo(matrix.dtype).eps
    return int((values > tolerance * values.max()).sum())
