r"""Sizes and outputs of LeNet300 in files of ONNX.

    python benchmarks/onnx_files.py --data DIR --reference lenet300_reference.npz

The weights that the original toolkit was published with are compressed directly and
exported: ``arrays`` is what the codes and biases take in the forms of this file, before
any node or name; ``graph`` is the rest. ``error`` is the largest difference, absolute
plus relative, between the probabilities of a default session of onnxruntime and of the
dense module that holds the compressed weights, on the 10,000 test digits of MNIST; of
these, ``labels`` differ.

Bars (exit status 1 if one is missed; 1 kB is 1,000 bytes): 1 bit per weight below
37 kB; 5 % of the weights below 70 kB, and below 43 kB with values in float16; a graph
of at most 4 kB; an error of at most 1e-5 without rounding.
"""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from sklc.codes import decompress
from sklc.deploy import CompressedModel, to_onnx
from sklc.schemes import (
    AdaptiveQuantization,
    ConstraintL0Pruning,
    LowRank,
    ScaledTernaryQuantization,
    Scheme,
)
from sklc.signature import Input, Signature

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from lenet300 import LeNet300, mnist

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
SIGNATURE = Signature(
    (Input("X", (784,), "float32"),), activation="softmax", decision="argmax"
)
GRAPH, ERROR = 4000, 1e-5


def main() -> int:
    """Print the table; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--data", required=True)
    options = parser.parse_args()
    X = torch.from_numpy(mnist(options.data)[2])
    with np.load(options.reference) as held:
        published = {name: torch.from_numpy(held[name]) for name in held.files}
    missed = False
    columns = "".join(f"{name:>9}" for name in ("file", "arrays", "graph", "error"))
    print(f"{'':10} {'values':8}{columns} labels")
    for name, scheme, values, bar in ROWS:
        weights = {n: held for n, held in published.items() if held.ndim > 1}
        theta = scheme.compress(weights, mu=1.0)
        module = LeNet300().eval()
        module.load_state_dict(published | decompress(theta))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lenet300.onnx"
            model = CompressedModel(module, theta, {}, {}, SIGNATURE)
            to_onnx(model, path, values=values)
            size = path.stat().st_size
            graph = onnx.load(path).graph
            session = onnxruntime.InferenceSession(path)
        arrays = sum(len(held.raw_data) for held in graph.initializer)
        label, found = session.run(["label", "probabilities"], {"X": X.numpy()})
        with torch.no_grad():
            wanted = module(X).softmax(1).numpy()
        wrong = int((label != wanted.argmax(1)).sum())
        error = float((np.abs(found - wanted) / (1 + np.abs(wanted))).max())
        print(
            f"{name:10} {values or 'float32':8} {size:8,} {arrays:8,} "
            f"{size - arrays:8,} {error:8.1e} {wrong:6}"
        )
        missed |= size >= bar or size - arrays > GRAPH
        missed |= values is None and error > ERROR
    return int(missed)


if __name__ == "__main__":
    warnings.simplefilter("error")
    sys.exit(main())
