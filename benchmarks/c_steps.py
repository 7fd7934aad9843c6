r"""Speed and memory of the C steps, against the best that is easily had elsewhere.

    python benchmarks/c_steps.py                   # all of the table: ten minutes
    python benchmarks/c_steps.py --quick           # 266,200 weights only: two minutes
    python benchmarks/c_steps.py --schemes l0 svd  # what begins with these names
    python benchmarks/c_steps.py --large           # growth: 10^6, 10^7, 10^8 weights

Ours is the whole call of ``scheme.compress``. The rival solves the same problem on the
same float32 weights and returns the dense result (the factors, for low rank): NumPy for
the l0 and l1 balls and for ternary, scikit-learn's ``KMeans(n_init=10)`` for codebooks,
also for those from a warm start, ``scipy.linalg.svd`` for low rank. Both are timed in
turn, in this process; times are medians. ``dense`` is the time to decompress our
result, and is not in the ratio. ``error`` is our squared error over the rival's (for
low rank, the largest error of a singular value over the largest value); ``memory`` is
the peak of a C step in a process of its own, result included and weights not, over the
bytes of the weights (Linux only).

Bars (exit status 1 if one is missed):

- ours takes at most 1.1 times the rival's time, everywhere, at no larger error;
- codebooks of 16 values for 2,000,000 weights or more: 1/50 of it, 1/200 from a warm
  start, and twice ``torch.sort`` of the same weights; for 266,200 weights from a warm
  start 100 ms; a codebook for every channel of 512 x 4608: 0.5 s (k = 4), 1 s (k = 4,
  one value zero), 2 s (k = 16), of 4096 x 9: 0.35 s (k = 2);
- low rank of a 512 x 4608 matrix: 1/5, with singular values right to 1e-5;
- memory: 6, plus 100 bytes per cut position where the search is exact in any case;
- growth: time over n log n at most doubles from 10^6 to 10^8 weights.
"""

import argparse
import ctypes
import math
import multiprocessing
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import scipy.linalg
import torch
from sklearn.cluster import KMeans

from sklc.ops.kmeans import EXACT_LIMIT
from sklc.ops.svd import SVD
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    BinaryQuantization,
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    LowRank,
    PenaltyL0Pruning,
    PenaltyL1Pruning,
    ScaledBinaryQuantization,
    ScaledTernaryQuantization,
    Scheme,
)

Array = np.ndarray
Rival = Callable[[Array], Any]

SIZES = (266_200, 2_000_000)
LARGE = (10**6, 10**7, 10**8)
DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, Any], Array]] = {
    "gaussian": lambda random, size: random.standard_normal(size, dtype=np.float32),
    "student": lambda random, size: random.standard_t(3, size).astype(np.float32),
}
SHAPES = ((512, 4608), (4096, 9), (300, 784), (512, 512))
RANKS = (10, 50)
SLACK = 1.1  # of a ratio of times: noise
ROUNDING = 1 + 1e-6  # of a ratio of errors
MEMORY, POSITION_BYTES = 6.0, 100


# ---- the rivals ----


def numpy_l0(w: Array, kappa: int) -> Array:
    magnitude = np.abs(w)
    magnitude.partition(len(w) - kappa)
    least = magnitude[len(w) - kappa]
    np.abs(w, out=magnitude)
    return w * (magnitude >= least)


def numpy_l1(w: Array, radius: float) -> Array:
    """Duchi, Shalev-Shwartz, Singer and Chandra, ICML 2008, by sorting."""
    magnitude = np.abs(w)
    ordered = np.sort(magnitude)[::-1]
    excess = np.cumsum(ordered, dtype=np.float64)
    excess -= radius
    support = np.count_nonzero(ordered * np.arange(1.0, len(w) + 1) > excess)
    threshold = np.float32(excess[support - 1] / support)
    magnitude -= threshold
    np.maximum(magnitude, 0, out=magnitude)
    return np.copysign(magnitude, w, out=magnitude)


def numpy_ternary(w: Array) -> Array:
    magnitude = np.abs(w)
    total = np.cumsum(np.sort(magnitude)[::-1], dtype=np.float64)
    best = np.argmax(total / np.sqrt(np.arange(1.0, len(w) + 1)))
    scale = np.float32(total[best] / (best + 1))
    return np.where(magnitude > scale / 2, np.copysign(scale, w), np.float32(0))


def sklearn_kmeans(w: Array, k: int) -> Array:
    found = KMeans(n_clusters=k, n_init=10, random_state=0).fit(w[:, None])
    return found.cluster_centers_[found.labels_, 0]


def scipy_svd(w: Array, rank: int) -> tuple[Array, Array]:
    left, values, right = scipy.linalg.svd(w, full_matrices=False)
    return left[:, :rank] * values[:rank], right[:rank]


# ---- what is measured ----


@dataclass(frozen=True)
class Case:
    """A scheme, the rival, and the bars."""

    name: str
    scheme: Scheme
    rival: Rival | None = None
    speedup: float = 1 / SLACK
    warm: bool = False
    slow: bool = False  # a rival that takes minutes
    memory: float | None = MEMORY
    most: float = math.inf  # milliseconds


def vector_cases(w: Array) -> list[Case]:
    """Return the cases for a vector of weights; budgets depend on it."""
    n, norm = len(w), float(np.abs(w).sum(dtype=np.float64))
    middle = float(np.median(np.abs(w)))
    cases = [
        Case("l0", ConstraintL0Pruning(kappa=n // 20), lambda w: numpy_l0(w, n // 20)),
        *(
            Case(
                f"l1, {share:.0%} of norm",
                ConstraintL1Pruning(kappa=share * norm),
                lambda w, share=share: numpy_l1(w, share * norm),
            )
            for share in (0.1, 0.5)
        ),
        Case("ternary", ScaledTernaryQuantization(), numpy_ternary),
    ]
    for k in (2, 4, 16):
        hard = k == 16 and n >= 2_000_000
        exact = n * k <= EXACT_LIMIT
        memory = MEMORY + (POSITION_BYTES * k / w.itemsize if exact else 0)
        for warm in (False, True):
            cases.append(
                Case(
                    f"k={k}, warm" if warm else f"k={k}",
                    AdaptiveQuantization(k=k),
                    lambda w, k=k: sklearn_kmeans(w, k),
                    speedup=(200 if warm else 50) if hard else 1 / SLACK,
                    warm=warm,
                    slow=True,
                    memory=memory,
                    most=100.0 if warm and k == 16 and n <= 266_200 else math.inf,
                )
            )
    cases += [
        Case(
            "sort, k=16",
            AdaptiveQuantization(k=16),
            lambda w: torch.sort(torch.from_numpy(w)),
            speedup=1 / 2 if n >= 2_000_000 else 1 / 100,
            memory=None,
        ),
        Case("penalty l0", PenaltyL0Pruning(alpha=middle**2 / 2)),
        Case("penalty l1", PenaltyL1Pruning(alpha=middle)),
        Case("penalty l1, all kept", PenaltyL1Pruning(alpha=0.0)),
        Case("binary", BinaryQuantization()),
        Case("scaled binary", ScaledBinaryQuantization()),
        Case(
            "zero, k=2, kappa=5%",
            AdaptiveQuantization(k=2, zero=True, kappa=0.05),
            memory=None,
        ),
        Case(
            "additive",
            Additive(
                [
                    ("codes", AdaptiveQuantization(k=2)),
                    ("corrections", ConstraintL0Pruning(kappa=0.01)),
                ]
            ),
            memory=None,
        ),
    ]
    return cases


def matrix_cases(w: Array) -> list[Case]:
    """Return the cases for a matrix."""
    return [
        Case(
            f"svd {w.shape[0]}x{w.shape[1]}, {rank}",
            LowRank(rank=rank),
            lambda w, rank=rank: scipy_svd(w, rank),
            speedup=5 if w.shape == (512, 4608) else 1 / SLACK,
            memory=None,
        )
        for rank in RANKS
    ]


def channel_cases(w: Array) -> list[Case]:
    """Return the cases for a matrix each row of which has a codebook of its own."""
    cases = {
        (512, 4608): [(4, False, 500.0), (4, True, 1000.0), (16, False, 2000.0)],
        (4096, 9): [(2, False, 350.0)],
    }
    return [
        Case(
            f"channels, k={k}{', zero' * zero}",
            AdaptiveQuantization(k=k, zero=zero, granularity="channel"),
            memory=None,
            most=most,
        )
        for k, zero, most in cases.get(w.shape, [])
    ]


def weights_of(distribution: str, shape: int | tuple[int, int]) -> Array:
    return DISTRIBUTIONS[distribution](np.random.default_rng(0), shape)


def start_of(case: Case, w: Array) -> Mapping[str, Any] | None:
    """Return the C step's result on other weights, an L step away."""
    if not case.warm:
        return None
    step = np.random.default_rng(1).standard_normal(len(w), dtype=np.float32)
    step *= 0.02 * w.std(dtype=np.float64).astype(np.float32)
    return case.scheme.compress({"w": torch.from_numpy(w + step)}, mu=1.0)


# ---- measuring ----


SLOW: dict[tuple[str, str, int], tuple[list[float], Any]] = {}  # rivals of codebooks


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = perf_counter()
    result = function()
    return 1e3 * (perf_counter() - start), result


def status(field: str) -> int:
    """Return a size that the kernel keeps of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(x for x in lines if x.startswith(field)).split()[1])


def peak(name: str, distribution: str, n: int) -> float:
    """Return the peak memory of a C step over the bytes of its weights."""
    for size in (70_000, n):  # the first loads the code and starts the threads
        w = weights_of(distribution, size)
        case = next(case for case in vector_cases(w) if case.name == name)
        weights, theta = {"w": torch.from_numpy(w)}, start_of(case, w)
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        before = status("VmRSS")
        result = case.scheme.compress(weights, mu=1.0, theta=theta)
        grown = status("VmHWM") - before
        del result
    return grown / w.nbytes


def peak_in_child(name: str, distribution: str, n: int) -> float:
    if not Path("/proc/self/clear_refs").exists():
        return math.nan
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(peak, (name, distribution, n))


def measure(case: Case, w: Array, distribution: str) -> bool:
    """Measure a case, print its row, and return whether it passes the bars."""
    weights, theta = {"w": torch.from_numpy(w)}, start_of(case, w)
    repeats = 3 if case.slow or case.rival is None else 15
    rivals = 1 if case.slow and w.size >= 1_000_000 else repeats
    key = case.name.removesuffix(", warm"), distribution, w.size
    ours, dense, code = [], [], None
    other, result = SLOW.get(key, ([], None)) if case.warm else ([], None)
    for repeat in range(repeats):
        time, code = timed(
            lambda: case.scheme.compress(weights, mu=1.0, theta=theta)["w"]
        )
        ours.append(time)
        dense.append(timed(code.dense)[0])
        if case.rival and not case.warm and repeat < rivals:
            time, result = timed(lambda: case.rival(w))
            other.append(time)
    if case.slow and not case.warm:
        SLOW[key] = other, result
    ratio = median(ours) / median(other) if other else math.nan
    error, good = math.nan, not other or ratio <= 1 / case.speedup
    good &= median(ours) <= case.most
    if isinstance(case.scheme, LowRank):
        error = value_error(w)
        good &= error <= 1e-5
    elif isinstance(result, np.ndarray):
        error = squared_error(w, code.dense().numpy()) / squared_error(w, result)
        good &= error <= ROUNDING
    memory = peak_in_child(case.name, distribution, w.size) if w.ndim == 1 else math.nan
    if case.memory is not None:
        good &= not memory > case.memory
    print(
        f"{case.name:22}{w.size:>10}  {distribution:10}{median(ours):>10.2f}"
        f"{median(dense):>8.2f}{median(other) if other else math.nan:>11.2f}"
        f"{ratio:>9.4f}{1 / case.speedup if other else math.nan:>8.3f}{error:>12.3g}"
        f"{memory:>8.2f}{case.memory or math.nan:>8.1f}  {'ok' if good else 'MISSED'}",
        flush=True,
    )
    return good


HEADER = (
    f"{'scheme':22}{'n':>10}  {'weights':10}{'ours ms':>10}{'dense':>8}{'rival ms':>11}"
    f"{'ratio':>9}{'bar':>8}{'error':>12}{'memory':>8}{'bar':>8}"
)


def squared_error(w: Array, other: Array) -> float:
    return float(np.square(w.astype(np.float64) - other).sum())


def value_error(w: Array) -> float:
    exact = scipy.linalg.svdvals(w.astype(np.float64))
    ours = SVD(torch.from_numpy(w)).values.numpy()
    return float(np.abs(ours - exact).max() / exact[0])


def growth(names: list[str], distribution: str) -> bool:
    """Measure how the time grows with the number of weights."""
    good = True
    print(f"{'scheme':22}{'n':>10}{'ms':>12}{'ns / n log2 n':>15}{'memory':>8}")
    for name in ("l0", "l1, 10% of norm", "ternary", "k=16"):
        if names and not name.startswith(tuple(names)):
            continue
        rates = []
        for n in LARGE:
            w = weights_of(distribution, n)
            case = next(case for case in vector_cases(w) if case.name == name)
            weights = {"w": torch.from_numpy(w)}
            repeats = 3 if n < LARGE[-1] else 1
            time = median(
                timed(lambda: case.scheme.compress(weights, mu=1.0))[0]  # noqa: B023
                for _ in range(repeats)
            )
            del w
            rates.append(1e6 * time / (n * math.log2(n)))
            memory = peak_in_child(name, distribution, n)
            good &= rates[-1] <= 2 * rates[0] and not memory > MEMORY
            print(f"{name:22}{n:>10}{time:>12.1f}{rates[-1]:>15.3f}{memory:>8.2f}")
        print(
            f"{'':22}time / (n log n) grows by {rates[-1] / rates[0]:.2f}", flush=True
        )
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument(
        "--distributions", nargs="+", default=list(DISTRIBUTIONS), choices=DISTRIBUTIONS
    )
    parser.add_argument("--schemes", nargs="+", default=[], help="starts of names")
    parser.add_argument("--quick", action="store_true", help="the smallest size only")
    parser.add_argument("--large", action="store_true", help="growth, and no rivals")
    options = parser.parse_args()
    if options.large:
        return int(not growth(options.schemes, options.distributions[0]))

    print(HEADER)
    good = True
    shapes = [min(options.sizes)] if options.quick else options.sizes
    for distribution in options.distributions:
        for shape in (*SHAPES, *shapes):
            w = weights_of(distribution, shape)
            if w.ndim == 2:
                cases = (matrix_cases(w) if w.size > 10**5 else []) + channel_cases(w)
            else:
                cases = vector_cases(w)
            for case in cases:
                if case.name.startswith(tuple(options.schemes) or ""):
                    good &= measure(case, w, distribution)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
