"""Low-rank layers as two ordinary layers in sequence."""

from typing import Any

import torch
from torch import Tensor, nn

from sklc.codes import Factored

#: Layers that two of their class can stand for, by exact class.
FACTORABLE = (
    nn.Linear,
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


class Pair(nn.Sequential):
    """Two layers, in place of one whose weight is their product.

    The settings, the weight and the bias of that one are there for whoever reads them:
    attention, for example, uses the weight of its last layer without calling it.

    Attributes
    ----------
    groups : int
    transposed : bool
        Of convolutions, as their own.
    splits : bool
        Whether the one convolution goes along the first dimension, and the other along
        the rest.
    """

    groups: int = 1
    transposed: bool = False
    splits: bool = False

    @property
    def weight(self) -> Tensor:
        """The product of the factors, computed when it is read."""
        factors = [layer.weight.unflatten(0, (self.groups, -1)) for layer in self]
        left, right = factors if self.transposed else reversed(factors)
        return torch.einsum("gor...,gri...->goi...", left, right).flatten(0, 1)

    @property
    def bias(self) -> Tensor | None:
        """The bias, of the last layer."""
        bias: Tensor | None = self[1].bias
        return bias

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return the output, in a chosen size if the convolutions are transposed."""
        first, last = self[0], self[1]
        if output_size is None:
            output: Tensor = last(first(input))
            return output
        n_axes = len(last.kernel_size)
        between = list(input.shape[-n_axes:])
        if self.splits:
            between[0] = output_size[-n_axes]
        output = last(first(input, output_size=between), output_size=output_size)
        return output


def factorize(layer: nn.Module, code: Factored) -> None:
    """Turn a layer into a pair of layers; it stays the object that it is.

    Parameters
    ----------
    layer : Module
        Of a class in :data:`FACTORABLE`.
    code : Factored
        Its weight. Rank 0 becomes rank 1 with factors that are zero: few runtimes take
        tensors without numbers.
    """
    weight: Any = layer.weight
    rows, columns, *kernel = code.shape
    splits = code.conv_scheme == "scheme_2" and bool(kernel)
    rank, groups = max(code.rank, 1), getattr(layer, "groups", 1)
    left, right = (factor.detach().to(weight) for factor in (code.left, code.right))
    if not code.rank:
        left, right = left.new_zeros(len(left), 1), right.new_zeros(1, right.shape[1])
    along_first = [splits and axis == 0 for axis in range(len(kernel))]
    along_others = [not along for along in along_first]
    left = left.view(rows, -1, rank).transpose(1, 2).reshape(rows, rank, -1)
    left = left.view(rows, rank, *_chosen(kernel, along_first, 1))
    right = right.view(rank, columns, *_chosen(kernel, along_others, 1))
    parts = [
        _part(layer, right.repeat(groups, *[1] * (right.ndim - 1)), along_others),
        _part(layer, left, along_first),
    ]
    first, last = reversed(parts) if getattr(layer, "transposed", False) else parts
    last.bias = layer.bias
    layer._parameters.clear()
    layer._modules.update({"0": first, "1": last})
    vars(layer)["splits"] = splits
    layer.__class__ = Pair


def _part(layer: nn.Module, weight: Tensor, along: list[bool]) -> nn.Module:
    """Return a layer of the same class that goes along some of the dimensions."""
    old: Any = layer
    kind: Any = type(layer)
    n_out, n_in = weight.shape[:2]
    if kind is nn.Linear:
        part = nn.Linear(n_in, n_out, bias=False, device="meta")
    else:
        n_in *= old.groups
        options = {
            "kernel_size": tuple(weight.shape[2:]),
            "stride": _chosen(old.stride, along, 1),
            "padding": _chosen(old.padding, along, 0),
            "dilation": _chosen(old.dilation, along, 1),
            "groups": old.groups,
            "padding_mode": old.padding_mode if any(along) else "zeros",
        }
        if old.transposed:
            n_in, n_out = n_out, n_in
            options["output_padding"] = _chosen(old.output_padding, along, 0)
        part = kind(n_in, n_out, bias=False, device="meta", **options)
    part.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    return part


def _chosen(values: Any, along: list[bool], other: int) -> Any:
    """Return a setting of some dimensions, and that which does nothing of the rest."""
    if isinstance(values, str):  # of padding: none where the kernel is 1
        return values
    return tuple(v if a else other for v, a in zip(values, along, strict=True))
