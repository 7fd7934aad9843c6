"""
Ten ways to compress a small net
================================

A net with 300 and 100 hidden units learns to read the digits that come with
scikit-learn. It is then compressed by ten schemes: directly (the C step alone, without
any training) and by the learning-compression algorithm. The table and the figure show
the test errors against the size of the model.

.. code-block:: bash

    python examples/digits.py [--figure FILE]

takes about a minute on a CPU.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn

from sklc import LCCompressor
from sklc.plot import TradeoffDisplay
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    LowRank,
    Mixed,
    RankSelection,
    ScaledTernaryQuantization,
)

parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
parser.add_argument("--figure", default="digits.png", help="where to save the figure")
options = parser.parse_args()
torch.set_num_threads(1)  # faster for so small a net

# %%
# The data, and a net that knows them
# -----------------------------------

X, y = load_digits(return_X_y=True)
X = (X / 16 - 0.3).astype("float32")
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.3, stratify=y, random_state=0
)

torch.manual_seed(0)
net = NeuralNetClassifier(
    nn.Sequential(
        nn.Linear(64, 300),
        nn.Tanh(),
        nn.Linear(300, 100),
        nn.Tanh(),
        nn.Linear(100, 10),
    ),
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
net.fit(X_train, y_train)

# %%
# Ten schemes
# -----------
# The first six treat weights one by one, the next two treat layers as matrices, and the
# last two combine others: as a sum, and layer by layer.

schemes = {
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

# %%
# Compressing
# -----------
# Nothing is tuned. ``keep_reference=True`` keeps direct compression beside the result.


def error(model) -> float:
    """Return the test error in per cent."""
    return 100 * (1 - model.score(X_test, y_test))


n_bits = 32 * sum(p.numel() for p in net.module_.parameters())
line = "{:<28}{:>9}{:>9}{:>7.1f}{:>9}{:>7.2f}"
print(f"{'':28}{'':>9}{'':>9}{'':>7}{'test error (%)':>16}")
print(f"{'scheme':<28}{'bits':>9}{'file, B':>9}{'ratio':>7}{'direct':>9}{'LC':>7}")
print(line.format("none (the reference)", n_bits, n_bits // 8, 1, "", error(net)))

compressors = {}
for name, scheme in schemes.items():
    lc = LCCompressor(
        FrozenEstimator(net), scheme, keep_reference=True, random_state=0
    ).fit(X_train, y_train)
    compressors[name] = lc
    size, direct = lc.size_report().file_bytes, f"{error(lc.direct_):.2f}"
    print(line.format(name, lc.nbits_, size, lc.compression_ratio_, direct, error(lc)))

# %%
# What it costs
# -------------
# Direct compression loses much of what the net has learned; LC gets most of it back.
#
# .. image:: /digits.png
#    :alt: Test errors against sizes, of direct compression and of LC

# sphinx_gallery_thumbnail_path = 'digits.png'
display = TradeoffDisplay.from_compressors(compressors, X_test, y_test)
display.plot(error=True)
display.figure_.savefig(options.figure, dpi=150)
print(f"saved {options.figure}")
