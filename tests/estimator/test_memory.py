"""Trained references are cached, and only those that are the same."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib import Memory
from nets import classifier, compressor, data
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset
from torch import nn

from sklc import LCCompressor
from sklc.codes import decompress
from sklc.estimator import reference
from sklc.estimator.delegation import l_step_of
from sklc.estimator.reference import identity
from sklc.lstep import LinearLearner, NetLearner
from sklc.schemes import AdaptiveQuantization, ConstraintL0Pruning

pytestmark = pytest.mark.filterwarnings("ignore:The LC steps did not improve")


class Net(nn.Module):
    def __init__(self, n_hidden=4):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(5, n_hidden), nn.Linear(n_hidden, 3)

    def forward(self, x):
        return self.fc2(torch.tanh(self.fc1(x)))


@pytest.fixture
def trainings(monkeypatch):
    """Count how often references are trained."""
    seen = []
    for kind in NetLearner, LinearLearner:

        def spy(self, train=kind.train_reference):
            seen.append(type(self).__name__)
            train(self)

        monkeypatch.setattr(kind, "train_reference", spy)
    return seen


def net(**options):
    options = {"iterator_train__shuffle": True, **options}
    return compressor(classifier(module=Net, **options))


MODELS = {
    "net": net(),
    "logistic": LCCompressor(
        LogisticRegression(), AdaptiveQuantization(k=2), max_iter=3, random_state=0
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_reference_is_trained_once_and_the_result_is_the_same(
    name, tmp_path, trainings
):
    X, y = data()
    alone = clone(MODELS[name]).fit(X, y)
    cached = clone(MODELS[name]).set_params(memory=str(tmp_path))
    for _ in range(2):
        found = clone(cached).fit(X, y)
        for weight, other in zip(
            decompress(alone.theta_).values(),
            decompress(found.theta_).values(),
            strict=True,
        ):
            assert torch.equal(weight, other)
        assert np.array_equal(alone.predict(X), found.predict(X))
    assert len(trainings) == 2  # alone, and once


@pytest.mark.parametrize("name", MODELS)
def test_a_search_over_schemes_trains_each_fold_once(name, tmp_path, trainings):
    X, y = data()
    lc = clone(MODELS[name]).set_params(memory=Memory(tmp_path, verbose=0))
    schemes = [AdaptiveQuantization(k=2), ConstraintL0Pruning(kappa=9)]
    GridSearchCV(lc, {"scheme": schemes}, cv=2).fit(X, y)
    assert len(trainings) == 3  # two folds, and all of the data


def key(estimator, seed=0, X=None):
    given, y = data()
    return identity(estimator, seed, given if X is None else X, y, {})


def test_what_differs_has_another_key():
    X, _ = data()
    same = key(net().estimator)
    assert key(net().estimator) == same
    for other in (
        key(net(lr=0.2).estimator),
        key(net(module__n_hidden=5).estimator),
        key(net().estimator, seed=1),
        key(net().estimator, X=X + 1),
        key(LogisticRegression()),
    ):
        assert other != same
    assert key(Ridge(alpha=1.0)) != key(Ridge(alpha=2.0))


@pytest.mark.parametrize("package", ["sklc", "torch", "numpy"])
def test_other_versions_have_another_key(package, monkeypatch):
    same = key(net().estimator)
    monkeypatch.setattr(reference, "__version__", "9" if package == "sklc" else "1")
    monkeypatch.setattr(reference, "version", lambda name: str(name == package))
    other = key(net().estimator)
    assert other["versions"][package] != same["versions"][package]
    assert {**other, "versions": same["versions"]} == same


def test_the_source_of_a_module_is_part_of_the_key():
    sources = key(net().estimator)["sources"]
    assert "torch.tanh" in sources["test_memory.Net"]
    assert not any(name.startswith(("torch", "skorch")) for name in sources)


def test_the_weights_of_a_module_that_is_an_object_are_part_of_the_key():
    one, other = nn.Linear(5, 3), nn.Linear(5, 3)
    make = NeuralNetClassifier
    assert key(make(one, criterion=nn.CrossEntropyLoss)) != key(
        make(other, criterion=nn.CrossEntropyLoss)
    )


def test_another_process_makes_the_same_key():
    here = Path(__file__).parent
    code = "import json, test_memory as t; print(json.dumps(t.key(t.net().estimator)))"
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=here,
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": f"{here}:{here.parent}",
            },
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1] != ""


def test_datasets_are_not_cached(tmp_path, trainings):
    X, y = data()
    lc = net().set_params(memory=str(tmp_path))
    for _ in range(2):
        with pytest.warns(UserWarning, match="a Dataset may change unseen, so this"):
            clone(lc).fit(Dataset(X, y), None)
    assert len(trainings) == 2


def test_what_is_trained_needs_no_cache(tmp_path):
    X, y = data()
    trained = clone(net().estimator).fit(X, y)
    lc = net().set_params(estimator=FrozenEstimator(trained), memory=str(tmp_path))
    lc.fit(X, y)
    assert not list(tmp_path.iterdir())


def test_without_a_seed_the_generators_of_the_caller_go_on(tmp_path):
    X, y = data()
    lc = net().set_params(memory=str(tmp_path), random_state=None)
    clone(lc).fit(X, y)
    draws = []
    for _ in range(2):
        clone(lc).fit(X, y)
        draws.append(torch.rand(1).item())
    assert draws[0] != draws[1]


def test_a_bad_memory_is_refused():
    with pytest.raises(TypeError, match=r"memory must be a folder, a joblib\.Memory"):
        net().set_params(memory=3).fit(*data())


class Base(nn.Module):
    """What a module inherits from, and is made of."""

    def forward(self, x):
        return torch.tanh(x)


class Derived(Base):
    def __init__(self):
        super().__init__()
        self.inner, self.linear = Base(), nn.Linear(5, 3)

    def forward(self, x):
        return self.linear(super().forward(x))


def derived():
    return Derived()


def test_the_sources_of_bases_and_of_parts_are_in_the_key():
    X, y = data()
    assert "test_memory.Base" in key(classifier(module=Derived))["sources"]
    lc = compressor(classifier(module=derived))
    learner = l_step_of(lc).start(lc.estimator, X, y, n_steps=1)
    found = identity(lc.estimator, 0, X, y, parts=learner.parts())["sources"]
    assert {"test_memory.Derived", "test_memory.Base"} <= found.keys()


def factory(n_hidden):
    def make():
        return Net(n_hidden)

    return make


def test_what_functions_enclose_is_in_the_key(tmp_path, trainings):
    X, y = data()
    for n_hidden in (4, 8, 4):
        lc = compressor(classifier(module=factory(n_hidden)), memory=str(tmp_path))
        assert lc.fit(X, y).estimator_.module_.fc1.out_features == n_hidden
    assert len(trainings) == 2


def test_memory_may_be_a_path(tmp_path, trainings):
    for _ in range(2):
        net().set_params(memory=tmp_path).fit(*data())
    assert len(trainings) == 1
