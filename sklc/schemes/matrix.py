"""Schemes that see weights as matrices."""

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor

from sklc.checks import check_option
from sklc.codes import Code, Theta
from sklc.layers import LayerInfo
from sklc.ops.tensors import VIEWS
from sklc.schemes.base import Scheme
from sklc.schemes.problem import Problem


class MatrixScheme(Scheme):
    """A scheme that sees each weight as a matrix.

    A subclass has a hyperparameter ``conv_scheme``, which says how convolutions are
    viewed as matrices (see :func:`sklc.ops.tensors.matricize`), and writes
    :meth:`_compress`.
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

    def _improve(self, weight: Tensor, warm: Code | None) -> Code | None:
        """Return a code that is no worse than a warm start, and cheaply found.

        None if there is none that fits, or nothing is cheaper than to compress.
        """
        return None

    def validate(self) -> None:
        check_option(self, "conv_scheme", VIEWS)

    def _check(self, problem: Problem) -> None:
        for name, weight in problem.weights.items():
            if weight.ndim < 2:
                msg = (
                    f"{type(self).__name__} compresses matrices, but {name!r} has "
                    f"shape {tuple(weight.shape)}; select layers of two or more "
                    "dimensions."
                )
                raise ValueError(msg)

    def _solve(self, problem: Problem, theta: Mapping[str, Code]) -> Theta:
        found: Theta = {}
        for name, weight in problem.weights.items():
            code = self._improve(weight, theta.get(name)) if problem.improve else None
            layer = problem.layers.get(name)
            found[name] = code or self._compress(weight, problem.mu, layer)
        return found
