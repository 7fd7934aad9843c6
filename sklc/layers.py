"""What a scheme may need to know about a layer beyond its weight."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """The positions that a convolution reads and writes, for one sample.

    Stride, padding and dilation are in the difference of the two.

    Attributes
    ----------
    input, output : tuple of int
        Sizes of its input and output, without samples and channels.
    times : float
        How many times per sample the layer is applied to such an input.
    """

    input: tuple[int, ...]
    output: tuple[int, ...]
    times: float = 1.0


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
        Axis of the weight that numbers the outputs: 0, or 1 in a transposed
        convolution.
    uses : float or None
        How many times each weight is multiplied per sample and forward pass: once in a
        linear layer (and once for each element of a sequence), at each output position
        in a convolution, at each input position in a transposed one. None if that is
        not known.
    grids : tuple of Grid
        Of a convolution, how it is applied: one for each size of its input.
    coupled : tuple of str
        Names of the weights whose inputs are the outputs of this one, so that an output
        without weights may go from all of them. Empty if that is not known.
    """

    kind: str = "Linear"
    groups: int = 1
    output_axis: int = 0
    uses: float | None = 1.0
    grids: tuple[Grid, ...] = ()
    coupled: tuple[str, ...] = ()


Layers = Mapping[str, LayerInfo]
