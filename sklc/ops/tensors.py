"""Weights of more than two dimensions, viewed as matrices."""

import math

import torch
from torch import Tensor

#: How a convolution may be viewed as a matrix, see :func:`matricize`.
VIEWS = ("scheme_1", "scheme_2")


def matricize(weight: Tensor, view: str = "scheme_1") -> Tensor:
    """View a weight of two or more dimensions as a matrix.

    Parameters
    ----------
    weight : Tensor of shape (out, in) or (out, in, k1, k2, ...)
    view : {"scheme_1", "scheme_2"}
        Of a convolution: ``(out, in * k1 * k2 ...)`` or ``(out * k1, in * k2 ...)``.

    Returns
    -------
    Tensor of shape (m, n)
    """
    shape = matrix_shape(weight.shape, view)
    if view == "scheme_2" and weight.ndim > 2:
        weight = weight.transpose(1, 2)
    return weight.reshape(shape)


def matrix_shape(shape: torch.Size, view: str = "scheme_1") -> tuple[int, int]:
    """Return the shape of the matrix that :func:`matricize` makes of a weight."""
    out, inputs, *kernel = shape
    if view == "scheme_2" and kernel:
        return out * kernel[0], inputs * math.prod(kernel[1:])
    return out, inputs * math.prod(kernel)


def tensorize(matrix: Tensor, shape: torch.Size, view: str = "scheme_1") -> Tensor:
    """Invert :func:`matricize`."""
    if view == "scheme_2" and len(shape) > 2:
        out, inputs, first, *others = shape
        return matrix.reshape(out, first, inputs, *others).transpose(1, 2).contiguous()
    return matrix.reshape(shape)
