"""What a model takes, in bits: as a whole, and row by row."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sklc.codes import Code
from sklc.codes.theta import nbits_by_weight
from sklc.costs import ranks
from sklc.layers import Layers
from sklc.lstep.base import Learner
from sklc.schemes.base import Scheme
from sklc.schemes.problem import Weights


@dataclass(frozen=True)
class Sizes:
    """The bits of a model that is to be compressed.

    Attributes
    ----------
    before : int
        Of all its parameters, and of the buffers that it needs to predict.
    rest : dict of str to int
        Of what is not compressed: parameters, and then buffers, by name.
    """

    before: int
    rest: dict[str, int]

    @classmethod
    def of(cls, learner: Learner, covered: Collection[str]) -> "Sizes":
        """Return the sizes of a model, of which some weights are compressed."""
        bits = {
            name: tensor.numel() * tensor.element_size() * 8
            for name, tensor in (learner.weights() | learner.buffers()).items()
        }
        rest = {name: size for name, size in bits.items() if name not in covered}
        return cls(sum(bits.values()), rest)

    def after(self, theta_bits: int) -> int:
        """Return the bits of the model, with so many for Θ."""
        return theta_bits + sum(self.rest.values())

    def ratio(self, theta_bits: int) -> float:
        """Return the compression ratio, infinite if nothing is left to store."""
        after = self.after(theta_bits)
        return self.before / after if after else float("inf")


def facts_by_weight(
    theta: Mapping[str, Code], scheme: Scheme, weights: Weights, layers: Layers
) -> dict[str, dict[str, Any]]:
    """Return bits, cost and (where it has one) rank of each compressed weight.

    Parameters
    ----------
    theta : dict of str to Code
    scheme : Scheme
        Whose costs they are.
    weights : dict of str to Tensor
        What Θ compresses, on which costs may depend.
    layers : dict of str to LayerInfo
    """
    sizes, own = nbits_by_weight(theta), ranks(theta)
    costs = scheme.cost_by_weight(theta, weights, layers)
    found: dict[str, dict[str, Any]] = {
        name: {"nbits": bits, "cost": costs[name]} for name, bits in sizes.items()
    }
    for name, rank in own.items():
        found[name]["rank"] = rank
    return found
