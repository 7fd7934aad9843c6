"""Weights of more than two dimensions, viewed as matrices."""

import numpy as np
import torch
from torch import Tensor

#: How a convolution may be viewed as a matrix, see :func:`matricize`.
CONV_SCHEMES = ("scheme_1", "scheme_2")


def matricize(weight: Tensor, conv_scheme: str = "scheme_1") -> Tensor:
    """View a weight of two or more dimensions as a matrix.

    Parameters
    ----------
    weight : Tensor of shape (out, in) or (out, in, k1, k2, ...)
    conv_scheme : {"scheme_1", "scheme_2"}
        Of a convolution: ``(out, in * k1 * k2 ...)`` or ``(out * k1, in * k2 ...)``.

    Returns
    -------
    Tensor of shape (m, n)
    """
    if conv_scheme == "scheme_2" and weight.ndim > 2:
        out, inputs, first, *others = weight.shape
        return weight.transpose(1, 2).reshape(
            out * first, inputs * int(np.prod(others))
        )
    return weight.reshape(len(weight), -1)


def tensorize(
    matrix: Tensor, shape: torch.Size, conv_scheme: str = "scheme_1"
) -> Tensor:
    """Invert :func:`matricize`."""
    if conv_scheme == "scheme_2" and len(shape) > 2:
        out, inputs, first, *others = shape
        return matrix.reshape(out, first, inputs, *others).transpose(1, 2).contiguous()
    return matrix.reshape(shape)
