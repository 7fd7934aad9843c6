r"""What a GPU does to tests, C steps and L steps: one command, at most five minutes.

    python benchmarks/gpu.py                   # writes gpu.json
    python benchmarks/gpu.py --device cpu --quick    # a rehearsal, anywhere

1. The tests of the contract, of codes and of kernels, on the device.
2. Every C step on the device, against copying the weights to the host, compressing them
   there and copying Θ back. ``size`` is the time of ``nbits``.
3. An epoch of LeNet300 by a loop that one writes by hand, by skorch, by an L step that
   pulls all weights, and a whole step of the algorithm with an epoch in it.

``waits`` is how often the host waited for the device, as a profiler counts it. Times
are medians, in milliseconds. Without a GPU, and without ``--device cpu``, there is
nothing to measure, which is no error; the exit status is 1 if a test fails.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from torch.profiler import ProfilerActivity, profile

import sklc
from sklc import LCCompressor
from sklc.codes import nbits, to
from sklc.lstep import NetLStep
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    BinaryQuantization,
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    LowRank,
    PenaltyL0Pruning,
    PenaltyL1Pruning,
    RankSelection,
    ScaledBinaryQuantization,
    ScaledTernaryQuantization,
    Scheme,
)

sys.path.insert(0, str(Path(__file__).parent))
from l_step import LeNet300, lc_epoch, new_net, plain_loop, skorch_epoch

HOUSE = Path(__file__).parents[1]
Weights = dict[str, torch.Tensor]
TESTS = ("tests/schemes/test_contract.py", "tests/codes", "tests/ops")
TESTS_S, C_STEPS_S = 120, 100  # what is not done by then is left out, and said
LENET300 = {"fc1.weight": (300, 784), "fc2.weight": (100, 300), "fc3.weight": (10, 100)}
LARGE = {"fc.weight": (4000, 5000)}

#: What waits, in the words of the profiler: calls of CUDA, and in a rehearsal looks.
WAITS = {"cuda": r"cuda(Stream|Event)Synchronize", "cpu": r"aten::_local_scalar_dense"}


# ---- measuring ----


def settle(device: str) -> None:
    """Wait until the device has done all that it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def timed(function: Callable[[], Any], device: str, rounds: int = 5) -> float:
    """Return the median time of calls, few of those that take long, after a first."""
    function()
    settle(device)
    times: list[float] = []
    while len(times) < rounds and sum(times) < 1000:
        start = perf_counter()
        function()
        settle(device)
        times.append(1e3 * (perf_counter() - start))
    return round(median(times), 4)


def waits(function: Callable[[], Any], device: str) -> dict[str, int]:
    """Return how often a call makes the host wait, by the name of what waits."""
    activities, kind = [ProfilerActivity.CPU], torch.device(device).type
    if kind == "cuda":
        activities.append(ProfilerActivity.CUDA)
    settle(device)
    with profile(activities=activities) as profiler:
        function()
    return {
        event.key: event.count
        for event in profiler.key_averages()
        if re.fullmatch(WAITS[kind], event.key)
    }


# ---- what is measured ----


def run_tests(device: str, quick: bool) -> dict[str, Any]:
    """Run the tests that take a device, on this one."""
    selection = f"{device} and defaults" if quick else device
    command = [sys.executable, "-m", "pytest", "-q", "-k", selection, *TESTS]
    if not quick:
        command += ["-n", "4"]
    start = perf_counter()
    try:
        done = subprocess.run(
            command,
            cwd=HOUSE,
            capture_output=True,
            text=True,
            check=False,
            timeout=TESTS_S,
        )
    except subprocess.TimeoutExpired:
        return {"passed": None, "summary": f"not done in {TESTS_S} s"}
    lines = done.stdout.strip().splitlines() or [done.stderr]
    return {
        "passed": done.returncode == 0,
        "summary": lines[-1],
        "failed": [line for line in lines if line.startswith(("FAILED", "ERROR"))],
        "seconds": round(perf_counter() - start, 1),
    }


def draw(shapes: dict[str, tuple[int, ...]], device: str) -> Weights:
    """Return random normal weights."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator).to(device)
        for name, shape in shapes.items()
    }


def schemes(weights: Weights) -> list[Scheme]:
    """Return every kind of C step, with levels that suit normal weights."""
    n = sum(weight.numel() for weight in weights.values())
    found: list[Scheme] = [
        BinaryQuantization(),
        PenaltyL0Pruning(alpha=1.0),
        PenaltyL1Pruning(alpha=1.0),
        LowRank(rank=10),
        RankSelection(alpha=1e-2),
        AdaptiveQuantization(k=16),
        AdaptiveQuantization(k=4, zero=True, kappa=0.1),
        Additive(
            [
                ("signs", ScaledBinaryQuantization()),
                ("corrections", ConstraintL0Pruning(kappa=0.01)),
            ]
        ),
    ]
    for granularity in ("joint", "layer", "channel"):
        rows = {"joint": 1, "layer": len(weights)}.get(
            granularity, sum(len(weight) for weight in weights.values())
        )
        found += [
            ScaledBinaryQuantization(granularity),
            ScaledTernaryQuantization(granularity),
            ConstraintL0Pruning(0.05, granularity),
            ConstraintL1Pruning(0.1 * n / rows, granularity),
            AdaptiveQuantization(k=4, granularity=granularity),
        ]
    return found


def c_step(scheme: Scheme, weights: Weights, device: str) -> dict[str, Any]:
    """Measure a C step where the weights are, and by way of the host."""

    def here() -> Any:
        return scheme.compress(weights, mu=1.0)

    def on_the_host() -> Any:
        copied = {name: weight.cpu() for name, weight in weights.items()}
        return to(scheme.compress(copied, mu=1.0), device)

    theta = here()
    return {
        "scheme": " ".join(repr(scheme).split()),
        "ms": timed(here, device),
        "host_ms": timed(on_the_host, device),
        "size_ms": timed(lambda: nbits(theta), device),
        "waits": waits(here, device),
        "size_waits": waits(lambda: nbits(theta), device),
    }


def c_steps(device: str, quick: bool) -> dict[str, Any]:
    """Measure all C steps, as long as there is time."""
    start = perf_counter()
    found: dict[str, Any] = {"left_out": []}
    for name, shapes in (("LeNet300", LENET300), ("large", LARGE)):
        if quick and name == "large":
            continue
        weights = draw(shapes, device)
        found[name] = []
        for scheme in schemes(weights):
            if perf_counter() - start > C_STEPS_S:
                found["left_out"].append(f"{name}: {' '.join(repr(scheme).split())}")
                continue
            row = c_step(scheme, weights, device)
            found[name].append(row)
            print(
                f"{name:9}{row['ms']:10.2f} ms{row['host_ms']:10.2f} by the host"
                f"{row['size_ms']:8.2f} size{sum(row['waits'].values()):5} waits  "
                f"{row['scheme']}",
                flush=True,
            )
    return found


def epochs(device: str, quick: bool) -> dict[str, Any]:
    """Measure an epoch by hand, by skorch, and by the algorithm."""
    random = np.random.default_rng(0)
    X = random.standard_normal((6000 if quick else 60_000, 784), dtype=np.float32)
    data = X, (X @ random.standard_normal((784, 10))).argmax(1)
    nets = [new_net(LeNet300, 256, device) for _ in range(4)]

    def lc_steps(number: int) -> Callable[[], Any]:
        return lambda: LCCompressor(
            FrozenEstimator(nets[3]),
            AdaptiveQuantization(k=2),
            l_step=NetLStep(epochs=1),
            mu_init=1e-3,
            mu_factor=1.1,
            max_iter=number,
            tol=0.0,
            random_state=0,
        ).fit(*data)

    found: dict[str, Any] = {"batches": -(-len(X) // 256)}
    for name, epoch in {
        "loop": plain_loop(nets[0], data, device),
        "skorch": skorch_epoch(nets[1], data),
        "L step": lc_epoch(nets[2], data),
    }.items():
        found[name] = {"ms": timed(epoch, device), "waits": waits(epoch, device)}
    none, three = (timed(lc_steps(number), device, 3) for number in (0, 3))
    before, after = (waits(lc_steps(number), device) for number in (0, 3))
    found["LC step"] = {
        "ms": round((three - none) / 3, 4),
        "waits": {
            key: round((count - before.get(key, 0)) / 3, 1)
            for key, count in after.items()
        },
    }
    for name, row in found.items():
        if isinstance(row, dict):
            ratio = row["ms"] / found["loop"]["ms"]
            total = sum(row["waits"].values())
            print(f"{name:9}{row['ms']:10.2f} ms{ratio:7.2f} loops{total:8.0f} waits")
    return found


def main() -> int:
    """Measure, print, and write it all down."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--quick", action="store_true", help="a little of everything")
    options = parser.parse_args()
    device = options.device
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        print(
            "There is no GPU that torch can use here, and nothing to measure. "
            "--device cpu --quick rehearses."
        )
        return 0
    start = perf_counter()
    name = platform.processor() or platform.machine()
    with suppress(AssertionError, ValueError):
        name = torch.cuda.get_device_name(device)
    found = {
        "device": name,
        "versions": {
            "sklc": sklc.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "tests": run_tests(torch.device(device).type, options.quick),
    }
    print(f"{name}: {found['tests']['summary']}", flush=True)
    found["c_steps"] = c_steps(device, options.quick)
    found["epochs"] = epochs(device, options.quick)
    found["seconds"] = round(perf_counter() - start, 1)
    options.out.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(f"{options.out}: {found['seconds']} s")
    return int(found["tests"]["passed"] is False)


if __name__ == "__main__":
    sys.exit(main())
