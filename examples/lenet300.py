"""
LeNet300 on MNIST
=================

The seven experiments of the original LC toolkit. A net with 300 and 100 hidden tanh
units reads handwritten digits with an error of about 2.1 %. Seven schemes compress it,
under one of these schedules:

- direct: the C step alone, without any training;
- original: the settings of the toolkit, 820 epochs in all (ten minutes each);
- short: the same in a twentieth of that, 41 epochs in all (half a minute each);
- default: nothing is tuned, 30 epochs of LC and 10 of fine-tuning;
- rival: what most people do, direct compression and 41 epochs of fine-tuning.

The last iterate is what counts: the test set chooses nothing.

.. code-block:: bash

    python examples/lenet300.py --schedule default --data DIR --reference FILE

The data are the four gzipped IDX files of MNIST in a folder (or in the one that the
environment variable SKLC_MNIST names), or come from openml.org. The reference is a file
of weights such as ``numpy.savez`` writes (``fc1.weight``, ``fc1.bias``, ...); without
one it is trained first. ``--figure FILE`` draws the errors against the sizes.
"""

import argparse
import gzip
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import fetch_openml
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from torch import nn

from sklc import LCCompressor
from sklc.codes import Factored
from sklc.lstep import NetLStep
from sklc.plot import TradeoffDisplay
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    ConstraintL0Pruning,
    LowRank,
    Mixed,
    RankSelection,
    Scheme,
)


class Experiment(NamedTuple):
    """A scheme, and the original's learning rate and schedule of mu for it.

    The original begins where mu is zero: for a scheme with a penalty, with no weights.
    """

    scheme: Scheme
    lr: float
    mu_init: float
    mu_factor: float
    penalty: bool = False

    def pulls(self, mu_init: float, mu_factor: float, n_steps: int) -> list[float]:
        """Return the pulls of direct compression and of all steps."""
        first = 1e-12 if self.penalty else mu_init
        return [first, *(mu_init * mu_factor**step for step in range(n_steps))]


EXPERIMENTS = {
    "pruning": Experiment(ConstraintL0Pruning(kappa=13310), 0.1, 9e-5, 1.1),
    "quantize_all": Experiment(AdaptiveQuantization(k=2), 0.09, 9e-5, 1.1),
    "quantize_two_layers": Experiment(
        Mixed([("codes", AdaptiveQuantization(k=2), ["fc1", "fc3"])]), 0.09, 9e-5, 1.1
    ),
    "additive": Experiment(
        Additive(
            [
                ("corrections", ConstraintL0Pruning(kappa=2662)),
                ("codes", AdaptiveQuantization(k=2, granularity="joint")),
            ]
        ),
        0.09,
        9e-5,
        1.1,
    ),
    "all_mixed": Experiment(
        Mixed(
            [
                ("prune", ConstraintL0Pruning(kappa=5000), "fc1"),
                ("low_rank", LowRank(rank=10), "fc2"),
                ("codes", AdaptiveQuantization(k=2), "fc3"),
            ]
        ),
        0.05,
        9e-5,
        1.4,
    ),
    "low_rank": Experiment(
        Mixed(
            [
                ("first", LowRank(rank=80), "fc1"),
                ("second", LowRank(rank=7), "fc2"),
                ("third", LowRank(rank=9), "fc3"),
            ]
        ),
        0.01,
        1e-3,
        1.3,
    ),
    "rank_selection": Experiment(RankSelection(alpha=1e-6), 0.1, 1e-3, 1.1, True),
}


class LeNet300(nn.Module):
    """The net: 784-300-100-10, tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.fc3(torch.tanh(self.fc2(torch.tanh(self.fc1(x)))))


def mnist(folder: str | None) -> tuple[np.ndarray, ...]:
    """Return X_train, y_train, X_test, y_test: pixels less the mean training image."""
    if folder is None:
        X, y = fetch_openml("mnist_784", return_X_y=True, as_frame=False)
        y = y.astype("int64")
    else:
        parts = [
            (
                idx(Path(folder, f"{part}-images-idx3-ubyte.gz")),
                idx(Path(folder, f"{part}-labels-idx1-ubyte.gz")),
            )
            for part in ("train", "t10k")
        ]
        X, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        X, y = X.reshape(len(X), -1), y.astype("int64")
    X = X.astype("float32") / 255
    X -= X[:60000].mean(0)
    return X[:60000], y[:60000], X[60000:], y[60000:]


def idx(path: Path) -> np.ndarray:
    """Read an IDX file of bytes."""
    with gzip.open(path) as file:
        content = file.read()
    n_axes = content[3]
    shape = np.frombuffer(content, ">i4", count=n_axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(shape)


def reference(path: str | None, X: np.ndarray, y: np.ndarray) -> NeuralNetClassifier:
    """Return the trained net."""
    torch.manual_seed(0)
    net = NeuralNetClassifier(
        LeNet300,
        criterion=nn.CrossEntropyLoss,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        lr=0.1,
        batch_size=256,
        max_epochs=41,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    if path is None:
        return net.fit(X, y)
    net.initialize()
    with np.load(path) as weights:
        state = {name: torch.as_tensor(weights[name]) for name in weights}
    net.module_.load_state_dict(state)
    net.check_data(X, y)  # so that it knows its classes
    return net


def compressor(net: NeuralNetClassifier, name: str, schedule: str) -> LCCompressor:
    """Return a compressor for an experiment, under a schedule."""
    experiment = EXPERIMENTS[name]
    lc = LCCompressor(
        FrozenEstimator(net), experiment.scheme, keep_reference=True, random_state=0
    )
    if schedule == "default":
        return lc.set_params(l_step=NetLStep(epochs=1), max_iter=30)
    lc.set_params(keep="last", tol=0.0, finetune=0)
    if schedule == "original":
        return lc.set_params(
            l_step=as_published(epochs=20, first_epochs=40, lr=experiment.lr),
            mu_init=experiment.pulls(experiment.mu_init, experiment.mu_factor, 40),
            max_iter=40,
        )
    if schedule == "short":
        mu_init, lr = (4.5e-4, 0.1) if experiment.penalty else (1e-3, 0.09)
        return lc.set_params(
            l_step=as_published(epochs=1, first_epochs=2, lr=lr),
            mu_init=experiment.pulls(mu_init, 1.1, 40),
            max_iter=40,
        )
    return lc.set_params(
        mu_init=1e-3, max_iter=0, finetune=41 if schedule == "rival" else 0
    )


def as_published(**options: float) -> NetLStep:
    """Return L steps that begin at w, as the algorithm was published."""
    return NetLStep(start_at="weights", lr_decay=0.98, max_update=None, **options)


def remark(lc: LCCompressor) -> str:
    """Return the ranks that were learned."""
    ranks = [
        str(code.rank if isinstance(code, Factored) else min(code.shape))
        for code in lc.theta_.values()
    ]
    return f"ranks {'/'.join(ranks)}, {lc.nbits_ // 32:,} numbers"


def main() -> None:
    """Run the experiments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument(
        "--schedule",
        default="default",
        choices=["direct", "original", "short", "default", "rival"],
    )
    parser.add_argument(
        "--experiments", nargs="+", default=list(EXPERIMENTS), choices=EXPERIMENTS
    )
    parser.add_argument("--data", default=os.environ.get("SKLC_MNIST"))
    parser.add_argument("--reference", help="weights of the reference (.npz)")
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--figure", help="where to save a figure")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    X_train, y_train, X_test, y_test = mnist(options.data)
    net = reference(options.reference, X_train, y_train)
    print(f"reference: test error {100 * (1 - net.score(X_test, y_test)):.2f} %")
    print(f"{options.schedule:<21}{'error (%)':>9}{'ratio':>7}{'gap':>9}{'seconds':>9}")
    compressors = {}
    for name in options.experiments:
        start = time.perf_counter()
        lc = compressor(net, name, options.schedule).fit(X_train, y_train)
        compressors[name] = lc
        seconds = time.perf_counter() - start
        error = 100 * (1 - lc.score(X_test, y_test))
        gap = lc.history_[lc.n_iter_]["gap"]
        print(
            f"{name:<21}{error:9.2f}{lc.compression_ratio_:7.2f}{gap:9.1e}"
            f"{seconds:9.0f}  {remark(lc) if name == 'rank_selection' else ''}",
            flush=True,
        )
    if options.figure:
        display = TradeoffDisplay.from_compressors(compressors, X_test, y_test)
        display.plot(error=True).figure_.savefig(options.figure, dpi=150)
        print(f"saved {options.figure}")


if __name__ == "__main__":
    main()
