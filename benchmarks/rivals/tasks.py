"""Tasks: a net, its data, and a trained reference for every seed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import fetch_openml, load_digits
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from benchmarks.rivals.nets import NETS
from benchmarks.rivals.training import Data, Labels, train
from examples.lenet300 import mnist

#: Where MNIST (IDX files) and CIFAR-10 (its binary files) are; openml.org otherwise.
MNIST, CIFAR10 = os.environ.get("SKLC_MNIST"), os.environ.get("SKLC_CIFAR10")


@dataclass(frozen=True)
class Recipe:
    """How a net is trained.

    Attributes
    ----------
    data : str
        Which samples, in which form.
    n_train : int
        How many of them, from the first on.
    lr : float
        Learning rate of the reference, of momentum 0.9 (Nesterov).
    epochs : int
        Of the reference, with a cosine rate.
    batch_size : int
    """

    data: str
    n_train: int
    lr: float
    epochs: int
    batch_size: int = 128


RECIPES = {
    "digits": Recipe("digits", 898, 0.1, 60, 32),
    "lenet300": Recipe("mnist rows", 4000, 0.1, 30),
    "lenet5": Recipe("mnist images", 3000, 0.02, 30),
    "resnet": Recipe("cifar10", 3000, 0.05, 15),
    "lstm": Recipe("mnist sequences", 4000, 0.1, 40),
}


@dataclass(frozen=True)
class Task:
    """A net to compress: its data, recipe, and the reference of one seed."""

    name: str
    seed: int
    recipe: Recipe
    train: Data
    test: Data
    reference: nn.Module

    def module(self) -> nn.Module:
        """Return a copy of the reference."""
        module = NETS[self.name]()
        module.load_state_dict(self.reference.state_dict())
        return module

    def net(self, callbacks: Sequence[Callback] = ()) -> NeuralNetClassifier:
        """Return the reference as a user has it: a fitted net of skorch."""
        net = NeuralNetClassifier(
            NETS[self.name],
            criterion=nn.CrossEntropyLoss,
            optimizer__momentum=0.9,
            optimizer__nesterov=True,
            lr=self.recipe.lr,
            batch_size=self.recipe.batch_size,
            callbacks=list(callbacks),
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
        ).initialize()
        net.module_.load_state_dict(self.reference.state_dict())
        net.check_data(self.train.X.numpy(), self.train.y.numpy())
        return net


def task(name: str, seed: int, cache_folder: Path) -> Task:
    """Return a task; its reference is trained unless the folder has it."""
    recipe = RECIPES[name]
    train_data, test = data(recipe.data, recipe.n_train)
    torch.manual_seed(seed)
    reference = NETS[name]()
    path = cache_folder / f"{name}-{seed}.pt"
    if path.exists():
        reference.load_state_dict(torch.load(path, weights_only=True))
    else:
        train(
            reference,
            train_data,
            Labels(train_data.y),
            lr=recipe.lr,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            seed=seed,
        )
        cache_folder.mkdir(parents=True, exist_ok=True)
        torch.save(reference.state_dict(), path.with_suffix(f".{os.getpid()}"))
        path.with_suffix(f".{os.getpid()}").replace(path)
    return Task(name, seed, recipe, train_data, test, reference.eval())


@cache
def data(kind: str, n_train: int) -> tuple[Data, Data]:
    """Return the first training samples, and all that are held out."""
    source, _, form = kind.partition(" ")
    X, y, start = {"digits": _digits, "mnist": _mnist, "cifar10": _cifar10}[source]()
    X -= X[:start].mean(0)
    if form == "images":
        X = X.unsqueeze(1)
    elif form == "rows":
        X = X.flatten(1)
    elif form == "sequences":
        X = avg_pool2d(X.unsqueeze(1), 2).squeeze(1)
    first, rest = slice(n_train), slice(start, None)
    return (
        Data(X[first].contiguous(), y[first]),
        Data(X[rest].contiguous(), y[rest]),
    )


def _digits() -> tuple[Tensor, Tensor, int]:
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    return _tensors(X[order] / 16, y[order], 898)


def _mnist() -> tuple[Tensor, Tensor, int]:
    X, y, X_test, y_test = mnist(MNIST)
    X = np.concatenate([X, X_test]).reshape(-1, 28, 28)
    return _tensors(X, np.concatenate([y, y_test]), len(X) - len(X_test))


def _cifar10() -> tuple[Tensor, Tensor, int]:
    if CIFAR10 is None:
        X, y = fetch_openml("CIFAR_10", return_X_y=True, as_frame=False)
    else:
        names = [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]
        files = [np.fromfile(Path(CIFAR10, name), np.uint8) for name in names]
        records = np.concatenate(files).reshape(-1, 3073)
        X, y = records[:, 1:], records[:, 0]
    images = torch.as_tensor(X.reshape(-1, 3, 32, 32), dtype=torch.float32)
    return _tensors(avg_pool2d(images, 2).numpy() / 64, y, 50_000)


def _tensors(X: np.ndarray, y: np.ndarray, start: int) -> tuple[Tensor, Tensor, int]:
    """Return samples as tensors, and the number of those to train on."""
    return (
        torch.as_tensor(X, dtype=torch.float32),
        torch.as_tensor(y.astype("int64")),
        start,
    )
