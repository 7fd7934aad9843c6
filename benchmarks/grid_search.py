r"""What a cache of trained references saves in a grid search.

    python benchmarks/grid_search.py

A search over eight levels of pruning of a net in three folds, with ``memory=`` (a
cache that is empty at first) and without, in turn, on one thread; times are medians.
The reference costs as much as the LC steps of one fit (both are printed), so that
without a cache half of the time goes into references, all but one in eight of them
superfluous.

Bar (exit status 1 if it is missed): the search with the cache takes at most 0.6 times
that without.
"""

import argparse
import sys
import tempfile
import warnings
from statistics import median
from time import perf_counter

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from torch import nn

from sklc import LCCompressor
from sklc.lstep import NetLStep
from sklc.schemes import ConstraintL0Pruning

BAR = 0.6
LEVELS = {"scheme__kappa": [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}
REFERENCE, STEPS = 36, 20  # epochs; those of LC cost more, with all that it does


class Net(nn.Module):
    """A net on a table."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(50, 64)
        self.fc2 = nn.Linear(64, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.fc2(torch.relu(self.fc1(x)))


def search(memory: str | None) -> GridSearchCV:
    """Return the search; the best model is not trained again."""
    net = NeuralNetClassifier(
        Net,
        criterion=nn.CrossEntropyLoss,
        lr=0.05,
        batch_size=128,
        max_epochs=REFERENCE,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    lc = LCCompressor(
        net,
        ConstraintL0Pruning(),
        l_step=NetLStep(epochs=1),
        max_iter=STEPS,
        tol=0.0,
        memory=memory,
        random_state=0,
    )
    return GridSearchCV(lc, LEVELS, cv=3, refit=False)


def seconds(X: np.ndarray, y: np.ndarray, *, cached: bool) -> float:
    """Return how long a search takes."""
    with tempfile.TemporaryDirectory() as folder:
        start = perf_counter()
        search(folder if cached else None).fit(X, y)
        return perf_counter() - start


def main() -> int:
    """Measure, print, and say whether the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # whether LC improves is not the question here

    random = np.random.default_rng(0)
    X = random.standard_normal((6000, 50), dtype=np.float32)
    y = (X[:, :5].sum(1) + random.standard_normal(6000) > 0).astype(int)
    for _ in range(2):  # the first loads and warms up
        whole = search(None).estimator.fit(X, y)
    steps = whole.history_[-1]["seconds"] - whole.history_[0]["seconds"]
    start = whole.history_[0]["seconds"]
    print(f"one fit: reference {start:.2f} s, LC steps {steps:.2f} s")
    times = [
        (seconds(X, y, cached=True), seconds(X, y, cached=False))
        for _ in range(options.rounds)
    ]
    cached, alone = (median(column) for column in zip(*times, strict=True))
    ratio = cached / alone
    verdict = "" if ratio <= BAR else "  missed"
    print(
        f"8 levels x 3 folds: {cached:.1f} s with a cache, {alone:.1f} s without: "
        f"{ratio:.2f}, bar {BAR}{verdict}"
    )
    return int(ratio > BAR)


if __name__ == "__main__":
    sys.exit(main())
