"""What a C step is given."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from sklc.layers import Layers
from sklc.ops.backend import at_least_float32

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Problem:
    """The weights to compress, and all that the C step may know besides.

    Schemes made of schemes make smaller problems of it for their parts.

    Attributes
    ----------
    weights : dict of str to Tensor
    mu : float
        Penalty parameter, positive.
    layers : dict of str to LayerInfo
        What is known of the layers of the weights: of all, some or none.
    improve : bool
        Whether it will do to improve a warm start a little, where that is cheaper than
        to solve the problem.
    """

    weights: Weights
    mu: float = 1.0
    layers: Layers = field(default_factory=dict)
    improve: bool = False

    def only(self, names: Collection[str]) -> "Problem":
        """Return the problem of some of the weights, in their order here."""
        own = {name: w for name, w in self.weights.items() if name in names}
        return replace(self, weights=own)

    def minus(self, dense: Mapping[str, Tensor]) -> "Problem":
        """Return the problem of what is left of the weights, less `dense`.

        Weights that `dense` does not name stay. The difference is rounded to the dtype
        of the weights once.
        """
        left = {
            name: (at_least_float32(w) - dense[name]).to(w.dtype)
            if name in dense
            else w
            for name, w in self.weights.items()
        }
        return replace(self, weights=left)
