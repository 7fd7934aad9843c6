"""Runs: which there are to do, and how one is measured."""

import math
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from torch import nn

from benchmarks.rivals import records
from benchmarks.rivals.cells import KEPT, LEVELS, Cell, bits, scheme_of
from benchmarks.rivals.methods import Method, Run, direct, gmp, lc, straight_through
from benchmarks.rivals.records import Record
from benchmarks.rivals.tasks import RECIPES, Task
from benchmarks.rivals.training import (
    Clock,
    Distilled,
    DivergedError,
    Labels,
    Loss,
    test_error,
    train,
    training_loss,
)

#: Learning rates that a rival may choose from, in units of the reference's.
RATES = 1.0, 0.3, 3.0
LOSSES = "labels", "distilled"


def _parq(run: Run) -> nn.Module:
    from benchmarks.rivals.torchao import parq

    return parq(run)


def _pat(run: Run) -> nn.Module:
    from benchmarks.rivals.torchao import pat

    return pat(run)


METHODS: dict[str, Method] = {
    "lc": lc,
    "direct": direct,
    "gmp": gmp,
    "ste": straight_through,
    "parq": _parq,
    "pat": _pat,
}


def methods_of(scheme: str) -> list[str]:
    """Return the methods that there are for a scheme: LC, then its rivals."""
    if scheme in LEVELS:
        return ["lc", "direct", "ste", "parq"]
    if scheme in KEPT:
        return ["lc", "direct", "gmp", "pat"]
    if scheme == "rank":
        return ["lc", "direct", "pat"]
    return ["lc", "direct", "ste"]


class Bench:
    """A file of results, and what adds to it.

    Parameters
    ----------
    path : Path
        The file.
    task : callable
        From the name of a net and a seed to the task.
    version : str
        Of sklc; LC's runs are those of one.
    """

    def __init__(
        self, path: Path, task: Callable[[str, int], Task], version: str
    ) -> None:
        self.path, self.version = path, version
        self.task = cache(lambda net, seed: warmed_up(task(net, seed)))

    def todo(
        self,
        cell: Cell,
        loss: str,
        methods: Sequence[str],
        seeds: Sequence[int],
        again: Sequence[str] = (),
    ) -> Iterator[tuple[str, int, float | None]]:
        """Yield method, seed and learning rate of what is missing for a cell.

        A rival runs at all rates with the first seed, and at the best one with the
        others; what has been run is looked at anew before each.
        """
        for method in (m for m in methods_of(cell.scheme) if m in methods):
            for seed in seeds:
                for lr in self._rates(cell, loss, method, seed):
                    known = {records.key(r): r for r in records.read(self.path)}
                    old = known.get((*_key(cell, loss, method), seed, lr))
                    stale = method in again and old and old["version"] != self.version
                    if old is None or stale:
                        yield method, seed, lr

    def _rates(
        self, cell: Cell, loss: str, method: str, seed: int
    ) -> Sequence[float | None]:
        if method == "lc":
            return [None]
        lr = RECIPES[cell.net].lr
        if seed == 0:
            return [round(rate * lr, 6) for rate in RATES]
        first = [
            record
            for record in records.read(self.path)
            if belongs(record, cell, loss, method) and record["seed"] == 0
        ]
        if len(first) < len(RATES):
            return []  # the first seed has not chosen yet
        return [best_rate(first)]

    def run(
        self, cell: Cell, loss: str, method: str, seed: int, lr: float | None
    ) -> Record:
        """Measure one run, and add it to the file."""
        record = measured(self.task(cell.net, seed), cell, loss, method, lr)
        record["version"] = self.version
        records.add(self.path, record)
        return record


def _key(cell: Cell, loss: str, method: str) -> tuple:
    return loss, *cell, method


def belongs(record: Record, cell: Cell, loss: str, method: str) -> bool:
    """Whether a record is of a cell, loss and method."""
    return records.key(record)[:5] == _key(cell, loss, method)


def best_rate(first: Sequence[Record]) -> float:
    """Return the rate with the least test error on the first seed."""
    return min(first, key=lambda r: _number(r["test_error"]))["lr"]


def _number(value: float | None) -> float:
    return math.inf if value is None else value


def measured(
    task: Task, cell: Cell, loss: str, method: str, lr: float | None
) -> Record:
    """Run a method in a cell, and return what came of it.

    A run that diverged has neither error nor loss.
    """
    module = task.module()
    scheme = scheme_of(cell.scheme, module)
    objective = loss_of(loss, task)
    bare = partial(_bare_epoch, task, objective)
    run = Run(task, cell.scheme, scheme, cell.epochs, objective, lr)
    record: Record = {
        "loss": loss,
        **cell._asdict(),
        "method": method,
        "seed": task.seed,
        "lr": lr,
        "test_error": None,
        "training_loss": None,
        "bits": None,
    }
    epochs = [bare()]
    with Clock() as clock:
        try:
            result = METHODS[method](run)
        except DivergedError:
            result = None
    epochs.append(bare())
    if result is not None:
        record["bits"] = bits(cell.scheme, scheme, result)
        record["test_error"] = test_error(result, task.test)
        record["training_loss"] = training_loss(result, task.train, objective)
    record["wall"] = round(clock.wall, 3)
    record["process"] = round(clock.process, 3)
    record["bare_epoch"] = round(sum(epochs) / len(epochs), 5)
    return record


def loss_of(name: str, task: Task) -> Loss:
    """Return a loss by its name."""
    if name == "labels":
        return Labels(task.train.y)
    return Distilled(task.reference, task.train.X)


def warmed_up(task: Task) -> Task:
    """Train for an epoch, so that what happens once has happened."""
    _bare_epoch(task, loss_of("labels", task))
    return task


def _bare_epoch(task: Task, loss: Loss) -> float:
    """Return the process seconds of an epoch of plain training."""
    recipe = task.recipe
    with Clock() as clock:
        train(
            task.module(),
            task.train,
            loss,
            lr=recipe.lr / 10,
            epochs=1,
            batch_size=recipe.batch_size,
            seed=0,
        )
    return clock.process


def version() -> str:
    """Return the last commit that changed sklc, and whether it changed since."""

    def git(*arguments: str) -> str:
        output = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True
        )
        return output.stdout.strip()

    changed = "+" if git("status", "--porcelain", "--", "sklc") else ""
    return git("log", "-1", "--format=%h", "--", "sklc") + changed
