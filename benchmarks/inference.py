r"""What a compressed net costs where it runs: latency and memory, against dense.

    python benchmarks/inference.py                  # some minutes
    python benchmarks/inference.py --quick --json inference.json

Nets on random data, directly compressed (what the weights are does not change what they
cost): one of 784-300-100-10 units, and LeNet5. For each scheme, :meth:`to_module` as it
is, in which low-rank layers are two and other codes are decoded whenever they are used,
and with ``materialize=True``; and :meth:`to_onnx` in onnxruntime, if that is installed
(``pip install sklc[onnx]``). All run in turn, on one thread (``--threads``), each
after a call that is not timed, and times are minima over rounds: what else the machine
does only adds to them.

``speed`` is how many times faster than the dense net in the same runtime. ``memory`` is
the bytes that are held (of a module its parameters and buffers, of a graph its file)
over those of the dense net. A weight that is decoded comes on top while it is used, and
onnxruntime decodes for good when it loads.

Bars (exit status 1 if one is missed), in onnxruntime at batch 1024: the net of
784-300-100-10 units at ranks 10, 10 and 9 is at least 8 times faster than dense; and no
code, of either net, runs at less than 0.7 of the speed of the dense net.
"""

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from torch import nn

from sklc import LCCompressor
from sklc.schemes import (
    ConstraintL0Pruning,
    LowRank,
    Mixed,
    RankSelection,
    ScaledBinaryQuantization,
    ScaledTernaryQuantization,
    Scheme,
)

BAR = 8.0
CODES_BAR = 0.7
BATCHES = (1, 64, 1024)
#: Of samples, and the bytes that are held for it.
Form = tuple[Callable[[torch.Tensor], Any], int]
#: Runtime, scheme and form.
Key = tuple[str, str, str]


def lenet300() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(784, 300), nn.Tanh(), nn.Linear(300, 100), nn.Tanh()),
        nn.Linear(100, 10),
    )


def lenet5() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 28)),
        *(nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
    )


def ranks(of_layers: dict[str, int]) -> Scheme:
    return Mixed(
        [(f"rank{n}", LowRank(rank=r), f"{n}.weight") for n, r in of_layers.items()]
    )


LOW_RANK, DENSE = "low rank", "dense"
SCHEMES: dict[str, Scheme] = {
    DENSE: RankSelection(alpha=0.0),
    "1 bit": ScaledBinaryQuantization(),
    "3 values": ScaledTernaryQuantization(),
    "5 % kept": ConstraintL0Pruning(kappa=0.05),
}
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], Scheme]] = {
    "lenet300": (lenet300, (784,), ranks({"0": 10, "2": 10, "4": 9})),
    "lenet5": (lenet5, (28, 28), ranks({"1": 4, "4": 10, "8": 20, "10": 5})),
}


def compressed(
    make: Callable[[], nn.Module], shape: tuple[int, ...], scheme: Scheme
) -> LCCompressor:
    """Return a compressor of random weights, fitted to random data."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((100, *shape), dtype=np.float32), np.arange(100) % 10
    net = NeuralNetClassifier(
        make, criterion=nn.CrossEntropyLoss, train_split=None, verbose=0
    )
    net.initialize()
    lc = LCCompressor(FrozenEstimator(net), scheme, max_iter=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what random weights are good for
        return lc.fit(X, y)


def held(module: nn.Module) -> int:
    """Return the bytes of the parameters and buffers of a module."""
    tensors = {id(t): t for t in (*module.parameters(), *module.buffers())}
    return sum(tensor.nbytes for tensor in tensors.values())


def runner(module: nn.Module) -> Callable[[torch.Tensor], Any]:
    def run(x: torch.Tensor) -> Any:
        with torch.inference_mode():
            return module(x)

    return run


def sessions(
    fitted: dict[str, LCCompressor], threads: int, folder: Path
) -> dict[str, Form]:
    """Return what runs each graph, and the bytes of its file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    found = {}
    for scheme, lc in fitted.items():
        path = folder / "net.onnx"
        lc.to_onnx(path)
        session = onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )

        def run(x: torch.Tensor, session: Any = session) -> Any:
            return session.run(None, {"X": x.numpy()})

        found[scheme] = run, path.stat().st_size
    return found


def in_turn(functions: dict[Key, Callable[[], Any]], rounds: int) -> dict[Key, float]:
    """Return the least time of each function, in microseconds."""
    numbers = {}
    for name, function in functions.items():
        function()
        start = perf_counter()
        function()
        numbers[name] = max(1, int(2e-3 / (perf_counter() - start)))
    times: dict[Key, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            function()  # brings its data into the caches again
            start = perf_counter()
            for _ in range(numbers[name]):
                function()
            times[name].append((perf_counter() - start) / numbers[name])
    return {name: 1e6 * min(found) for name, found in times.items()}


def measure(name: str, rounds: int, threads: int) -> list[dict[str, Any]]:
    """Measure all forms of a net, and return a row for each of them and batch size."""
    make, shape, low_rank = NETS[name]
    fitted = {
        scheme: compressed(make, shape, each)
        for scheme, each in {**SCHEMES, LOW_RANK: low_rank}.items()
    }
    forms: dict[Key, Form] = {}
    for scheme, lc in fitted.items():
        for form in ("as it is", "materialized"):
            if scheme in (DENSE, LOW_RANK) and form == "materialized":
                continue  # the same
            module = lc.to_module(materialize=form == "materialized")
            forms["torch", scheme, form] = runner(module), held(module)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for scheme, found in sessions(fitted, threads, Path(folder)).items():
                forms["onnxruntime", scheme, "as it is"] = found
    except ImportError as error:
        print(f"without onnxruntime ({error}): pip install sklc[onnx]")
    rows = []
    for batch in BATCHES:
        x = torch.randn(batch, *shape)
        times = in_turn(
            {key: partial(run, x) for key, (run, _) in forms.items()}, rounds
        )
        for key, (_, size) in forms.items():
            runtime, scheme, form = key
            dense = runtime, DENSE, "as it is"
            rows.append(
                {
                    "net": name,
                    "batch": batch,
                    "runtime": runtime,
                    "scheme": scheme,
                    "form": form,
                    "microseconds": times[key],
                    "speed": times[dense] / times[key],
                    "bytes": size,
                    "memory": size / forms[dense][1],
                }
            )
    return rows


def show(row: dict[str, Any]) -> None:
    print(
        f"{row['net']:10}{row['batch']:>6}  {row['runtime']:13}{row['scheme']:10}"
        f"{row['form']:14}{row['microseconds']:>10.0f}{row['speed']:>8.2f}"
        f"{row['bytes']:>10}{row['memory']:>8.3f}",
        flush=True,
    )


def missed(rows: list[dict[str, Any]]) -> bool:
    """Whether a bar is missed, or could not be looked at."""
    seen = [r for r in rows if r["runtime"] == "onnxruntime" and r["batch"] == 1024]
    found = []
    for row in seen:
        net, scheme = row["net"], row["scheme"]
        if scheme == DENSE or (net, scheme) == ("lenet5", LOW_RANK):
            continue
        bar = BAR if scheme == LOW_RANK else CODES_BAR
        good = row["speed"] >= bar
        found.append(good)
        print(
            f"bar: {net}, {scheme}: {row['speed']:.2f}, {bar} wanted: "
            f"{'ok' if good else 'MISSED'}"
        )
    if not found:
        print("bar: not measured")
    return not (found and all(found))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the rounds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to save the rows")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{'net':10}{'batch':>6}  {'runtime':13}{'scheme':10}{'form':14}{'us':>10}"
        f"{'speed':>8}{'bytes':>10}{'memory':>8}"
    )
    rows = []
    for name in NETS:
        rows += measure(name, 5 if options.quick else 20, options.threads)
        for row in rows:
            if row["net"] == name:
                show(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    return int(missed(rows))


if __name__ == "__main__":
    sys.exit(main())
