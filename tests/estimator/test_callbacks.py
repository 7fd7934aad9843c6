"""scikit-learn's callbacks over the LC steps."""

import nets
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklc import LCCompressor
from sklc.schemes import AdaptiveQuantization

callback = pytest.importorskip("sklearn.callback")
pytestmark = pytest.mark.filterwarnings("ignore:The LC steps did not improve")


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 5))
    return X, (X[:, 0] + X[:, 1] > 0).astype(int)


def compressor(**options):
    options = {"max_iter": 6, "tol": 0.0, **options}
    return LCCompressor(LogisticRegression(), AdaptiveQuantization(k=2), **options)


class Recorder:
    """Remember the tasks; stop after some."""

    def __init__(self, stop_after=None):
        self.stop_after, self.events, self.scores = stop_after, [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.events.append(f"end {context.task_name}")
        self.scores.append(fitted_estimator.score(X, y))
        return context.task_name == "LC step" and context.task_id == self.stop_after

    def teardown(self, estimator, context):
        self.events.append("teardown")


def test_every_step_is_a_task(data):
    recorder = Recorder()
    lc = compressor().set_callbacks(recorder).fit(*data)
    step = ["begin LC step", "end LC step"]
    assert recorder.events == [
        "setup",
        "begin fit",
        *step * 7,  # direct compression, and six
        "end fit",
        "teardown",
    ]
    assert recorder.scores[-1] == lc.score(*data)


def test_what_callbacks_see_does_not_change_the_result(data):
    alone = compressor().fit(*data)
    watched = compressor().set_callbacks(Recorder()).fit(*data)
    assert np.array_equal(alone.estimator_.coef_, watched.estimator_.coef_)


def test_a_callback_can_stop_the_run(data):
    recorder = Recorder(stop_after=2)
    lc = compressor(finetune=0).set_callbacks(recorder).fit(*data)
    assert (lc.n_iter_, lc.termination_condition_) == (2, "callback")
    assert recorder.events[-2:] == ["end fit", "teardown"]
    assert len(lc.history_) == 3


def test_a_scoring_monitor_logs_every_step(data):
    monitor = callback.ScoringMonitor(scoring="accuracy")
    compressor().set_callbacks(monitor).fit(*data)
    log = monitor.get_logs()
    steps = [row for row in log.data if row["task_name"] == "LC step"]
    assert len(steps) == 7
    assert all(0 <= row["accuracy"] <= 1 for row in steps)


def test_a_progress_bar_follows(data, capsys):
    pytest.importorskip("rich")
    compressor().set_callbacks(callback.ProgressBar()).fit(*data)
    assert "LCCompressor" in capsys.readouterr().out


def test_callbacks_reach_through_a_search(data):
    monitor = callback.ScoringMonitor(scoring="accuracy")
    inner = compressor().set_callbacks(monitor)
    search = GridSearchCV(inner, {"scheme__k": [1, 2]}, cv=2).fit(*data)
    assert search.best_params_ == {"scheme__k": 2}
    tasks = [row["task_name"] for row in monitor.get_logs().data]
    assert tasks.count("LC step") == 5 * 7  # two values of k, two folds, and the refit


def test_callbacks_survive_clone():
    recorder = Recorder()
    assert clone(compressor().set_callbacks(recorder))._skl_callbacks


class Unnamed(nn.Module):
    """A module that cannot be pickled."""

    def __init__(self):
        super().__init__()
        self.linear, self.squash = nn.Linear(5, 2), lambda x: torch.tanh(x)

    def forward(self, x):
        return self.linear(self.squash(x))


@pytest.mark.parametrize("kind", ["module", "frozen", "pipeline"])
def test_callbacks_see_models_that_cannot_be_pickled(kind, data):
    X, y = data[0].astype("float32"), data[1]
    model = Unnamed()
    if kind != "module":
        model = FrozenEstimator(nets.classifier(module=Unnamed).fit(X, y))
    if kind == "pipeline":
        model = make_pipeline(StandardScaler(), model)
    recorder = Recorder()
    options = {"l_step": None} if kind == "pipeline" else {}
    lc = nets.compressor(model, max_iter=2, tol=0.0, random_state=0, **options)
    alone = clone(lc).fit(X, y)
    lc.set_callbacks(recorder).fit(X, y)
    assert recorder.scores[-1] == lc.score(X, y)
    assert [e["loss"] for e in lc.history_] == [e["loss"] for e in alone.history_]


def test_what_a_callback_has_seen_stays_as_it_was(data):
    class Keeps(Recorder):
        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
            self.scores.append((fitted_estimator, fitted_estimator.predict_proba(X)))

    keeps = Keeps()
    X, y = data[0].astype("float32"), data[1]
    nets.compressor(keep="last", tol=0.0).set_callbacks(keeps).fit(X, y)
    for seen, then in keeps.scores:
        assert np.array_equal(seen.predict_proba(X), then)
    assert not np.array_equal(keeps.scores[0][1], keeps.scores[-1][1])


def test_callbacks_get_the_data_as_they_were_given():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 5)), rng.integers(0, 3, 60)
    names = np.array(["a", "b", "c"])[y]
    recorder = Recorder()
    lc = nets.compressor(max_iter=2, tol=0.0)
    lc.set_callbacks(recorder).fit(X, names)
    assert recorder.scores[-1] == lc.score(X, names)


def test_callbacks_get_the_metadata(data):
    class Weights(Recorder):
        def on_fit_task_begin(self, estimator, context, *, metadata):
            self.events.append(metadata)

    recorder, weight = Weights(), np.ones(len(data[0]))
    compressor().set_callbacks(recorder).fit(*data, sample_weight=weight)
    assert recorder.events[1]["sample_weight"] is weight
