r"""Speed of the L step of nets, against the loop that one writes by hand.

    python benchmarks/l_step.py --data DIR      # the folder of MNIST's IDX files
    python benchmarks/l_step.py --quick         # without the whole run

One epoch of LeNet300 on MNIST (batches of 256), and of a small net on a table
(20,000 x 20, 32 hidden units, batches of 128): a plain torch loop without any penalty;
skorch as it comes, ``train_split=None``; and an L step of one epoch, pull included.
Then a whole run of the LC algorithm of 41 epochs (40 steps; C steps, losses of the
iterates and all), against 41 epochs of the plain loop. All of them take turns in this
process, on one thread or as many as ``--threads`` says; times are medians.

Bars (exit status 1 if one is missed): an L step takes at most 1.12 times the plain loop
and 0.9 times skorch on LeNet300, 1.6 times the plain loop on the table; the whole run
takes at most 1.2 times the plain loop.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from torch import nn

from sklc import LCCompressor
from sklc.lstep import NetLStep
from sklc.schemes import AdaptiveQuantization

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from lenet300 import LeNet300, mnist

Data = tuple[np.ndarray, np.ndarray]
LR, MOMENTUM = 0.05, 0.9


class Table(nn.Module):
    """A small net."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(20, 32)
        self.fc2 = nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.fc2(torch.relu(self.fc1(x)))


def new_net(
    module: type[nn.Module], batch_size: int, device: str
) -> NeuralNetClassifier:
    """Return a net that is not trained."""
    torch.manual_seed(0)
    return NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        optimizer__momentum=MOMENTUM,
        optimizer__nesterov=True,
        lr=LR,
        batch_size=batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        device=device,
    ).initialize()


def plain_loop(net: NeuralNetClassifier, data: Data, device: str) -> Callable[[], None]:
    """Return an epoch of the loop that one writes by hand."""
    X, y = (torch.as_tensor(array).to(device) for array in data)
    module = net.module_
    optimizer = torch.optim.SGD(
        module.parameters(), lr=LR, momentum=MOMENTUM, nesterov=True
    )

    def epoch() -> None:
        module.train()
        order = torch.randperm(len(X)).to(device)
        for start in range(0, len(X), net.batch_size):
            batch = order[start : start + net.batch_size]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(module(X[batch]), y[batch])
            loss.backward()
            optimizer.step()
            loss.item()

    return epoch


def skorch_epoch(net: NeuralNetClassifier, data: Data) -> Callable[[], None]:
    """Return an epoch of skorch as it comes."""
    return lambda: net.partial_fit(*data, epochs=1)


def lc_epoch(net: NeuralNetClassifier, data: Data) -> Callable[[], None]:
    """Return an L step of one epoch that pulls all weights."""
    learner = NetLStep(epochs=1).start(FrozenEstimator(net), *data, n_steps=1)
    target = {
        name: weight.clone()
        for name, weight in learner.weights().items()
        if weight.ndim > 1
    }
    return lambda: learner.learn(target, 1e-3, 1)


def lc_run(net: NeuralNetClassifier, data: Data) -> Callable[[], None]:
    """Return a whole run of 41 epochs."""
    lc = LCCompressor(
        FrozenEstimator(net),
        AdaptiveQuantization(k=2),
        l_step=NetLStep(epochs=1, first_epochs=2),
        mu_init=1e-3,
        mu_factor=1.1,
        max_iter=40,
        tol=0.0,
        random_state=0,
    )
    return lambda: lc.fit(*data)


def seconds(function: Callable[[], None]) -> float:
    """Return how long a call takes."""
    start = perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter() - start


def interleaved(functions: dict[str, Callable[[], None]], rounds: int) -> dict:
    """Return the median times of functions that take turns."""
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {name: median(values) for name, values in times.items()}


def main() -> int:
    """Measure, print, and say whether a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default=os.environ.get("SKLC_MNIST"))
    parser.add_argument("--quick", action="store_true", help="without the whole run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = options.device

    random = np.random.default_rng(0)
    table = random.standard_normal((20_000, 20), dtype=np.float32)
    digits = mnist(options.data)[:2]
    tasks = {
        "LeNet300": (LeNet300, 256, digits, {"loop": 1.12, "skorch": 0.9}),
        "table": (Table, 128, (table, (table[:, 0] > 0).astype(int)), {"loop": 1.6}),
    }
    missed = 0

    def report(
        what: str, time: float, rival: str, rival_time: float, bar: float
    ) -> None:
        nonlocal missed
        ratio = time / rival_time
        missed += ratio > bar
        verdict = "" if ratio <= bar else "  missed"
        print(
            f"{what:<24}{time:9.3f} s  {rival:<14}{rival_time:9.3f} s"
            f"{ratio:8.2f}  bar {bar:.2f}{verdict}",
            flush=True,
        )

    for name, (module, batch_size, data, bars) in tasks.items():
        nets = [new_net(module, batch_size, device) for _ in range(3)]
        times = interleaved(
            {
                "loop": plain_loop(nets[0], data, device),
                "skorch": skorch_epoch(nets[1], data),
                "lc": lc_epoch(nets[2], data),
            },
            options.rounds,
        )
        for rival, bar in bars.items():
            report(f"{name}, LC epoch", times["lc"], rival, times[rival], bar)
    if not options.quick:
        nets = [new_net(LeNet300, 256, device) for _ in range(2)]
        loop, run = plain_loop(nets[0], digits, device), lc_run(nets[1], digits)
        pairs = [
            (seconds(run), sum(seconds(loop) for _ in range(41))) for _ in range(3)
        ]
        lc, plain = (median(column) for column in zip(*pairs, strict=True))
        report("LeNet300, 41 epochs", lc, "41 x loop", plain, 1.2)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
