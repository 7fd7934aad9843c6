"""What a scheme may need to know about a layer beyond its weight."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LayerInfo:
    """Facts about the layer that a weight belongs to.

    Attributes
    ----------
    kind : str
        Class name of the layer, such as ``"Conv2d"``.
    groups : int
        Groups of a convolution: its weight stands for so many matrices.
    output_axis : int
        Axis of the weight that numbers the outputs.
    uses : float
        How many times each weight is used per sample and forward pass: 1 in a linear
        layer, the number of output positions in a convolution.
    """

    kind: str = "Linear"
    groups: int = 1
    output_axis: int = 0
    uses: float = 1.0


Layers = Mapping[str, LayerInfo]
