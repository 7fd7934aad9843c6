"""Compressed models that are there without being trained, for tests of files."""

import numpy as np
import torch
from torch import nn

from sklc.codes import Dense, Factored, Quantized, Scaled, Sparse, Sum
from sklc.deploy.model import CompressedModel
from sklc.signature import Input, Signature


def values(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def module_of(tensors):
    """Return a module that has these parameters."""
    root = nn.Module()
    for name, tensor in tensors.items():
        *path, last = name.split(".")
        owner = root
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner._modules[part]
        owner.register_parameter(last, nn.Parameter(tensor.clone(), False))
    return root


def model_of(theta, rest=None, signature=None, layers=None):
    """Return a compressed model of some codes."""
    rest = rest or {}
    dense = {name: code.dense() for name, code in theta.items()}
    return CompressedModel(
        module_of(dense | rest), theta, rest, layers or {}, signature or Signature()
    )


def codes():
    """Return a code of each type, small and simple, two with a codebook in common."""
    index = torch.tensor([[0, 1, 2], [2, 2, 0]], dtype=torch.uint8)
    book = torch.tensor([[-1.5, 0.5, 4.0]])
    sparse = Sparse(
        torch.tensor([2.0, -3.0]), torch.tensor([1, 5], dtype=torch.int32), (2, 3)
    )
    factored = Factored(values(4, 1), values(1, 6), (4, 6))
    return {
        "dense": Dense(values(2, 3)),
        "quantized": Quantized(book, index),
        "shared": Quantized(book, index.flip(0)),
        "zero": Quantized(book[:, :2], index, zero=True),
        "channels": Quantized(values(2, 3), index),
        "scaled": Scaled(index, torch.tensor([2.5]), (-1.0, 0.0, 1.0), "float32"),
        "fixed": Scaled(
            index.clamp(max=1),
            torch.tensor([1], dtype=torch.int8),
            (-1.0, 1.0),
            "float32",
        ),
        "sparse": sparse,
        "factored": factored,
        "kernel": Factored(values(4, 1), values(1, 6), (2, 3, 2, 2), "scheme_2"),
        "sum": Sum({"rest": sparse, "codes": Quantized(book, index.clone())}),
    }


SIGNATURE = Signature(
    (Input("X", (4,), "float32"),),
    activation="softmax",
    decision="argmax",
    classes=np.array(["no", "yes", "ünsure"]),
    columns=("a", "b", "c", "d"),
)
