"""Write the golden files of the present format, of numbers that follow from formulas.

    python tests/deploy/golden/make.py

They are made once for each format and stay for ever: only files that are not there yet
are written. What they hold is in a JSON file beside each, as plain numbers.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

from sklc.codes import Dense, Factored, Quantized, Scaled, Sparse, Sum
from sklc.deploy.container import FORMAT
from sklc.deploy.model import CompressedModel
from sklc.deploy.writing import write
from sklc.signature import Input, Signature

HERE = Path(__file__).parent


def waves(*shape, step=0.7):
    n = int(np.prod(shape))
    return torch.from_numpy(np.round(np.sin(step * np.arange(n)), 3)).reshape(shape)


def multiples(n, k, shape):
    return torch.from_numpy(np.arange(n) ** 2 % k).to(torch.uint8).reshape(shape)


def codes():
    """Return Θ by the name of a file: each type of code, and each coding of streams."""
    book = torch.tensor([[-1.5, 0.25, 4.0]])
    index = multiples(24, 3, (4, 6))
    kept = torch.zeros(40, 60, dtype=torch.bool)
    kept.view(-1)[torch.arange(0, 2400, 37)] = True
    rare = torch.zeros(40, 50, dtype=torch.uint8)
    rare.view(-1)[::41] = 2
    sparse = Sparse.of(waves(4, 6).float(), waves(4, 6).abs() > 0.7)
    factored = Factored(waves(4, 2).float(), waves(2, 6).float(), (4, 6))
    one = torch.tensor([1], dtype=torch.int8)
    return {
        "dense": {"w": Dense(waves(4, 6).double())},
        "dense_half": {"w": Dense(waves(4, 6).half())},
        "dense_bfloat16": {"w": Dense(waves(4, 6).bfloat16())},
        "quantized": {
            "w": Quantized(book, index),
            "zero": Quantized(book[:, :2].clone(), index.clone(), zero=True),
            "channels": Quantized(waves(4, 3).float(), index.clone()),
            "shared": Quantized(book, index.flip(0)),
        },
        "scaled": {
            "w": Scaled(index, torch.tensor([0.5]), (-1.0, 0.0, 1.0), "float32"),
            "fixed": Scaled(index.clamp(max=1), one, (-1.0, 1.0), "float16"),
        },
        "sparse": {"w": sparse},
        "factored": {
            "w": factored,
            "kernel": Factored(waves(4, 1), waves(1, 6), (2, 3, 2, 2), "scheme_2"),
        },
        "sum": {"w": Sum({"low": factored, "codes": Quantized(book, index)})},
        "arrangement": {"w": Sparse.of(waves(40, 60).float(), kept)},
        "planes": {"w": Dense(waves(20, 30, step=0.01).float())},
        "symbols": {"w": Quantized(waves(1, 9).float(), multiples(900, 9, (30, 30)))},
        "rounded": {"w": Dense(waves(20, 30, step=0.01).float())},
        "pruned": {"w": Quantized(book.clone(), rare)},
    }


def net_of(theta):
    module = nn.Module()
    for name, code in theta.items():
        module.register_parameter(name, nn.Parameter(code.dense(), False))
    rest = {"bias": waves(5).float(), "seen": torch.tensor([3, 1 << 40])}
    module.register_parameter("bias", nn.Parameter(rest["bias"], False))
    module.register_buffer("seen", rest["seen"])
    inputs = (Input("X", (6,), "float32"),)
    classes = np.array(["no", "yes", "ünsure"])
    how = {"classes": classes, "columns": tuple("abcdef")}
    signature = Signature(inputs, "softmax", "argmax", **how)
    return CompressedModel(module, theta, rest, {}, signature)


def linear_of(model, coef, intercept, classes=None):
    model.coef_ = coef.numpy()
    model.intercept_ = intercept.numpy()
    model.n_features_in_ = coef.shape[-1]
    model.feature_names_in_ = np.array(list("abcdef"), dtype=object)
    if classes is not None:
        model.classes_ = classes
    theta = {"coef_": Sparse.of(coef, coef.abs() > 0.5)}
    model.coef_ = theta["coef_"].dense().numpy()
    rest = {"intercept_": intercept}
    return CompressedModel(model, theta, rest, {}, Signature(classes=classes))


def models():
    found = {name: net_of(theta) for name, theta in codes().items()}
    labels = np.array([2, 3, 5])
    found["ridge"] = linear_of(Ridge(), waves(2, 6), waves(2))
    found["logistic"] = linear_of(
        LogisticRegression(), waves(3, 6), waves(3), classes=labels
    )
    return found


def facts(model):
    """Return what a file holds, as plain numbers."""
    weights = {name: code.dense() for name, code in model.theta.items()} | model.rest
    return {
        name: {
            "dtype": str(weight.dtype).removeprefix("torch."),
            "shape": list(weight.shape),
            "values": weight.reshape(-1).tolist(),
        }
        for name, weight in weights.items()
    }


if __name__ == "__main__":
    for name, model in models().items():
        path = HERE / f"format{FORMAT}_{name}.sklc"
        if not path.exists():
            written = write(model, "float16" if name == "rounded" else None)
            path.write_bytes(written.content)
            held = facts(dataclasses.replace(model, theta=written.theta))
            path.with_suffix(".json").write_text(json.dumps(held) + "\n")
