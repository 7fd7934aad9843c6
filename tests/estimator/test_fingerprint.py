"""What two processes agree on: descriptions of configurations, digests of data."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from nets import classifier, module
from scipy import sparse
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import EarlyStopping, EpochScoring, LRScheduler
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import SliceDataset
from torch import nn
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from sklc.estimator.fingerprint import describe, digest, unseen
from sklc.lstep import FunctionLStep, NetLStep
from sklc.schemes import AdaptiveQuantization, Additive, ConstraintL0Pruning, Mixed


def chosen(names):
    return names[:1]


class Thing:
    """Known by its address only."""

    def __init__(self, content=None):
        self.content = content


def values():
    """Return values of all kinds that a configuration may hold."""
    return [
        None,
        [True, 3, 2.5, "text", float("inf")],
        (np.int64(3), np.float32(0.5), np.bool_(True)),
        {"b": 1, "a": {"d": 2, "c": 3}},
        {"one", "two", "three", "four"},
        frozenset({"five", "six"}),
        nn.Linear,
        chosen,
        lambda x: x,
        np.sum,
        np.add,
        torch.relu,
        torch.Tensor.relu,
        functools.partial(chosen, "x"),
        functools.partial(lambda x: x, 3),
        torch.float32,
        torch.device("cpu"),
        np.arange(3.0),
        torch.arange(3.0),
        Thing({"a", "b", "c"}),
        np.random.RandomState(0),
        NetLStep(epochs=3),
        FunctionLStep(chosen),
        AdaptiveQuantization(k=3),
        Additive([("a", AdaptiveQuantization()), ("b", ConstraintL0Pruning(5))]),
        Mixed([("a", AdaptiveQuantization(), chosen), ("b", NetLStep(), "fc*")]),
        module(),
        FrozenEstimator(module()),
        classifier(train_split=ValidSplit(3)),
        classifier(
            module=nn.Linear,
            module__in_features=5,
            callbacks=[
                ("stop", EarlyStopping(patience=7)),
                EpochScoring("accuracy", name="acc"),
                LRScheduler(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda e: e),
            ],
            criterion__weight=torch.ones(3),
        ),
    ]


def data():
    """Return data of all kinds."""
    X = np.arange(12.0).reshape(4, 3)
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    return [
        X,
        X.astype("float32"),
        X[:, ::2],
        torch.as_tensor(X),
        torch.as_tensor(X).bfloat16(),
        torch.as_tensor(X).int(),
        nn.Parameter(torch.as_tensor(X)),
        torch.as_tensor(X).to_sparse(),
        frame,
        frame["b"],
        frame["a"],
        np.array(["x", "y", None], dtype=object),
        sparse.csr_array(X),
        sparse.coo_array(X),
        {"b": X, "a": torch.as_tensor(X)},
        [X, (X, None)],
        list(range(5)),
        ["x", "y"],
        Dataset(X, X),
        None,
    ]


def told():
    return json.dumps([[describe(v) for v in values()], [digest(d) for d in data()]])


def test_processes_agree():
    """Whatever the seed of their hashes, and wherever their objects lie."""
    code = "import test_fingerprint; print(test_fingerprint.told())"
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    seed = str(int(os.environ.get("PYTHONHASHSEED", "0") == "0"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    here, there = told(), done.stdout.strip()
    for ours, theirs in zip(json.loads(here), json.loads(there), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one == other
    assert "0x" not in here


def test_descriptions_are_json():
    for value in values():
        text = describe(value)
        assert json.loads(json.dumps(text)) == text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (AdaptiveQuantization(k=2), AdaptiveQuantization(k=3)),
        (AdaptiveQuantization(k=2), ConstraintL0Pruning()),
        (
            Mixed([("a", AdaptiveQuantization(k=2), "fc")]),
            Mixed([("a", AdaptiveQuantization(k=3), "fc")]),
        ),
        (classifier(), classifier(lr=0.2)),
        (classifier(), classifier(train_split=ValidSplit(3))),
        (
            classifier(train_split=ValidSplit(3)),
            classifier(train_split=ValidSplit(4)),
        ),
        (
            classifier(callbacks=[EarlyStopping(patience=3)]),
            classifier(callbacks=[EarlyStopping(patience=4)]),
        ),
        (
            classifier(criterion__weight=torch.ones(3)),
            classifier(criterion__weight=torch.zeros(3)),
        ),
        (classifier(), FrozenEstimator(classifier())),
        (FrozenEstimator(classifier()), FrozenEstimator(classifier(lr=0.2))),
        (module(), module(n_out=4)),
        (Thing(1), Thing(2)),
        (np.zeros(2000), np.r_[np.zeros(1000), 1, np.zeros(999)]),
        ([1, 2], [2, 1]),
        (1, "1"),
        (True, "True"),
    ],
)
def test_what_differs_is_described_differently(one, other):
    assert describe(one) != describe(other)


def test_numbers_of_numpy_are_numbers():
    assert describe(AdaptiveQuantization(k=np.int64(3))) == describe(
        AdaptiveQuantization(k=3)
    )
    assert describe(np.float64(0.5)) == 0.5


def test_equal_data_have_equal_digests():
    X = np.arange(12.0).reshape(4, 3)
    assert digest(X) == digest(X.copy()) == digest([X][0])
    assert digest(torch.as_tensor(X)) == digest(X)
    assert digest(torch.as_tensor(X).to_sparse()) == digest(X)
    assert digest(sparse.csr_array(X)) == digest(sparse.csr_array(X).copy())
    assert digest({"a": X, "b": 1}) == digest({"b": 1, "a": X})
    words = ["".join(["l", "ong"]), "".join(["l", "ong"])]
    assert digest(np.array(words, dtype=object)) == digest(
        np.array([words[0]] * 2, dtype=object)
    )


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, sparse.csr_array])
def test_a_small_change_changes_the_digest(kind):
    X = np.arange(12.0).reshape(4, 3)
    changed = X.copy()
    changed[2, 1] += 1e-12
    assert digest(kind(X)) != digest(kind(changed))
    assert digest([kind(X), X]) != digest([kind(changed), X])
    assert digest({"a": kind(X)}) != digest({"a": kind(changed)})


class Own(Dataset):
    """A Dataset of somebody's own."""


def test_datasets_in_memory_are_digested():
    X = np.arange(12.0).reshape(4, 3)
    tensors = torch.as_tensor(X)
    for make in (
        Dataset,
        lambda X: Dataset({"a": X}, X[:, 0]),
        lambda X: TensorDataset(torch.as_tensor(X)),
        lambda X: Subset(TensorDataset(tensors), X[:, 0].astype(int) % 4),
        lambda X: ConcatDataset([Dataset(X), Dataset(tensors)]),
        lambda X: SliceDataset(Dataset(X)),
    ):
        assert digest(make(X)) == digest(make(X.copy())) != digest(make(X + 1))
        assert unseen(make(X)) == []
    assert digest(Dataset(X)) != digest(TensorDataset(tensors))


def test_of_other_datasets_the_class_and_the_length_count():
    X = np.arange(12.0).reshape(4, 3)
    assert digest(Own(X)) == digest(Own(X + 1)) != digest(Own(X[:3]))
    assert unseen([X, {"a": Own(X)}]) == unseen(Subset(Own(X), [0])) == ["Own"]


def scaled(factor):
    return lambda x: factor * x


def named(x, *, factor=2.0):
    return factor * x


def test_functions_are_known_by_what_they_enclose_and_by_their_defaults():
    assert describe(scaled(1.0)) == describe(scaled(1.0))
    assert describe(scaled(1.0)) != describe(scaled(2.0))
    assert describe(scaled(scaled(1.0))) != describe(scaled(scaled(2.0)))
    assert describe(named)["keywords"] == {"factor": 2.0}
    assert describe(chosen).startswith("test_fingerprint.chosen ")
    assert describe(np.sum) == "numpy.sum"


def made(source):
    there = {"__name__": "made"}
    exec(compile(source, "made", "exec"), there)
    return there["it"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("it = lambda x: x + 1", "it = lambda x: x + 2"),
        ("it = lambda x: x + 1", "it = lambda x: x - 1"),
        ("it = lambda x: x.real", "it = lambda x: x.imag"),
        ("def it(x): return [y + 1 for y in x]", "def it(x): return [y for y in x]"),
        ("def it(x): return x in {1, 2}", "def it(x): return x in {1, 3}"),
        (
            "def f(x): return 1\ndef it(x): return f(x)",
            "def f(x): return 2\ndef it(x): return f(x)",
        ),
        ("class it:\n def a(self): return 1", "class it:\n def a(self): return 2"),
        ("class it:\n def a(self): return 1", "class it:\n def b(self): return 1"),
        ("class it:\n a = 1", "class it:\n a = 2"),
        (
            "class it:\n @property\n def a(self): return 1",
            "class it:\n @property\n def a(self): return 2",
        ),
        (
            "class it:\n @staticmethod\n def a(): return 1",
            "class it:\n @staticmethod\n def a(): return 2",
        ),
        (
            "class b:\n def a(self): return 1\nclass it(b): pass",
            "class b:\n def a(self): return 2\nclass it(b): pass",
        ),
        (
            "class b:\n def a(self): return 1\nit = b()",
            "class b:\n def a(self): return 2\nit = b()",
        ),
        (
            "class b:\n def a(self): return 1\nit = b().a",
            "class b:\n def a(self): return 2\nit = b().a",
        ),
        (
            "from functools import partial\nit = partial(lambda x: x, 1)",
            "from functools import partial\nit = partial(lambda x: -x, 1)",
        ),
    ],
)
def test_what_does_something_else_is_described_differently(one, other):
    assert describe(made(one)) == describe(made(f"\n\n{one}  # as it was"))
    assert describe(made(one)) != describe(made(other))


def test_functions_that_enclose_themselves_are_described():
    def again(n):
        return again(n - 1) if n else later

    assert "again" in json.dumps(describe(again))
    later = 3
    assert again(2) == later
