"""What a model takes, in bits: as a whole, and row by row."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sklc.codes import Code
from sklc.layers import Layers
from sklc.lstep.base import Learner
from sklc.schemes.base import Scheme, Weights


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


def nbits_by_weight(theta: Mapping[str, Code]) -> dict[str, int]:
    """Return the bits of each code; what several share counts for the first of them."""
    seen: set[int] = set()
    found = {}
    for name, code in theta.items():
        own = {
            id(stream.tensor): stream.nbits
            for stream in code.streams().values()
            if id(stream.tensor) not in seen
        }
        seen |= own.keys()
        found[name] = sum(own.values())
    return found


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
    found: dict[str, dict[str, Any]] = {}
    for name, bits in nbits_by_weight(theta).items():
        code = theta[name]
        cost = (
            float(scheme._cost({name: code}, weights, layers))
            if scheme.has_cost
            else 0.0
        )
        found[name] = {"nbits": bits, "cost": cost}
        rank = getattr(code, "rank", None)
        if rank is not None:
            found[name]["rank"] = int(rank)
    return found
