"""
How small can it be?
====================

Compression levels are hyperparameters, so GridSearchCV sweeps them: four ranks and four
sparsities of a net with 100 and 50 hidden units, on the digits that come with
scikit-learn, in three folds. Each fold's reference is trained once, and cached for all
levels. Accuracy and size are scored together, and the smallest model whose accuracy is
within one point of the best is refitted.

.. code-block:: bash

    python examples/grid_search_levels.py [--figure FILE]

takes a minute on a CPU.
"""

import argparse
import tempfile

import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from skorch import NeuralNetClassifier
from torch import nn

from sklc import LCCompressor
from sklc.metrics import compression_ratio, nbits, smallest_within
from sklc.plot import TradeoffDisplay
from sklc.schemes import ConstraintL0Pruning, LowRank

parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
parser.add_argument("--figure", default="grid_search_levels.png")
options = parser.parse_args()
torch.set_num_threads(1)  # faster for so small a net

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16 - 0.3, y, test_size=0.3, stratify=y, random_state=0
)

# %%
# The model
# ---------
# A net that is yet to be trained: every fold trains its own.


class Net(nn.Module):
    """The net: 64-100-50-10, tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(64, 100)
        self.fc2 = nn.Linear(100, 50)
        self.fc3 = nn.Linear(50, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.fc3(torch.tanh(self.fc2(torch.tanh(self.fc1(x)))))


net = NeuralNetClassifier(
    Net,
    criterion=nn.CrossEntropyLoss,
    optimizer__momentum=0.9,
    optimizer__nesterov=True,
    lr=0.1,
    batch_size=64,
    max_epochs=20,
    iterator_train__shuffle=True,
    train_split=None,
    verbose=0,
)

# %%
# The search
# ----------

levels = [
    {"scheme": [LowRank()], "scheme__rank": [3, 5, 8, 12]},
    {"scheme": [ConstraintL0Pruning()], "scheme__kappa": [0.03, 0.06, 0.12, 0.25]},
]
with tempfile.TemporaryDirectory() as memory:
    search = GridSearchCV(
        LCCompressor(net, LowRank(), memory=memory, random_state=0),
        levels,
        scoring={"score": "accuracy", "bits": nbits, "ratio": compression_ratio},
        refit=smallest_within(0.01),
        cv=3,
    ).fit(X_train, y_train)

# %%
# The choice
# ----------


def label(params: dict) -> str:
    """Return the scheme of a candidate, as it is written."""
    settings = {
        name.removeprefix("scheme__"): value
        for name, value in params.items()
        if name != "scheme"
    }
    return repr(clone(params["scheme"]).set_params(**settings))


results = search.cv_results_
print(f"{'scheme':<34}{'bits':>8}{'ratio':>7}{'accuracy (%)':>18}")
for at in np.argsort(results["mean_test_bits"]):
    mean, std = (100 * results[f"{name}_test_score"][at] for name in ("mean", "std"))
    print(
        f"{label(results['params'][at]):<34}{results['mean_test_bits'][at]:>8.0f}"
        f"{results['mean_test_ratio'][at]:>7.1f}{mean:>11.2f} ± {std:.2f}"
        f"{'  the choice' if at == search.best_index_ else ''}"
    )
test = 100 * search.best_estimator_.score(X_test, y_test)
print(f"the choice, trained on all folds: {test:.2f} % on the test set")

# %%
# All of them
# -----------
#
# .. image:: /levels.png
#    :alt: Accuracies against sizes, of two schemes at four levels each

# sphinx_gallery_thumbnail_path = 'levels.png'
display = TradeoffDisplay.from_search(search).plot()
display.figure_.savefig(options.figure, dpi=150)
print(f"saved {options.figure}")
