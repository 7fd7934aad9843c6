"""Compress a small net in many ways, and see what it costs.

A net with 300 and 100 hidden units learns to read the digits that come with
scikit-learn. It is then compressed by ten schemes: directly (the C step alone, without
any training) and by the learning-compression algorithm. The table and the figure show
the test errors against the size of the model.

    python examples/digits.py [--figure FILE]

takes about a minute on a CPU.
"""

import argparse
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn

from sklc import LCCompressor
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    LowRank,
    Mixed,
    RankSelection,
    ScaledTernaryQuantization,
    Scheme,
)

SCHEMES = {
    "2 values per layer": AdaptiveQuantization(k=2),
    "16 values for all layers": AdaptiveQuantization(k=16, granularity="joint"),
    "{-c, 0, c} per layer": ScaledTernaryQuantization(),
    "5 % of the weights": ConstraintL0Pruning(kappa=0.05),
    "l1 norm of 250": ConstraintL1Pruning(kappa=250.0),
    "5 %, of 3 values": AdaptiveQuantization(k=4, zero=True, kappa=0.05),
    "rank 5": LowRank(rank=5),
    "learned ranks": RankSelection(alpha=2e-6),
    "2 values + 1 % corrected": Additive(
        [
            ("codes", AdaptiveQuantization(k=2)),
            ("corrections", ConstraintL0Pruning(kappa=0.01)),
        ]
    ),
    "pruned | rank 5 | 4 values": Mixed(
        [
            ("first", ConstraintL0Pruning(kappa=0.05), "0"),
            ("second", LowRank(rank=5), "2"),
            ("last", AdaptiveQuantization(k=4), "4"),
        ]
    ),
}


def reference(X: np.ndarray, y: np.ndarray) -> NeuralNetClassifier:
    """Return the trained net."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(64, 300),
        nn.Tanh(),
        nn.Linear(300, 100),
        nn.Tanh(),
        nn.Linear(100, 10),
    )
    net = NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        lr=0.1,
        batch_size=64,
        max_epochs=30,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    return net.fit(X, y)


def error(
    model: LCCompressor | NeuralNetClassifier, X: np.ndarray, y: np.ndarray
) -> float:
    """Return the error in per cent."""
    return 100 * (1 - model.score(X, y))


def compress(net: NeuralNetClassifier, scheme: Scheme, **options: Any) -> LCCompressor:
    """Return a compressor of the trained net; the net itself stays as it is."""
    return LCCompressor(FrozenEstimator(net), scheme, random_state=0, **options)


def draw(rows: list[tuple], reference_error: float, path: str) -> None:
    """Draw the errors against the compression ratios."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    for at, (name, ratio, direct, lc) in enumerate(rows):
        color = f"C{at}"
        axes.plot([ratio, ratio], [direct, lc], color=color, lw=1, alpha=0.6)
        axes.plot(ratio, direct, "o", mfc="none", color=color)
        axes.plot(ratio, lc, "o", color=color, label=name)
    axes.axhline(reference_error, color="k", lw=1, ls=":", label="reference")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="compression ratio",
        ylabel="test error (%)",
        title="Direct compression (open) and the LC algorithm (filled)",
    )
    for axis, ticks in (
        (axes.xaxis, (2, 5, 10, 20, 50)),
        (axes.yaxis, (2, 5, 10, 20, 50)),
    ):
        axis.set_ticks(ticks, labels=ticks)
        axis.set_ticks([], minor=True)
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--figure", default="digits.png", help="where to save the figure"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)  # faster for so small a net

    X, y = load_digits(return_X_y=True)
    X = (X / 16 - 0.3).astype("float32")
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.3, stratify=y, random_state=0
    )
    net = reference(X_train, y_train)
    reference_error = error(net, X_test, y_test)
    n_bits = 32 * sum(p.numel() for p in net.module_.parameters())

    line = "{:<28}{:>9}{:>7.1f}{:>9}{:>7.2f}"
    print(f"{'':28}{'':>9}{'':>7}{'test error (%)':>16}")
    print(f"{'scheme':<28}{'bits':>9}{'ratio':>7}{'direct':>9}{'LC':>7}")
    print(line.format("none (the reference)", n_bits, 1, "", reference_error))
    rows = []
    for name, scheme in SCHEMES.items():
        direct = compress(net, scheme, max_iter=0).fit(X_train, y_train)
        lc = compress(net, scheme).fit(X_train, y_train)
        errors = [error(model, X_test, y_test) for model in (direct, lc)]
        rows.append((name, lc.compression_ratio_, *errors))
        first = f"{errors[0]:.2f}"
        print(line.format(name, lc.nbits_, lc.compression_ratio_, first, errors[1]))
    draw(rows, reference_error, options.figure)
    print(f"saved {options.figure}")


if __name__ == "__main__":
    main()
