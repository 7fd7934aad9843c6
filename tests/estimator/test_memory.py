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
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset
from torch import nn

from sklc import LCCompressor
from sklc.codes import decompress
from sklc.estimator import identity
from sklc.estimator.delegation import l_step_of
from sklc.estimator.identity import Identity
from sklc.lstep import LinearLearner, NetLearner
from sklc.schemes import AdaptiveQuantization, ConstraintL0Pruning


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


class Scaled(nn.CrossEntropyLoss):
    """A criterion that is trained."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("n_seen", torch.zeros(()), persistent=False)

    def forward(self, output, target):
        self.n_seen += len(target)
        return super().forward(self.scale * output, target)


def test_a_criterion_that_is_trained_is_cached_with_its_model(tmp_path, trainings):
    lc = net(criterion=Scaled).set_params(memory=str(tmp_path))
    one, other = (clone(lc).fit(*data()) for _ in range(2))
    assert len(trainings) == 1
    assert one.reference_loss_ == other.reference_loss_
    found = [each.estimator_.criterion_ for each in (one, other)]
    assert found[0].scale == found[1].scale != 1.0
    assert found[0].n_seen == found[1].n_seen > 0


@pytest.mark.parametrize("name", MODELS)
def test_a_search_over_schemes_trains_each_fold_once(name, tmp_path, trainings):
    X, y = data()
    lc = clone(MODELS[name]).set_params(memory=Memory(tmp_path, verbose=0))
    schemes = [AdaptiveQuantization(k=2), ConstraintL0Pruning(kappa=9)]
    GridSearchCV(lc, {"scheme": schemes}, cv=2).fit(X, y)
    assert len(trainings) == 3  # two folds, and all of the data


def key(lc, X=None, y=None, **fit_params):
    given, labels = data()
    X, y = given if X is None else X, labels if y is None else y
    learner = l_step_of(lc).start(lc.estimator, X, y, n_steps=1, **fit_params)
    identity = Identity.of(lc, learner, X, y, fit_params, trained=False)
    return identity.reference


def logistic(**options):
    return LCCompressor(LogisticRegression(**options), AdaptiveQuantization())


def test_what_differs_has_another_key():
    X, y = data()
    same = key(net())
    assert key(net()) == same
    assert key(net().set_params(scheme=ConstraintL0Pruning(), max_iter=9)) == same
    for other in (
        key(net(lr=0.2)),
        key(net(module__n_hidden=5)),
        key(net().set_params(random_state=1)),
        key(net(), X=X + 1),
        key(net(), y=y[::-1].copy()),
        key(logistic()),
    ):
        assert other != same
    assert key(logistic(C=1.0)) != key(logistic(C=2.0))
    weight = np.ones(len(y))
    assert key(logistic(), sample_weight=weight) != key(logistic())


@pytest.mark.parametrize("package", ["sklc", "torch", "numpy"])
def test_other_versions_have_another_key(package, monkeypatch):
    same = key(net())
    monkeypatch.setattr(identity, "__version__", "9" if package == "sklc" else "1")
    monkeypatch.setattr(identity, "version", lambda name: str(name == package))
    other = key(net())
    assert other["versions"][package] != same["versions"][package]
    assert {**other, "versions": same["versions"]} == same


def test_the_weights_of_a_module_that_is_an_object_are_part_of_the_key():
    one, other = (
        compressor(NeuralNetClassifier(nn.Linear(5, 3), criterion=nn.CrossEntropyLoss))
        for _ in range(2)
    )
    assert key(one) != key(other)


@pytest.mark.slow
def test_another_process_makes_the_same_key():
    here = Path(__file__).parent
    code = "import json, test_memory as t; print(json.dumps(t.key(t.net())))"
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
                "PYTHONPATH": os.pathsep.join([str(here), *filter(None, sys.path)]),
            },
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1] != ""


class Unseen(Dataset):
    """A Dataset of somebody's own."""


def test_data_that_cannot_be_seen_are_not_cached(tmp_path, trainings):
    X, y = data()
    lc = net().set_params(memory=str(tmp_path))
    for _ in range(2):
        with pytest.warns(UserWarning, match="what is in Unseen may change unseen, so"):
            clone(lc).fit(Unseen(X, y), None)
    assert len(trainings) == 2


def test_datasets_in_memory_are_cached(tmp_path, trainings):
    X, y = data()
    lc = net().set_params(memory=str(tmp_path))
    for given in Dataset(X, y), Dataset(X.copy(), y), Dataset(X + 1, y):
        clone(lc).fit(given, None)
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


def written(source, **names):
    """Return the class Net of a source."""
    there = {"nn": nn, "torch": torch, **names}
    exec(compile(source, "written", "exec"), there)
    return there["Net"]


SOURCE = """
def squashed(x):
    return torch.tanh(x)

class Base(nn.Module):
    def forward(self, x):
        return squashed(x)

class Net(Base):
    scale = 2.0

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, x):
        return self.linear(super().forward(x)) * self.scale
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.linear(super().forward(x))", "-self.linear(super().forward(x))"),
        ("return squashed(x)", "return -squashed(x)"),
        ("torch.tanh(x)", "torch.relu(x)"),
        ("scale = 2.0", "scale = 3.0"),
        ("class Net(Base)", "class Net(nn.Identity)"),
    ],
)
@pytest.mark.parametrize("made", [False, True])
def test_the_code_of_a_module_is_part_of_the_key(old, new, made):
    """Of its bases, and of the functions that it calls; even if a function made it."""

    def lc(source):
        kind = written(source, __name__="written")
        KINDS["net"] = kind
        return compressor(classifier(module=looked_up if made else kind))

    same = key(lc(SOURCE))
    assert key(lc(SOURCE)) == same
    assert key(lc(SOURCE.replace("def ", "  \n\ndef ", 1))) == same
    assert key(lc(SOURCE.replace(old, new))) != same


def test_code_without_a_module_is_part_of_the_key():
    """As in a notebook, or made by exec: it belongs to no library."""
    one, same, other = (
        key(compressor(classifier(module=written(source))))
        for source in (SOURCE, SOURCE, SOURCE.replace("tanh", "relu"))
    )
    assert one == same
    assert one != other


KINDS = {}


def looked_up():
    """Return a module whose class is not named here."""
    return KINDS["net"]()


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


def test_the_home_of_the_user_is_known(tmp_path, monkeypatch, trainings):
    monkeypatch.setenv("HOME", str(tmp_path))
    for memory in "~/cache", str(tmp_path / "cache"):
        net().set_params(memory=memory).fit(*data())
    assert len(trainings) == 1


def test_a_folder_that_cannot_be_used_is_told_before_any_training(tmp_path, trainings):
    (tmp_path / "file").touch()
    with pytest.raises(
        ValueError, match=r"memory='.*' cannot be used \(.*\): give a f"
    ):
        net().set_params(memory=str(tmp_path / "file")).fit(*data())
    assert trainings == []
