"""What a code costs where its layer uses it: numbers stored, or multiplications."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from sklearn.base import BaseEstimator
from torch import Tensor

from sklc.checks import as_float
from sklc.codes import Code, Dense, Factored, Sparse, Sum, nbits
from sklc.layers import LayerInfo


class Cost(BaseEstimator, ABC):
    """The price of a code in its layer.

    A cost is called with a code and a :class:`~sklc.layers.LayerInfo` (or None, if
    nothing is known of the layer) and returns a number. Where ranks are selected the
    code has the right type and shapes, but no numbers: its tensors are on the meta
    device. A function of the same two arguments is accepted wherever a cost is.
    """

    @abstractmethod
    def __call__(self, code: Code, layer: LayerInfo | None) -> float:
        """Return the price of a code in its layer.

        Raises
        ------
        ValueError
            If it has none, see :meth:`unknown`.
        """

    def unknown(self, code: Code, layer: LayerInfo | None) -> str:
        """Return what must be known to price a code in its layer, but is not.

        Returns
        -------
        str
            A clause for an error message; empty if nothing is amiss.
        """
        return ""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(type(self))


class Storage(Cost):
    r"""Numbers stored.

    The bits of the code, divided by those of one number of the weight: :math:`r(m+n)`
    for two factors of rank `r`, and :math:`mn` for a dense weight.

    Examples
    --------
    >>> import torch
    >>> from sklc.codes import Factored
    >>> from sklc.costs import Storage
    >>> code = Factored(torch.ones(20, 3), torch.ones(3, 30), (20, 30))
    >>> Storage()(code, None)
    150.0
    """

    def __call__(self, code: Code, layer: LayerInfo | None) -> float:
        if isinstance(code, Dense):
            return float(code.weight.numel())
        if isinstance(code, Factored):
            return float(code.left.numel() + code.right.numel())
        return nbits({"": code}) / (8 * code.dense().itemsize)


class Flops(Cost):
    r"""Multiplications for one sample, as the layer would really run.

    A dense weight is multiplied :math:`u\,mn` times, `u` being the uses of each number:
    the output positions of a convolution, the elements of a sequence. Two factors run
    as two layers after each other, which need :math:`r(g\,u' n + u\,m)`:

    - a linear layer as one of `r` outputs and another;
    - a convolution of `g` groups viewed as ``(out, in * k1 * k2)`` as one of its kernel
      with `r` outputs for each group, and one of kernel 1: all groups share the right
      factor, each applies it to inputs of its own;
    - viewed as ``(out * k1, in * k2)``, as one along all dimensions but the first and
      one along the first. In between, at :math:`u'` positions, the first dimension
      still has its size of the input: neither stride nor padding have changed it yet;
    - a transposed convolution as the same two, the other way round.

    Numbers that a pruned weight lacks are not multiplied, terms of a sum add up, and
    other codes run as the dense weight.

    Raises
    ------
    ValueError
        If it is not known how often a layer uses its weight.

    Examples
    --------
    >>> import torch
    >>> from sklc.codes import Factored
    >>> from sklc.costs import Flops
    >>> from sklc.layers import LayerInfo
    >>> code = Factored(torch.ones(32, 1), torch.ones(1, 4 * 9), (32, 4, 3, 3))
    >>> Flops()(code, LayerInfo("Conv2d", groups=4, uses=144.0))
    25344.0
    """

    def __call__(self, code: Code, layer: LayerInfo | None) -> float:
        if lacking := self.unknown(code, layer):
            msg = f"Flops cannot price a code of shape {tuple(code.shape)}: {lacking}."
            raise ValueError(msg)
        assert layer is not None
        assert layer.uses is not None
        if isinstance(code, Sum):
            return sum(self(term, layer) for term in code.terms.values())
        if isinstance(code, Sparse):
            return layer.uses * len(code.index)
        if isinstance(code, Factored):
            between = _uses_between(layer) if _is_split(code) else layer.uses
            inner = layer.groups * between * code.right.shape[1]
            return code.rank * (inner + layer.uses * code.left.shape[0])
        return layer.uses * code.shape.numel()

    def unknown(self, code: Code, layer: LayerInfo | None) -> str:
        if layer is None:
            return "nothing is known of its layer (pass layers=...)"
        if layer.uses is None:
            return f"how often its layer, of {layer.kind}, uses it was not counted"
        if isinstance(code, Sum):
            reasons = [self.unknown(term, layer) for term in code.terms.values()]
            return next(filter(None, reasons), "")
        if isinstance(code, Factored) and _is_split(code) and not layer.grids:
            return f"the sizes that its layer, of {layer.kind}, reads are not known"
        return ""


def _is_split(code: Factored) -> bool:
    """Whether each factor has its own dimensions of the kernel."""
    return code.conv_scheme == "scheme_2" and len(code.shape) > 2


def _uses_between(layer: LayerInfo) -> float:
    """Return how often a factor of a split kernel is used that comes before the last.

    A convolution goes along its first dimension last, a transposed one first.
    """
    total = 0.0
    for grid in layer.grids:
        before, after = grid.input, grid.output
        if layer.output_axis:
            before, after = after, before
        total += grid.times * before[0] * math.prod(after[1:])
    return total


class Priced(Cost):
    """A function of a code and its layer, as a cost.

    Parameters
    ----------
    function : callable
        From a code and a :class:`~sklc.layers.LayerInfo` or None to a finite number of
        at least 0.
    """

    def __init__(self, function: Callable[[Code, LayerInfo | None], Any]) -> None:
        self.function = function

    def __call__(self, code: Code, layer: LayerInfo | None) -> float:
        found = self.function(code, layer)
        price = float(found) if isinstance(found, Tensor) else as_float(found)
        if not 0 <= price < math.inf:
            msg = (
                f"The cost {self.function!r} must return a finite number of at least "
                f"0, got {found!r} for a {type(code).__name__}."
            )
            raise ValueError(msg)
        return price


#: Costs that have a name.
COSTS = {"storage": Storage(), "flops": Flops()}


def as_cost(criterion: Any) -> Cost | None:
    """Return the cost that a name, a cost or a function means; None if it means none.

    Parameters
    ----------
    criterion : {"storage", "flops"}, Cost or callable
    """
    if isinstance(criterion, str):
        return COSTS.get(criterion)
    if isinstance(criterion, Cost):
        return criterion
    callable_ = callable(criterion) and not isinstance(criterion, type)
    return Priced(criterion) if callable_ else None


def ranks(theta: Mapping[str, Code]) -> dict[str, int]:
    """Return the ranks of the weights that are matrices of a rank.

    Parameters
    ----------
    theta : dict of str to Code

    Returns
    -------
    dict of str to int
        Of two factors their rank, of a weight kept dense its full one (as
        ``(out, everything else)``), of a sum that of its first term that has one. Other
        codes have none.
    """
    found = {name: _rank(code) for name, code in theta.items()}
    return {name: rank for name, rank in found.items() if rank is not None}


def _rank(code: Code) -> int | None:
    if isinstance(code, Factored):
        return code.rank
    if isinstance(code, Dense) and len(code.shape) > 1:
        return min(code.shape[0], code.shape[1:].numel())
    if isinstance(code, Sum):
        found = map(_rank, code.terms.values())
        return next((rank for rank in found if rank is not None), None)
    return None
