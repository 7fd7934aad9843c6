"""What a scheme is: one kind of compression, as the solution of its C step."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from sklc import selection
from sklc.checks import check_option
from sklc.codes import Code, Theta, decompress
from sklc.codes.base import descendants
from sklc.layers import LayerInfo, Layers
from sklc.ops.tensors import CONV_SCHEMES
from sklc.schemes.validation import check_mu, check_weights

Weights = Mapping[str, Tensor]

GRANULARITIES = ("joint", "layer", "channel")


class Scheme(BaseEstimator, ABC):
    r"""One kind of compression.

    Its C step solves

    .. math:: \min_\Theta \; \mathrm{cost}(\Theta) + \frac\mu2 \|w - \Delta(\Theta)\|^2.

    A scheme holds hyperparameters and nothing else: what it computes, it returns. To
    write one, subclass :class:`VectorScheme` or :class:`MatrixScheme`.
    """

    @property
    def exact(self) -> bool:
        """Whether the C step is solved to global optimality.

        Otherwise it returns nothing worse than its warm start.
        """
        return True

    @property
    def keeps_feasible(self) -> bool:
        """Whether a feasible Θ stays so, whatever its degrees of freedom become.

        Otherwise training them needs :meth:`project`.
        """
        return True

    @property
    def has_cost(self) -> bool:
        """Whether Θ has a price, so that `mu` matters; otherwise a mere constraint."""
        return type(self)._cost is not Scheme._cost

    @property
    def rescales_distortion(self) -> bool:
        """Whether the C step measures its distortion in units of its own."""
        return False

    def compress(
        self,
        weights: Weights,
        mu: float,
        theta: Mapping[str, Code] | None = None,
        layers: Layers | None = None,
    ) -> Theta:
        """Compress weights: the C step, a pure function of its arguments.

        Parameters
        ----------
        weights : dict of str to Tensor
            Finite weights of any floating dtype, on any device.
        mu : float
            Penalty parameter, positive. Schemes with a constraint do not need it.
        theta : dict of str to Code, default=None
            Warm start: an earlier result. One whose structure does not fit is ignored.
        layers : dict of str to LayerInfo, default=None
            What is known of the layers, for the schemes that want it.

        Returns
        -------
        dict of str to Code
            By the same names; only those that a :class:`~sklc.schemes.Mixed` selects.

        Raises
        ------
        ValueError, TypeError
            If a hyperparameter, `mu` or a weight is invalid.
        """
        self.check(weights, layers)
        check_mu(mu)
        with torch.no_grad():
            return self._solve(weights, float(mu), theta or {}, layers)

    def check(self, weights: Weights, layers: Layers | None = None) -> None:
        """Raise the errors that this scheme has for weights, without compressing them.

        Parameters
        ----------
        weights : dict of str to Tensor
        layers : dict of str to LayerInfo, default=None

        Raises
        ------
        ValueError, TypeError
            As for :meth:`compress`.
        """
        self.validate()
        check_weights(weights)
        self._check(weights, layers)

    def _check(self, weights: Weights, layers: Layers | None) -> None:
        """Raise the errors of a kind of schemes."""

    def cost(
        self,
        theta: Mapping[str, Code],
        weights: Weights | None = None,
        layers: Layers | None = None,
    ) -> float:
        """Return the penalty of Θ: 0 for a mere constraint, ``inf`` if Θ breaks it.

        Parameters
        ----------
        theta : dict of str to Code
        weights : dict of str to Tensor, default=None
            The weights that Θ compresses, where the penalty depends on them.
        layers : dict of str to LayerInfo, default=None
            As for :meth:`compress`.
        """
        self.validate()
        with torch.no_grad():
            if not self._feasible(theta):
                return float("inf")
            return self._cost(theta, weights, layers)

    def project(self, theta: Mapping[str, Code]) -> Theta:
        """Return the nearest feasible Θ of the same structure.

        Parameters
        ----------
        theta : dict of str to Code
            A result of :meth:`compress`, whose degrees of freedom have changed since.
        """
        with torch.no_grad():
            if self.keeps_feasible or self._feasible(theta):
                return dict(theta)
            return self._project(theta)

    def covers(self, weights: Weights, *, selected: bool = False) -> list[str]:
        """Return the names of the weights that this scheme compresses.

        Parameters
        ----------
        weights : dict of str to Tensor
            All parameters of a model.
        selected : bool, default=False
            Whether they were selected by name: a scheme then covers all of them, and
            otherwise those of two or more dimensions.
        """
        return list(weights) if selected else selection.default(weights)

    def validate(self) -> None:
        """Raise a ValueError or TypeError if a hyperparameter is invalid."""

    @abstractmethod
    def _solve(
        self,
        weights: Weights,
        mu: float,
        theta: Mapping[str, Code],
        layers: Layers | None,
    ) -> Theta:
        """Compress valid weights."""

    def _feasible(self, theta: Mapping[str, Code]) -> bool:
        """Whether Θ keeps the constraint."""
        return True

    def _project(self, theta: Mapping[str, Code]) -> Theta:
        """Return the nearest feasible Θ of the same structure as this one."""
        return self._solve(decompress(theta), 1.0, theta, None)

    def _cost(
        self,
        theta: Mapping[str, Code],
        weights: Weights | None,
        layers: Layers | None,
    ) -> float:
        """Return the penalty of a feasible Θ."""
        return 0.0


class VectorScheme(Scheme):
    """A scheme that sees weights as vectors.

    A subclass writes :meth:`_compress` for a matrix each row of which is a problem of
    its own. What the rows are is the scheme's ``granularity``: ``"joint"``, one row of
    all weights; ``"layer"``, one row per weight; ``"channel"``, one row per output
    channel (the first axis) of a weight.
    """

    granularity: str = "layer"

    @abstractmethod
    def _compress(self, rows: Tensor, mu: float, warm: Code | None) -> Code:
        """Compress each row of a matrix.

        Parameters
        ----------
        rows : Tensor of shape (groups, n)
        mu : float
        warm : Code or None
            The warm start of the first weight in `rows`, of any kind.

        Returns
        -------
        Code of shape (groups, n)
        """

    def _feasible_rows(self, rows: Tensor) -> bool:
        """Whether every row of a decompressed matrix keeps the constraint."""
        return True

    def validate(self) -> None:
        check_option(self, "granularity", GRANULARITIES)

    def _groups(self, weights: Weights) -> Iterator[tuple[list[str], Tensor]]:
        """Yield the problems: names of weights, and a matrix of (groups, n)."""
        if self.granularity == "joint":
            kinds = {(weight.dtype, weight.device) for weight in weights.values()}
            if len(kinds) > 1:
                msg = (
                    f"{type(self).__name__}(granularity='joint') needs weights of one "
                    f"dtype and device, got {sorted(map(str, kinds))}; use 'layer'."
                )
                raise ValueError(msg)
            flat = [weight.reshape(1, -1) for weight in weights.values()]
            yield list(weights), flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)
            return
        for name, weight in weights.items():
            channels = self.granularity == "channel" and weight.ndim > 0
            yield [name], weight.reshape(len(weight) if channels else 1, -1)

    def _solve(
        self,
        weights: Weights,
        mu: float,
        theta: Mapping[str, Code],
        layers: Layers | None,
    ) -> Theta:
        if self.granularity == "channel":
            self._refuse_transposed(weights, layers)
        result: Theta = {}
        for names, rows in self._groups(weights):
            code = self._compress(rows, mu, theta.get(names[0]))
            shapes = [weights[name].shape for name in names]
            result.update(zip(names, code.split(shapes), strict=True))
        return result

    def _refuse_transposed(self, weights: Weights, layers: Layers | None) -> None:
        for name in weights:
            if layers and name in layers and layers[name].output_axis != 0:
                msg = (
                    f"granularity='channel' needs the outputs on the first axis, but "
                    f"{name!r} of {layers[name].kind} has them on axis "
                    f"{layers[name].output_axis}; use 'layer' for it."
                )
                raise ValueError(msg)

    def _feasible(self, theta: Mapping[str, Code]) -> bool:
        dense = {name: code.dense() for name, code in theta.items()}
        return all(self._feasible_rows(rows) for _, rows in self._groups(dense))


class MatrixScheme(Scheme):
    """A scheme that sees each weight as a matrix.

    A subclass has a hyperparameter ``conv_scheme``, which says how convolutions become
    matrices (see :func:`sklc.ops.tensors.matricize`), and writes :meth:`_compress`.
    """

    conv_scheme: str = "scheme_1"

    @abstractmethod
    def _compress(self, weight: Tensor, mu: float, layer: LayerInfo | None) -> Code:
        """Compress one weight of two or more dimensions.

        Parameters
        ----------
        weight : Tensor
        mu : float
        layer : LayerInfo or None
            What is known of its layer.
        """

    def validate(self) -> None:
        check_option(self, "conv_scheme", CONV_SCHEMES)

    def _check(self, weights: Weights, layers: Layers | None) -> None:
        for name, weight in weights.items():
            if weight.ndim < 2:
                msg = (
                    f"{type(self).__name__} compresses matrices, but {name!r} has "
                    f"shape {tuple(weight.shape)}; select layers of two or more "
                    "dimensions."
                )
                raise ValueError(msg)

    def _solve(
        self,
        weights: Weights,
        mu: float,
        theta: Mapping[str, Code],
        layers: Layers | None,
    ) -> Theta:
        known = layers or {}
        return {
            name: self._compress(weight, mu, known.get(name))
            for name, weight in weights.items()
        }


def all_schemes() -> list[type[Scheme]]:
    """Return every concrete scheme class, those of users included."""
    kinds = {kind for kind in descendants(Scheme) if not inspect.isabstract(kind)}
    return sorted(kinds, key=lambda kind: kind.__name__)
