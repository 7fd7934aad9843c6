"""Low-rank layers as two ordinary layers in sequence."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sklc.codes import Factored

_KINDS = (
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
        weights: list[Any] = [layer.weight for layer in self]
        factors = [w.unflatten(0, (self.groups, -1)) for w in weights]
        left, right = factors if self.transposed else reversed(factors)
        return torch.einsum("gor...,gri...->goi...", left, right).flatten(0, 1)

    @property
    def bias(self) -> Tensor | None:
        """The bias, of the last layer."""
        last: Any = self[1]
        bias: Tensor | None = last.bias
        return bias

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Any:
        """Return the output, in a chosen size if the convolutions are transposed."""
        first: Any = self[0]
        last: Any = self[1]
        if output_size is not None:
            n_axes = len(last.kernel_size)
            between = list(input.shape[-n_axes:])
            if self.splits:
                between[0] = output_size[-n_axes]
            return last(first(input, output_size=between), output_size=output_size)
        return last(first(input))


def of_some_rank(code: Factored) -> Factored:
    """Return a code of rank 0 as one of rank 1 that is zero, others as they are.

    Few runtimes take tensors without numbers.
    """
    if code.rank:
        return code
    left, right = code.left, code.right
    zeros = left.new_zeros(len(left), 1), right.new_zeros(1, right.shape[1])
    return replace(code, left=zeros[0], right=zeros[1])


def can_be_factored(layer: nn.Module) -> bool:
    """Whether calling a layer is all that it does: it has no hooks, and is no other."""
    plain = type(layer) in _KINDS and "forward" not in vars(layer)
    return plain and not (layer._forward_hooks or layer._forward_pre_hooks)


def factorize(layer: nn.Module, code: Factored) -> None:
    """Turn a layer into a pair of layers; it stays the object that it is.

    Parameters
    ----------
    layer : Module
        One that :func:`can_be_factored`.
    code : Factored
        Its weight, of at least rank 1.
    """
    weight: Any = layer.weight
    rows, columns, *kernel = code.shape
    splits = code.conv_scheme == "scheme_2" and bool(kernel)
    rank, groups = code.rank, getattr(layer, "groups", 1)
    left, right = (
        factor.detach().to(weight, copy=True) for factor in (code.left, code.right)
    )
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
