"""Compress a linear model, and see what each number of its coefficients is worth.

A multinomial logistic regression reads the digits that come with scikit-learn: 640
coefficients. They are pruned, quantized and factored, by the learning-compression
algorithm and a refit, beside direct compression (the C step alone) and beside
scikit-learn's own way to few coefficients, the l1 penalty. The table and the figure
show the test errors against the size.

    python examples/linear_models.py [--figure FILE]

takes half a minute on a CPU.
"""

import argparse
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from sklc import LCCompressor
from sklc.schemes import (
    AdaptiveQuantization,
    ConstraintL0Pruning,
    LowRank,
    ScaledTernaryQuantization,
    Scheme,
)

SCHEMES: dict[str, list[Scheme]] = {
    "k values": [AdaptiveQuantization(k=k) for k in (2, 3, 4, 8, 16)],
    "few non-zeros": [ConstraintL0Pruning(kappa=n) for n in (30, 60, 120, 240)],
    "few, of 3 values": [
        AdaptiveQuantization(k=3, zero=True, kappa=n) for n in (60, 120, 240)
    ],
    "{-c, 0, c}": [ScaledTernaryQuantization()],
    "low rank": [LowRank(rank=rank) for rank in (3, 5, 7)],
}
L1 = (0.05, 0.1, 0.3, 1.0)  # the inverse strengths of scikit-learn's l1 penalty


def error(model: Any, X: np.ndarray, y: np.ndarray) -> float:
    """Return the error in per cent."""
    return 100 * (1 - model.score(X, y))


def sparse_bits(model: LogisticRegression) -> int:
    """Return the size of a sparse model: a double for each non-zero, and positions."""
    positions = np.ceil(np.log2(model.coef_.size))
    return int(np.count_nonzero(model.coef_) * (64 + positions) + 64 * 10)


def draw(curves: dict[str, list[tuple]], reference: tuple, path: str) -> None:
    """Draw the errors against the sizes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    for at, (name, points) in enumerate(curves.items()):
        bits, direct, lc = zip(*points, strict=True)
        axes.plot(bits, direct, "o:", mfc="none", color=f"C{at}", alpha=0.6)
        axes.plot(bits, lc, "o-", color=f"C{at}", label=name)
    axes.plot(*reference, "k*", ms=12, label="reference")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="bits",
        ylabel="test error (%)",
        title="Direct compression (open) and LC with a refit (filled)",
    )
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="linear_models.png")
    options = parser.parse_args()

    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X / 16, y, test_size=0.3, stratify=y, random_state=0
    )
    model = LogisticRegression(C=1.0, max_iter=1000).fit(X_train, y_train)
    size, start = 64 * (model.coef_.size + 10), error(model, X_test, y_test)

    print(f"{'scheme':<50}{'bits':>7}{'ratio':>7}{'direct':>8}{'LC':>7}")
    print(f"{'none (the reference)':<50}{size:>7}{1:>7.1f}{'':>8}{start:>7.2f}")
    curves: dict[str, list[tuple]] = {}
    for name, schemes in SCHEMES.items():
        for scheme in schemes:
            lc = LCCompressor(FrozenEstimator(model), scheme)
            direct = lc.set_params(max_iter=0).fit(X_train, y_train)
            errors = [error(direct, X_test, y_test)]
            lc.set_params(max_iter=40, finetune_epochs=1).fit(X_train, y_train)
            errors.append(error(lc, X_test, y_test))
            curves.setdefault(name, []).append((lc.nbits_, *errors))
            print(
                f"{scheme!r:<50}{lc.nbits_:>7}{lc.compression_ratio_:>7.1f}"
                f"{errors[0]:>8.2f}{errors[1]:>7.2f}"
            )
    for C in L1:
        rival = LogisticRegression(C=C, l1_ratio=1, solver="saga", max_iter=2000)
        bits = sparse_bits(rival.fit(X_train, y_train))
        found = error(rival, X_test, y_test)
        curves.setdefault("scikit-learn's l1", []).append((bits, found, found))
        label = f"l1 penalty, {np.count_nonzero(rival.coef_)} non-zeros"
        print(f"{label:<50}{bits:>7}{size / bits:>7.1f}{'':>8}{found:>7.2f}")
    draw(curves, (size, start), options.figure)
    print(f"saved {options.figure}")


if __name__ == "__main__":
    main()
