r"""What it costs to know the size of Θ, and to pack it: time and memory.

    python benchmarks/sizes.py                      # 20,000,000 weights: two minutes
    python benchmarks/sizes.py --size 2000000 --schemes ternary "l0, 5%"

``C step`` is the whole call of ``scheme.compress``, ``nbits`` and ``pack`` those of
:mod:`sklc.codes`; times are medians, of one C step where that takes seconds.
``memory`` is the peak of packing in a process of its own, its result included and Θ
not, over the bytes of the weights (Linux only).

Bars (exit status 1 if one is missed):

- nbits takes at most a tenth of the C step, or 10 ms where that is more, and is the
  packed size;
- packing peaks at 3 times the bytes of the weights.
"""

import argparse
import ctypes
import math
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch

from sklc.codes import Theta, nbits, pack
from sklc.schemes import (
    AdaptiveQuantization,
    ConstraintL0Pruning,
    ScaledTernaryQuantization,
    Scheme,
)

SCHEMES: dict[str, Scheme] = {
    "ternary": ScaledTernaryQuantization(),
    "l0, 50%": ConstraintL0Pruning(kappa=0.5),
    "l0, 5%": ConstraintL0Pruning(kappa=0.05),
    "l0, 0.1%": ConstraintL0Pruning(kappa=0.001),
    "k=16": AdaptiveQuantization(k=16),
    "k=3 with zero": AdaptiveQuantization(k=3, zero=True),
    "k=3, 5% kept": AdaptiveQuantization(k=3, zero=True, kappa=0.05),
}
LEAST_MS, SHARE, MEMORY = 10.0, 0.1, 3.0


def weights_of(n: int) -> dict[str, torch.Tensor]:
    w = np.random.default_rng(0).standard_normal(n, dtype=np.float32)
    return {"w": torch.from_numpy(w)}


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return the median time of some calls, and the result."""
    times: list[float] = []
    while len(times) < 5 and sum(times) < 3000:
        start = perf_counter()
        result = function()
        times.append(1e3 * (perf_counter() - start))
    return median(times), result


def status(field: str) -> int:
    """Return a size that the kernel keeps of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(x for x in lines if x.startswith(field)).split()[1])


def peak(theta: Theta) -> int:
    """Return the bytes by which packing makes the memory grow at most."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = status("VmRSS")
    packed = pack(theta)
    grown = status("VmHWM") - before
    del packed
    return grown


def peak_in_child(theta: Theta) -> float:
    """Return the peak of packing in a process that has done nothing else."""
    if not Path("/proc/self/clear_refs").exists():
        return math.nan
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        small = SCHEMES["l0, 5%"].compress(weights_of(1000), mu=1.0)
        pool.apply(peak, (small,))  # loads the code
        return float(pool.apply(peak, (theta,)))


def measure(name: str, weights: dict[str, torch.Tensor]) -> bool:
    """Measure a scheme, print its row, and return whether it passes the bars."""
    (w,) = weights.values()
    c_step, theta = timed(lambda: SCHEMES[name].compress(weights, mu=1.0))
    size_ms, size = timed(lambda: nbits(theta))
    pack_ms, (_, arrays) = timed(lambda: pack(theta))
    packed = 8 * sum(array.nbytes for array in arrays.values())
    del arrays
    memory = peak_in_child(theta) / (w.numel() * w.element_size())
    bar = max(SHARE * c_step, LEAST_MS)
    good = size_ms <= bar and 0 <= packed - size < 64 and not memory > MEMORY
    print(
        f"{name:16}{w.numel():>10}{c_step:>12.1f}{size_ms:>10.2f}{bar:>10.1f}"
        f"{pack_ms:>10.1f}{size / w.numel():>10.4f}{memory:>9.2f}{MEMORY:>6.1f}  "
        f"{'ok' if good else 'MISSED'}",
        flush=True,
    )
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20_000_000)
    parser.add_argument("--schemes", nargs="+", default=list(SCHEMES), choices=SCHEMES)
    options = parser.parse_args()
    print(
        f"{'scheme':16}{'n':>10}{'C step ms':>12}{'nbits':>10}{'bar':>10}{'pack':>10}"
        f"{'bits/w':>10}{'memory':>9}{'bar':>6}"
    )
    weights = weights_of(options.size)
    passed = [measure(name, weights) for name in options.schemes]
    return int(not all(passed))


if __name__ == "__main__":
    sys.exit(main())
