r"""What a net learns best from: targets, the reference, or both.

    python benchmarks/distillation.py --data DIR --reference FILE    # two hours
    python benchmarks/distillation.py --nets digits friedman         # some minutes

Trained nets are compressed with the defaults of ``LCCompressor`` and
``NetLStep(distill=share)``: to two values a layer, and to 5 % of the weights. Where a
net is "seen again", the samples are those that it was trained on; where it "knows
more", they are the first n of these only, of which the compression sees nothing else.
Test errors (in %, or 1 - R2 of the regression) are means over seeds, with the standard
error of the mean; seconds are those of a run.

Results go to ``--json``, and a run that is in there already is not repeated.
"""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits, make_friedman1
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from sklc import LCCompressor
from sklc.exceptions import UselessResultWarning
from sklc.lstep import NetLStep
from sklc.schemes import AdaptiveQuantization, ConstraintL0Pruning, Scheme

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from lenet300 import LeNet300, mnist

SCHEMES: dict[str, Callable[[], Scheme]] = {
    "k = 2": AdaptiveQuantization,
    "5 %": lambda: ConstraintL0Pruning(kappa=0.05),
}
SHARES = 0.0, 0.5, 0.9, 1.0


class Case(NamedTuple):
    """A net and how many samples compress it; None is all that it was trained on."""

    net: str
    n: int | None = None

    def __str__(self) -> str:
        return f"{self.net}, {'seen again' if self.n is None else self.n}"


CASES = [
    Case("digits"),
    Case("digits", 200),
    Case("friedman"),
    Case("friedman", 200),
    Case("lenet300", 500),
    Case("lenet300", 2000),
    Case("lenet300 of 2000"),
    Case("lenet5 of 2000"),
    Case("lenet5 of 10000", 2000),
    Case("lenet300 of 10000"),
    Case("lenet5 of 10000"),
    Case("lenet300"),
]


class LeNet5(nn.Sequential):
    """A small convolutional net."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10)),
        )


def split(name: str, data: str | None) -> tuple[Any, Any, Any, Any]:
    """Return what a net is trained and tested on."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        X = (X / 16).astype("float32")
    elif name == "friedman":
        X, y = make_friedman1(3000, noise=1.0, random_state=0)
        X, y = X.astype("float32"), y.astype("float32")
    else:
        X, y, X_test, y_test = mnist(data)
        if name.startswith("lenet5"):
            X, X_test = (x.reshape(-1, 1, 28, 28) for x in (X, X_test))
        n = int(name.split()[-1]) if " of " in name else len(X)
        return X[:n], X_test, y[:n], y_test
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[: 2 * len(X) // 3], order[2 * len(X) // 3 :]
    return X[train], X[test], y[train], y[test]


def new_net(name: str, n: int) -> NeuralNet:
    """Return a net that is not trained."""
    if name == "friedman":
        module: Any = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1))
        kind, criterion, lr = NeuralNetRegressor, nn.MSELoss, 0.02
    elif name == "digits":
        module = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        kind, criterion, lr = NeuralNetClassifier, nn.CrossEntropyLoss, 0.05
    else:
        module = LeNet5() if name.startswith("lenet5") else LeNet300()
        kind, criterion, lr = NeuralNetClassifier, nn.CrossEntropyLoss, 0.05
    return kind(
        module,
        criterion=criterion,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        lr=lr,
        max_epochs=20 if n > 5000 else 40,
        batch_size=256 if n > 5000 else 64,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )


def trained(name: str, data: Any, reference: str | None, seed: int) -> NeuralNet:
    """Return a net that is trained, or has the weights of a file."""
    torch.manual_seed(seed)
    X, _, y, _ = data
    net = new_net(name, len(X))
    if name == "lenet300" and reference:
        net.initialize()
        with np.load(reference) as weights, torch.no_grad():
            for key, parameter in net.module_.named_parameters():
                parameter.copy_(torch.as_tensor(weights[key]))
        return net
    return net.fit(X, y[:, None] if isinstance(net, NeuralNetRegressor) else y)


def error(model: Any, X: Any, y: Any) -> float:
    """Return the test error in %, or 1 - R2."""
    return 100 * (1 - float(model.score(X, y)))


def runs(options: Any, known: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the runs that are not known yet."""
    data_of = cache(lambda name: split(name, options.data))
    wanted = [case for case in CASES if case.net.split()[0] in options.nets]
    for case, seed in product(wanted, range(options.seeds)):
        todo = [
            (scheme, share, key)
            for scheme, share in product(SCHEMES, options.shares)
            for key in [f"{case} | {scheme} | {share} | {options.temperature} | {seed}"]
            if key not in known
        ]
        if not todo:
            continue
        X, X_test, y, y_test = data_of(case.net)
        net = trained(case.net, data_of(case.net), options.reference, seed)
        for scheme, share, key in todo:
            n = case.n or len(X)
            compressor = LCCompressor(
                FrozenEstimator(net),
                SCHEMES[scheme](),
                l_step=NetLStep(distill=share, temperature=options.temperature),
                random_state=seed,
            )
            start = perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UselessResultWarning)
                compressor.fit(X[:n], y[:n])
            seconds = perf_counter() - start
            found = {
                "reference": error(net, X_test, y_test),
                "error": error(compressor, X_test, y_test),
                "gap": compressor.history_[-1]["gap"],
                "best_step": compressor.best_step_,
                "seconds": seconds,
            }
            yield key, found


def table(found: dict[str, Any], shares: list[float], temperature: float) -> str:
    """Return the means over seeds, as a table."""
    rows: dict[tuple[str, str], dict[float, list[Any]]] = {}
    for key, value in found.items():
        case, scheme, share, T, _ = key.split(" | ")
        if float(T) == temperature:
            row = rows.setdefault((case, scheme), {})
            row.setdefault(float(share), []).append(value)
    lines = ["| | scheme | reference |" + "".join(f" {s} |" for s in shares) + " s |"]
    lines.append("|---" * (len(shares) + 4) + "|")
    for (case, scheme), by_share in rows.items():
        reference = mean(r["reference"] for rs in by_share.values() for r in rs)
        cells = []
        for share in shares:
            errors = [r["error"] for r in by_share.get(share, [])]
            spread = stdev(errors) / len(errors) ** 0.5 if len(errors) > 1 else 0.0
            cells.append(f"{mean(errors):.2f} ± {spread:.2f}" if errors else "")
        seconds = "/".join(
            f"{mean(r['seconds'] for r in by_share[s]):.0f}"
            for s in shares
            if s in by_share
        )
        lines.append(
            f"| {case} | {scheme} | {reference:.2f} | {' | '.join(cells)} | {seconds} |"
        )
    return "\n".join(lines)


def main() -> None:
    names = ["digits", "friedman", "lenet300", "lenet5"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nets", nargs="+", default=names, choices=names)
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES))
    parser.add_argument("--temperature", type=float, default=4.0)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--data", default=os.environ.get("SKLC_MNIST"))
    parser.add_argument("--reference", help="weights of LeNet300, else it is trained")
    parser.add_argument("--json", type=Path, help="results, to go on from")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: dict[str, Any] = {}
    if options.json and options.json.exists():
        found = json.loads(options.json.read_text())
    for key, value in runs(options, found):
        found[key] = value
        print(key, value, flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1))
    print(table(found, options.shares, options.temperature))


if __name__ == "__main__":
    main()
