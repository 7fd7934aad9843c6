r"""Sizes and outputs of LeNet300 in files of ONNX.

    python benchmarks/onnx_files.py --reference lenet300_reference.npz

The weights that the original toolkit was published with are compressed directly and
exported: ``arrays`` is what the codes and biases take in the forms of this file, before
any node or name; ``graph`` is the rest. ``error`` is the largest difference, absolute
plus relative, between the outputs of a default session of onnxruntime and of the dense
module that holds the compressed weights, on 1,024 random samples.

Bars (exit status 1 if one is missed; 1 kB is 1,000 bytes): 1 bit per weight below
37 kB; 5 % of the weights below 70 kB, and below 43 kB with values in float16; a graph
of at most 4 kB; an error of at most 1e-5 without rounding.
"""

import argparse
import sys
import tempfile
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from sklc.codes import decompress
from sklc.deploy import to_onnx
from sklc.schemes import (
    AdaptiveQuantization,
    ConstraintL0Pruning,
    LowRank,
    ScaledTernaryQuantization,
    Scheme,
)

#: A name, a scheme, how values are stored, and how many bytes a file may have.
ROWS: list[tuple[str, Scheme, str | None, float]] = [
    ("k = 2", AdaptiveQuantization(k=2), None, 37e3),
    ("ternary", ScaledTernaryQuantization(), None, np.inf),
    ("k = 4", AdaptiveQuantization(k=4), None, np.inf),
    ("k = 16", AdaptiveQuantization(k=16), None, np.inf),
    ("5 %", ConstraintL0Pruning(kappa=0.05), None, 70e3),
    ("5 %", ConstraintL0Pruning(kappa=0.05), "float16", 43e3),
    ("rank 10", LowRank(rank=10), None, np.inf),
]
GRAPH, ERROR = 4000, 1e-5


def lenet300(path: Path) -> nn.Sequential:
    """Return the net with the published weights, which it is trained with."""
    sizes = (784, 300, 100, 10)
    layers: list[nn.Module] = []
    with np.load(path) as held:
        for number, (n_in, n_out) in enumerate(pairwise(sizes), 1):
            layer = nn.Linear(n_in, n_out)
            layer.weight.data = torch.from_numpy(held[f"fc{number}.weight"])
            layer.bias.data = torch.from_numpy(held[f"fc{number}.bias"])
            layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def main() -> int:
    """Print the table; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True)
    reference = parser.parse_args().reference
    X = torch.randn(1024, 784, generator=torch.Generator().manual_seed(0))
    missed = False
    print(f"{'':10} {'values':8} {'file':>8} {'arrays':>8} {'graph':>6} {'error':>8}")
    for name, scheme, values, bar in ROWS:
        module = lenet300(reference).eval()
        weights = {n: p.detach() for n, p in module.named_parameters() if p.ndim > 1}
        theta = scheme.compress(weights, mu=1.0)
        module.load_state_dict(decompress(theta), strict=False)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lenet300.onnx"
            to_onnx(module, path, X[:2], theta=theta, values=values)
            size = path.stat().st_size
            graph = onnx.load(path).graph
            session = onnxruntime.InferenceSession(path)
        arrays = sum(len(held.raw_data) for held in graph.initializer)
        (found,) = session.run(None, {"X": X.numpy()})
        with torch.no_grad():
            wanted = module(X).numpy()
        error = float((np.abs(found - wanted) / (1 + np.abs(wanted))).max())
        print(
            f"{name:10} {values or 'float32':8} {size:8,} {arrays:8,} "
            f"{size - arrays:6,} {error:8.1e}"
        )
        missed |= size >= bar or size - arrays > GRAPH
        missed |= values is None and error > ERROR
    return int(missed)


if __name__ == "__main__":
    warnings.simplefilter("error")
    sys.exit(main())
