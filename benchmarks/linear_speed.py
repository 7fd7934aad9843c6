"""A whole fit of LCCompressor over one fit of scikit-learn (of benchmark linear.py)."""

import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from sklc import LCCompressor
from sklc.schemes import ConstraintL0Pruning

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from lenet300 import mnist


def _dense(n, p):
    rng = np.random.default_rng([n, p])
    X = rng.standard_normal((n, p))
    return X, X[:, :20] @ rng.standard_normal(20) + rng.standard_normal(n)


def _csr(n, p, classify):
    rng = np.random.default_rng([n, p])
    X = sparse.random(n, p, 0.002, format="csr", random_state=rng)
    score = X @ rng.standard_normal(p) + 0.1 * rng.standard_normal(n)
    return X, (score > 0).astype(int) if classify else score


def _mnist(data):
    X, y = mnist(data)[:2]
    return X[:20_000].astype(np.float64), y[:20_000]


def cases(data):
    """Return names, data, models, sizes and goals (a ratio)."""
    found = {
        "small, 200 x 100": (lambda: _dense(200, 100), LinearRegression(), 10, None),
        "Ridge, 100,000 x 500": (lambda: _dense(100_000, 500), Ridge(), 25, 4),
        "Ridge, 200 x 20,000": (lambda: _dense(200, 20_000), Ridge(), 20, 20),
    }
    for n in 5_000, 10_000:
        label = f"Ridge, CSR {n:,} x 50,000"
        found[label] = (lambda n=n: _csr(n, 50_000, False), Ridge(), 500, 30)
    found["logistic, CSR 16,000 x 50,000"] = (
        lambda: _csr(16_000, 50_000, True),
        LogisticRegression(),
        500,
        15,
    )
    if data:
        found["logistic, 20,000 of MNIST"] = (
            lambda: _mnist(data),
            LogisticRegression(C=0.1, max_iter=1000),
            392,
            8,
        )
    return found


def _seconds(estimator, X, y, repeats):
    """Return the median time of the processor, which other programs hardly change."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        clone(estimator).fit(X, y)
        found.append(time.process_time() - start)
    return statistics.median(found)


def main(options):
    """Print the times, and how often one goes into the other."""
    heads = "".join(f"{name:>10}" for name in ("fit", "LC", "ratio", "goal"))
    print(f"{'processor seconds, medians':<34}{heads}")
    for label, (load, model, size, goal) in cases(options.data).items():
        if options.case and options.case not in label:
            continue
        X, y = load()
        lc = LCCompressor(model, ConstraintL0Pruning(kappa=size))
        repeats = 1 if options.quick else 5
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if goal is None:
                clone(lc).fit(X, y)  # what is loaded at first
            one, whole = (_seconds(each, X, y, repeats) for each in (model, lc))
        said = "100 ms" if goal is None else goal
        ratio = whole / one
        times = f"{one:>10.3f}{whole:>10.3f}{ratio:>10.1f}"
        print(f"{label:<34}{times}{said:>10}", flush=True)
