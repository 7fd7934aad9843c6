"""A run that is killed goes on, and ends as if nothing had happened."""

import json
import multiprocessing
import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
import runs
import torch
from nets import classifier, data, started, targets
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from torch import nn

from sklc.lstep import NetLStep
from sklc.schemes import AdaptiveQuantization, LowRank

pytestmark = pytest.mark.filterwarnings("ignore:.* did not improve on direct")


@pytest.fixture(scope="module")
def processes():
    """Return a context of processes, forked from one that has imported all."""
    before = os.environ.get("PYTHONPATH")
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, before]))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["runs"])
    yield context
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def run(processes):
    def run(*args):
        process = processes.Process(target=runs.run, args=args)
        process.start()
        process.join()
        return process.exitcode

    return run


@pytest.fixture(scope="module")
def uninterrupted(run, tmp_path_factory):
    found = {}
    for kind in runs.NETS:
        result = tmp_path_factory.mktemp(kind) / "result"
        assert run(kind, None, result) == 0
        found[kind] = pickle.loads(result.read_bytes())
    return found


# the reference has 3 epochs of 4 batches, each of the 3 steps 2
POINTS = {
    "in the reference": ("batch", 5),
    "before the first step": ("saved", 0),
    "in the first step": ("batch", 12),
    "in the second step": ("batch", 25),
    "between steps": ("saved", 2),
    "while writing": ("half written", 2),
    "before renaming": ("written", 1),
    "at the end of the last step": ("batch", 35),
    "in fine-tuning": ("batch", 41),
}


@pytest.mark.parametrize("name", POINTS)
def test_a_killed_run_ends_as_if_it_had_never_stopped(
    name, run, uninterrupted, tmp_path
):
    path, result = tmp_path / "run" / "state", tmp_path / "result"
    assert run("quick", path, result, POINTS[name]) == -signal.SIGKILL
    assert not result.exists()
    assert run("quick", path, result) == 0
    assert pickle.loads(result.read_bytes()) == uninterrupted["quick"]
    assert [file.name for file in path.parent.iterdir()] == ["state"]


def test_a_run_can_be_killed_again_and_again(run, uninterrupted, tmp_path):
    """With other generators, a validation split and another optimizer too."""
    path, result = tmp_path / "state", tmp_path / "result"
    for when in ("batch", 14), ("batch", 10), ("saved", 0), ("batch", 9):
        assert run("thorough", path, result, when) == -signal.SIGKILL
    assert run("thorough", path, result) == 0
    assert pickle.loads(result.read_bytes()) == uninterrupted["thorough"]


# ---- within one process ----


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the file of a finished run, and the run."""
    path = tmp_path_factory.mktemp("saved") / "state"
    return path, runs.compressor("quick", path).fit(*data())


@pytest.fixture
def path(saved, tmp_path):
    """Return a copy of that file."""
    copy = tmp_path / "state"
    copy.write_bytes(saved[0].read_bytes())
    return copy


def test_a_finished_run_is_not_run_again(saved, path, monkeypatch):
    lc = runs.compressor("quick", path, finetune_epochs=0)
    before = path.stat().st_mtime_ns
    monkeypatch.setattr("sklc.lstep.net.learner.NetLearner._run", None)
    lc.fit(*data())
    assert lc.n_iter_ == 3
    assert path.stat().st_mtime_ns == before
    assert lc.termination_condition_ == "max_iter"
    tuned, again = runs.contents(saved[1]), runs.contents(lc)
    assert again["history"] == tuned["history"][:-1]
    assert again["facts"][3] == tuned["facts"][3]


def test_more_steps_go_on(saved, path):
    whole = runs.compressor("quick", max_iter=5).fit(*data())
    longer = runs.compressor("quick", path, max_iter=5).fit(*data())
    assert runs.contents(longer) == runs.contents(whole)
    assert longer.n_iter_ == 5


@pytest.mark.parametrize(
    ("options", "n_iter"),
    [
        ({"tol": 1e-3}, 3),
        ({"verbose": 2}, 3),
        ({"finetune_epochs": 1}, 3),
        ({"max_iter": 4}, 4),
    ],
)
def test_what_ends_a_run_may_change(options, n_iter, path, capsys):
    lc = runs.compressor("quick", path, **options).fit(*data())
    assert lc.n_iter_ == n_iter


def test_seconds_go_on(saved, path):
    lc = runs.compressor("quick", path, max_iter=4).fit(*data())
    seconds = [entry["seconds"] for entry in lc.history_]
    assert seconds == sorted(seconds)
    assert seconds[:4] == [entry["seconds"] for entry in saved[1].history_[:4]]


def test_the_file_is_open_to_all(saved):
    """It is safetensors with JSON: no code is run by reading it."""
    path, lc = saved
    with safe_open(path, "np") as file:
        header = json.loads(file.metadata()["sklc"])
        names = set(file.keys())
    assert header["format"] == 1
    assert header["step"] == 3
    assert header["identity"]["scheme"]["class"].endswith("Additive")
    assert [entry["loss"] for entry in header["history"]] == [
        entry["loss"] for entry in lc.history_[:-1]
    ]
    assert {"multipliers", "kept/fc1.weight", "learner/module.fc1.weight"} <= names
    assert b"pickle" not in path.read_bytes()
    assert b"ctorch" not in path.read_bytes()


DAMAGED = r"is damaged, or no checkpoint of sklc \(.*\): delete it to begin anew, or "


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[:5],
        lambda content: b"",
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: content[:8] + b"}" + content[9:],
        lambda content: content.replace(b"identity", b"entities"),
        lambda content: b"Dear diary, today I trained a net.",
        lambda content: pickle.dumps({"state": [1, 2, 3]}),
    ],
)
def test_a_damaged_file_is_told(damage, path):
    path.write_bytes(damage(path.read_bytes()))
    content = path.read_bytes()
    with pytest.raises(ValueError, match=rf"checkpoint='.*state' {DAMAGED}"):
        runs.compressor("quick", path).fit(*data())
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"sklc": "no JSON"}, {"sklc": "[1]"}]
)
def test_a_foreign_file_is_told(metadata, path):
    save_file({"weight": torch.ones(2)}, path, metadata)
    with pytest.raises(ValueError, match=DAMAGED):
        runs.compressor("quick", path).fit(*data())


def test_a_folder_is_told(tmp_path):
    with pytest.raises(ValueError, match=DAMAGED):
        runs.compressor("quick", tmp_path).fit(*data())


def test_a_file_of_another_format_is_told(path):
    content = path.read_bytes()
    assert content.count(rb"\"format\": 1") == 1
    path.write_bytes(content.replace(rb"\"format\": 1", rb"\"format\": 2"))
    with pytest.raises(
        ValueError, match="has format 2, and this version of sklc reads format 1: go on"
    ):
        runs.compressor("quick", path).fit(*data())


OTHERS = {
    "scheme": {"scheme": LowRank(rank=1)},
    "l_step": {"l_step": NetLStep(epochs=3)},
    "mu_init": {"mu_init": 0.5},
    "mu_factor": {"mu_factor": 1.5},
    "keep": {"keep": "last"},
    "multipliers": {"multipliers": False},
    "random_state": {"random_state": 1},
    "estimator": {"estimator": classifier()},
    "estimator, weights": {"estimator": nn.Linear(5, 3)},
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_run_is_told(name, path):
    lc = runs.compressor("quick", path).set_params(**OTHERS[name])
    with pytest.raises(
        ValueError,
        match=rf"checkpoint='.*state' belongs to another run: {name} differ\. Delete "
        r"it to begin anew, or give every run a path of its own\.",
    ):
        lc.fit(*data())


@pytest.mark.parametrize("part", [0, 1])
def test_other_data_are_told(part, path):
    changed = [part.copy() for part in data()]
    changed[part][-1] += 1
    changed[part] %= 3
    with pytest.raises(ValueError, match="belongs to another run: data differ"):
        runs.compressor("quick", path).fit(*changed)


def test_other_weights_or_options_of_a_frozen_net_are_told(tmp_path):
    net = runs.compressor("quick").estimator
    torch.manual_seed(0)
    options = {"path": tmp_path / "state", "max_iter": 0, "finetune_epochs": 0}

    def fit(net):
        lc = runs.compressor("quick", **options)
        return lc.set_params(estimator=FrozenEstimator(net)).fit(*data())

    net.fit(*data())
    fit(net)
    fit(net)
    net.set_params(lr=0.01)
    with pytest.raises(ValueError, match="another run: estimator differ"):
        fit(net)
    net.set_params(lr=0.1)
    net.module_.norm.running_mean += 1.0  # a buffer counts as well
    with pytest.raises(ValueError, match="another run: weights differ"):
        fit(net)


def test_the_runs_of_a_grid_search_are_not_mixed(tmp_path):
    lc = runs.compressor("quick", tmp_path / "state", max_iter=0, finetune_epochs=0)
    search = GridSearchCV(
        lc.set_params(scheme=AdaptiveQuantization()),
        {"scheme__k": [2, 4]},
        cv=2,
        error_score="raise",
    )
    with pytest.raises(ValueError, match="belongs to another run: data differ"):
        search.fit(*data())


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_may_be_text_and_its_folders_are_made(kind, tmp_path):
    path = tmp_path / "a" / "b.state"
    runs.compressor("quick", kind(path), max_iter=0).fit(*data())
    assert [file.name for file in path.parent.iterdir()] == ["b.state"]


@pytest.mark.parametrize("path", [3, b"state", ["state"]])
def test_another_kind_of_path_is_refused(path):
    with pytest.raises(TypeError, match=r"checkpoint must be a path or None\."):
        runs.compressor("quick", path).fit(*data())


def test_the_random_numbers_of_the_caller_are_left_alone(path):
    torch.manual_seed(11)
    np.random.seed(12)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    for max_iter in 3, 4:
        runs.compressor("quick", path, max_iter=max_iter).fit(*data())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


def test_a_history_of_arrays_can_be_saved(tmp_path):
    lc = runs.compressor("quick", tmp_path / "state", max_iter=1, finetune_epochs=0)
    lc.estimator.set_params(callbacks=[("records", Records())])
    lc.fit(*data())
    again = runs.compressor("quick", tmp_path / "state", max_iter=2)
    again.estimator.set_params(callbacks=[("records", Records())])
    history = again.fit(*data()).estimator_.history
    assert np.array(history[0, "counts"]).tolist() == [0, 1, 2]
    assert history[0, "value"] == history[-1, "value"] == 3.0


def test_a_history_of_other_things_is_told(tmp_path):
    class Secret(runs.Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("secret", object())

    lc = runs.compressor("quick", tmp_path / "state")
    lc.estimator.set_params(callbacks=[("secret", Secret())])
    with pytest.raises(TypeError, match="checkpoint holds JSON values, and no <object"):
        lc.fit(*data())


class Records(runs.Callback):
    def on_epoch_end(self, net, **kwargs):
        net.history.record("counts", np.arange(3))
        net.history.record("value", torch.tensor(3.0))
        net.history.record("nothing", float("nan"))


def test_the_state_of_a_learner_holds_all_of_it():
    one = started(classifier(module=runs.Net, iterator_train__shuffle=True))
    one.train_reference()
    one.learn(targets(one), 0.5, 1)
    state = one.state_dict()
    header = {n: v for n, v in state.items() if not isinstance(v, torch.Tensor)}
    tensors = {n: v.clone() for n, v in state.items() if isinstance(v, torch.Tensor)}
    header = json.loads(json.dumps(header, default=float))
    one.learn(targets(one), 0.5, 2)
    other = started(classifier(module=runs.Net, iterator_train__shuffle=True))
    other.load_state_dict(header | tensors)
    other.train_reference()  # it came trained
    other.learn(targets(other), 0.5, 2)
    for name, tensor in one.snapshot().items():
        assert torch.equal(tensor, other.snapshot()[name])
    losses = [learner.estimator.history[:, "train_loss"] for learner in (one, other)]
    assert losses[0] == losses[1]
