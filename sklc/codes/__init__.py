"""Compressed tensors: the values of Θ, a dict of one code per weight."""

from sklc.codes.base import Code
from sklc.codes.dense import Dense
from sklc.codes.factored import Factored
from sklc.codes.quantized import Quantized, Scaled
from sklc.codes.sparse import Sparse
from sklc.codes.sum import Sum
from sklc.codes.theta import (
    Theta,
    decompress,
    degrees_of_freedom,
    nbits,
    nbits_by_weight,
    pack,
    to,
    unpack,
)

__all__ = [
    "Code",
    "Dense",
    "Factored",
    "Quantized",
    "Scaled",
    "Sparse",
    "Sum",
    "Theta",
    "decompress",
    "degrees_of_freedom",
    "nbits",
    "nbits_by_weight",
    "pack",
    "to",
    "unpack",
]
