"""
What a number of a linear model is worth
========================================

A multinomial logistic regression reads the digits that come with scikit-learn: 640
coefficients. They are pruned, quantized and factored, by the learning-compression
algorithm and a refit, beside direct compression (the C step alone) and beside
scikit-learn's own way to few coefficients, the l1 penalty. The table and the figure
show the test errors against the size.

.. code-block:: bash

    python examples/linear_models.py [--figure FILE]

takes half a minute on a CPU.
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from sklc import LCCompressor
from sklc.plot import TradeoffDisplay
from sklc.schemes import (
    AdaptiveQuantization,
    ConstraintL0Pruning,
    LowRank,
    ScaledTernaryQuantization,
)

parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
parser.add_argument("--figure", default="linear_models.png")
options = parser.parse_args()

# %%
# The model
# ---------

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16, y, test_size=0.3, stratify=y, random_state=0
)
model = LogisticRegression(C=1.0, max_iter=1000).fit(X_train, y_train)
size = 64 * (model.coef_.size + 10)

# %%
# Its compressed forms
# --------------------

families = {
    "k values": [AdaptiveQuantization(k=k) for k in (2, 3, 4, 8, 16)],
    "few non-zeros": [ConstraintL0Pruning(kappa=n) for n in (30, 60, 120, 240)],
    "few, of 3 values": [
        AdaptiveQuantization(k=3, zero=True, kappa=n) for n in (60, 120, 240)
    ],
    "{-c, 0, c}": [ScaledTernaryQuantization()],
    "low rank": [LowRank(rank=rank) for rank in (3, 5, 7)],
}


def error(fitted) -> float:
    """Return the test error in per cent."""
    return 100 * (1 - fitted.score(X_test, y_test))


print(f"{'scheme':<50}{'bits':>7}{'ratio':>7}{'direct':>8}{'LC':>7}")
print(f"{'none (the reference)':<50}{size:>7}{1:>7.1f}{'':>8}{error(model):>7.2f}")
compressors = {}
for family, schemes in families.items():
    compressors[family] = [
        LCCompressor(
            FrozenEstimator(model), scheme, finetune=1, keep_reference=True
        ).fit(X_train, y_train)
        for scheme in schemes
    ]
    for lc in compressors[family]:
        print(
            f"{lc.scheme!r:<50}{lc.nbits_:>7}{lc.compression_ratio_:>7.1f}"
            f"{error(lc.direct_):>8.2f}{error(lc):>7.2f}"
        )

# %%
# The rival
# ---------
# A sparse model of scikit-learn's takes a double for each non-zero, and its position.


def sparse_bits(sparse: LogisticRegression) -> int:
    """Return the size of a sparse model."""
    positions = np.ceil(np.log2(sparse.coef_.size))
    return int(np.count_nonzero(sparse.coef_) * (64 + positions) + 64 * 10)


bits, scores = [], []
for C in (0.05, 0.1, 0.3, 1.0):
    rival = LogisticRegression(C=C, l1_ratio=1, solver="saga", max_iter=2000)
    bits.append(sparse_bits(rival.fit(X_train, y_train)))
    scores.append(rival.score(X_test, y_test))
    label = f"l1 penalty, {np.count_nonzero(rival.coef_)} non-zeros"
    ratio = size / bits[-1]
    print(f"{label:<50}{bits[-1]:>7}{ratio:>7.1f}{'':>8}{error(rival):>7.2f}")

# %%
# All of them
# -----------

display = TradeoffDisplay.from_compressors(
    compressors, X_test, y_test, others={"scikit-learn's l1": (bits, scores)}
)
display.plot(error=True)
display.figure_.savefig(options.figure, dpi=150)
print(f"saved {options.figure}")
