"""Sizes of model files, and the times of writing and reading them.

    python benchmarks/files.py                     # random weights only
    python benchmarks/files.py lenet300.npz        # and sizes of a trained LeNet300

The file has the arrays ``fc1.weight``, ``fc1.bias`` and so on. Sizes are in bytes, the
header included; times are in seconds, the best of three.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import sklc
from sklc.codes import Quantized, Sparse
from sklc.deploy.model import CompressedModel
from sklc.deploy.saving import save
from sklc.deploy.sizes import entropy_bits
from sklc.deploy.table import Table
from sklc.layers import LayerInfo
from sklc.ops import arrangements
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    ConstraintL0Pruning,
    LowRank,
    ScaledTernaryQuantization,
)
from sklc.signature import Input, Signature

SCHEMES = [
    (AdaptiveQuantization(k=2), None),
    (ScaledTernaryQuantization(), None),
    (AdaptiveQuantization(k=4), None),
    (AdaptiveQuantization(k=16), None),
    (ConstraintL0Pruning(kappa=0.05), None),
    (ConstraintL0Pruning(kappa=0.05), "float16"),
    (ConstraintL0Pruning(kappa=0.02), None),
    (LowRank(rank=10), None),
    (AdaptiveQuantization(k=4, zero=True, kappa=0.05), None),
    (
        Additive(
            [
                ("codes", AdaptiveQuantization(k=2)),
                ("few", ConstraintL0Pruning(kappa=0.01)),
            ]
        ),
        None,
    ),
]


def lenet300_sizes(path):
    arrays = np.load(path)
    tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    module = nn.Module()
    for name in "fc1", "fc2", "fc3":
        outputs, inputs = tensors[f"{name}.weight"].shape
        module.add_module(name, nn.Linear(inputs, outputs))
    module.load_state_dict(tensors)
    weights = {n: p.detach() for n, p in module.named_parameters() if p.ndim > 1}
    rest = {n: p.detach() for n, p in module.named_parameters() if p.ndim == 1}
    inputs = (Input("X", (784,), "float32"),)
    signature = Signature(inputs, "softmax", "argmax", classes=np.arange(10))
    layers = dict.fromkeys(weights, LayerInfo())
    rows = []
    for scheme, values in SCHEMES:
        theta = scheme.compress(weights, mu=1.0)
        model = CompressedModel(module, theta, rest, layers, signature)
        with tempfile.TemporaryDirectory() as folder:
            report = save(model, Path(folder, "model"), values)
            size = Path(folder, "model").stat().st_size
        total = report.total
        rows.append(
            [
                " ".join(str(scheme).split())[:60],
                values or "float32",
                -(-total.nbits // 8),
                size,
                report.rows[-1].bytes,
                total.dense_bytes / size,
            ]
        )
    print(Table(["scheme", "values", "nbits / 8", "file", "header", "ratio"], rows))


def best(function, *args, repeat=3):
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        found = function(*args)
        times.append(time.perf_counter() - start)
    return min(times), found


def supports():
    """Write and read supports of any density."""
    rng, rows = np.random.default_rng(0), []
    for n, densities in [
        (10**7, (1e-6, 1e-3, 0.01, 0.05, 0.2, 0.35, 0.5, 0.8, 0.99)),
        (10**8, (0.01,)),
    ]:
        for density in densities:
            places = np.flatnonzero(rng.random(n, dtype=np.float32) < density)
            places = places.astype(np.int32)
            writing, (count, packed) = best(arrangements.encode, places, n)
            args = packed, len(places), n, count, np.int32
            reading, found = best(arrangements.decode, *args)
            assert np.array_equal(found, places)
            code = Sparse(torch.empty(0), torch.from_numpy(places), (n,))
            bound = entropy_bits(code.streams()["index"]) / 8
            share = len(packed) / bound - 1
            rows.append([f"{n:.0e}", density, len(packed), share, writing, reading])
    print(Table(["n", "density", "bytes", "over bound", "write", "read"], rows))


def whole_files():
    """Write and read files of one large weight."""
    generator, rows = torch.Generator().manual_seed(0), []
    n = 10**7
    weight = torch.randn(2500, n // 2500, generator=generator)
    sizes = weight.abs().view(-1).sort().values
    codes = {"2 values": Quantized(torch.tensor([[-1.0, 1.0]]), (weight > 0).byte())}
    ranks = weight.mul(2).add(8).clamp(0, 15).byte()
    codes["16 values"] = Quantized(torch.randn(1, 16), ranks)
    for density in 0.01, 0.1, 0.5, 0.9:
        limit = sizes[int((1 - density) * n)]
        codes[f"density {density}"] = Sparse.of(weight, weight.abs() >= limit)
    for name, code in codes.items():
        module = nn.Linear(1, 1, bias=False)
        module.weight = nn.Parameter(code.dense())
        model = CompressedModel(module, {"weight": code}, {}, {}, Signature())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model")
            writing, report = best(save, model, path)
            reading, _ = best(sklc.load_into, module, path)
        rows.append([name, report.file_bytes, writing, reading])
    print(Table(["10^7 weights", "file", "save", "load_into"], rows))


LOAD = """
import time
start = time.perf_counter()
import torch
torch_alone = time.perf_counter() - start
import sklc
from torch import nn
found = sklc.load({path!r}, nn.Linear(784, 300))
print(torch_alone, time.perf_counter() - start)
"""


def start_up():
    """Compare loading a model in a fresh process with importing torch alone."""
    module = nn.Linear(784, 300)
    theta = AdaptiveQuantization(k=2).compress({"weight": module.weight.data}, mu=1.0)
    rest = {"bias": module.bias.detach()}
    model = CompressedModel(module, theta, rest, {}, Signature())
    times = []
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "model"))
        save(model, path)
        for _ in range(5):
            script = LOAD.format(path=path)
            out = subprocess.run(
                [sys.executable, "-c", script],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            times.append([float(x) for x in out.split()])
    torch_alone, both = np.min(times, axis=0)
    print(f"import torch {torch_alone:.2f} s; with sklc and a model {both:.2f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", nargs="?", help="a trained LeNet300 as .npz")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    if args.weights:
        lenet300_sizes(args.weights)
        print()
    supports()
    print()
    whole_files()
    print()
    start_up()


if __name__ == "__main__":
    main()
