"""A run that is killed goes on, and ends as if nothing had happened."""

import errno
import hashlib
import json
import multiprocessing
import operator
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
from safetensors.torch import save, save_file
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from sklc import LCCompressor
from sklc.exceptions import CheckpointError
from sklc.files import File
from sklc.lc.savefile import from_bytes, to_bytes
from sklc.lstep import NetLearner, NetLStep
from sklc.schemes import AdaptiveQuantization, LowRank


@pytest.fixture(scope="module")
def processes():
    """Return a context of processes, forked from one that has imported all."""
    before = os.environ.get("PYTHONPATH")
    here = str(Path(runs.__file__).parent)
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
    lc = runs.compressor("quick", path, finetune=0)
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(NetLearner, "learn", None)
    monkeypatch.setattr(NetLearner, "train_reference", None)
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
        ({"finetune": 1}, 3),
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


def parts(path):
    """Return the format, the header and the tensors of a file."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return metadata["format"], json.loads(metadata["sklc"]), tensors


def test_the_file_is_open_to_all(saved):
    """It is safetensors with JSON: no code is run by reading it."""
    path, lc = saved
    version, header, tensors = parts(path)
    assert version == "4"
    assert header["step"] == 3
    assert "Additive" in header["identity"]["scheme"]["class"]
    assert [entry["loss"] for entry in header["history"]] == [
        entry["loss"] for entry in lc.history_[:-1]
    ]
    assert {"multipliers", "learner/module.tensor.fc1.weight"} <= tensors.keys()
    assert b"pickle" not in path.read_bytes()
    assert b"ctorch" not in path.read_bytes()


def test_a_state_survives_its_bytes(path):
    identity = parts(path)[1]["identity"]
    state = from_bytes(path.read_bytes(), identity)
    again = from_bytes(to_bytes(state, identity), identity)
    assert again.history == state.history
    assert again.iterate.mu == state.iterate.mu
    for name in "weights", "multipliers":
        one, other = (getattr(each.iterate, name) for each in (state, again))
        assert torch.equal(one, other)
    for one, other in zip(
        [state.learner, state.kept.learner],
        [again.learner, again.kept.learner],
        strict=True,
    ):
        assert one.keys() == other.keys()
        for name, value in one.items():
            equal = torch.equal if isinstance(value, torch.Tensor) else operator.eq
            assert equal(value, other[name])


DAMAGED = r"is damaged, or no checkpoint of sklc \(.*\): delete it to begin anew, or "


def refused(path, match=DAMAGED, **options):
    content = path.read_bytes()
    with pytest.raises(CheckpointError, match=rf"checkpoint='.*state' {match}"):
        runs.compressor("quick", path, **options).fit(*data())
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == ["state"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[:5],
        lambda content: b"",
        lambda content: content + b" ",
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: content[:8] + b"}" + content[9:],
        lambda content: content.replace(b"identity", b"entities"),
        lambda content: content.replace(rb"\"step\": 3", rb"\"step\": 1", 1),
        lambda content: content.replace(rb"\"mu_factor\": 2.0", rb"\"mu_factor\": 3.0"),
        lambda content: content[:8] + b"[" * 100_000,
        lambda content: b"Dear diary, today I trained a net.",
        lambda content: pickle.dumps({"state": [1, 2, 3]}),
    ],
)
def test_a_damaged_file_is_told(damage, path):
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert path.read_bytes() != content
    refused(path)


def damages(content, n, seed=0):
    """Yield damaged versions of a file: bits, cuts, tensors, numbers."""
    random = np.random.default_rng(seed)
    size = 8 + int.from_bytes(content[:8], "little")
    spans = [
        entry["data_offsets"]
        for name, entry in json.loads(content[8:size]).items()
        if name != "__metadata__"
    ]
    spans = [(size + start, size + end) for start, end in spans if end - start >= 8]
    digits = [at for at in range(8, size) if content[at : at + 1].isdigit()]
    for number in range(n):
        changed = bytearray(content)
        match number % 5:
            case 0:
                at = random.integers(len(content))
                changed[at] ^= 1 << random.integers(8)
            case 1:
                del changed[random.integers(len(content)) :]
            case 2:  # the first numbers of two tensors are swapped, or become others
                one, other = random.choice(len(spans), 2, replace=False)
                one, other = spans[one][0], spans[other][0]
                changed[one : one + 8] = content[other : other + 8]
                changed[other : other + 8] = content[one : one + 8]
            case 3:
                at = spans[random.integers(len(spans))][0]
                changed[at : at + 4] = np.float32("nan").tobytes()
            case 4:  # a digit of the header: a step, a shape, a factor
                at = digits[random.integers(len(digits))]
                changed[at] = ord(str((int(chr(changed[at])) + 1) % 10))
        if changed != content:
            yield bytes(changed)


@pytest.mark.parametrize(
    "n", [200, pytest.param(2000, marks=pytest.mark.slow)], ids="first {}".format
)
def test_no_damage_whatever_gives_another_model(n, path):
    identity = parts(path)[1]["identity"]
    content = path.read_bytes()
    assert from_bytes(content, identity).iterate.step == 3
    seen = 0
    for changed in damages(content, n):
        seen += 1
        with pytest.raises(CheckpointError, match=r"^(is damaged|has format \w+)"):
            from_bytes(changed, identity)
    assert seen > 0.95 * n


def sealed(path, change):
    """Change header and tensors of a file, and set its checksum right."""
    _, header, tensors = parts(path)
    change(header, tensors)
    metadata = {"format": "4", "checksum": "0" * 64, "sklc": json.dumps(header)}
    content = save(tensors, metadata)
    rest = content.split(b"0" * 64, 1)
    path.write_bytes(
        rest[0] + hashlib.sha256(b"".join(rest)).hexdigest().encode() + rest[1]
    )


def test_a_file_can_be_sealed_by_others(saved, path):
    sealed(path, lambda header, tensors: header.update(step=3))
    lc = runs.compressor("quick", path).fit(*data())
    assert runs.contents(lc) == runs.contents(saved[1])


def drop(name):
    return lambda header, tensors: header.pop(name)


def put(**values):
    return lambda header, tensors: header.update(values)


def drop_tensor(name):
    return lambda header, tensors: tensors.pop(name)


@pytest.mark.parametrize(
    "change",
    [
        *map(drop, ["identity", "step", "mu", "history", "theta", "learner", "gap"]),
        put(step="three"),
        put(step=-1),
        put(step=2),
        put(mu=0.0),
        put(mu=None),
        put(mu=float("nan")),
        put(mu_factor=0.5),
        put(mu_factor=[2.0]),
        put(mu_init=float("inf")),
        put(gap=float("nan")),
        put(residual="none"),
        put(reference_loss=True),
        put(history=[]),
        put(history=[1, 2, 3, 4]),
        put(kept={}),
        put(direct=3),
        lambda header, tensors: header["kept"].update(step=9),
        lambda header, tensors: header["kept"].update(learner={}),
        lambda header, tensors: tensors.pop("kept/learner/module.tensor.fc1.weight"),
        put(theta={}),
        put(theta={"codes": {}, "streams": {}}),
        put(learner=3),
        put(learner={}),
        put(identity=[]),
        *map(
            drop_tensor, ["multipliers", "weights", "learner/module.tensor.fc1.weight"]
        ),
        lambda header, tensors: tensors.update(multipliers=torch.zeros(3)),
        lambda header, tensors: header["history"][1].pop("loss"),
        lambda header, tensors: header["history"][1].update(nbits="many"),
    ],
)
def test_what_somebody_else_has_written_is_an_error_of_the_same_kind(change, path):
    sealed(path, change)
    content = path.read_bytes()
    with pytest.raises(CheckpointError):
        runs.compressor("quick", path).fit(*data())
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"sklc": "no JSON"}, {"sklc": "[1]"}]
)
def test_a_foreign_file_is_told(metadata, path):
    save_file({"weight": torch.ones(2)}, path, metadata)
    refused(path, "(is damaged|has format pt)")


def test_a_folder_is_told_and_nothing_is_deleted(tmp_path, no_training):
    with pytest.raises(
        CheckpointError, match=r"cannot be used \(.*, a folder and not a file\): giv"
    ):
        runs.compressor("quick", tmp_path).fit(*data())
    assert tmp_path.is_dir()


@pytest.mark.parametrize("below", ["state", "more/state"])
def test_a_path_that_cannot_be_used_is_told_before_any_training(
    below, tmp_path, no_training
):
    (tmp_path / "file").touch()
    with pytest.raises(
        CheckpointError, match=r"state' cannot be used \(\[Errno.*\): give the path of"
    ):
        runs.compressor("quick", tmp_path / "file" / below).fit(*data())


def test_a_run_that_is_going_on_is_told(tmp_path, no_training):
    other = File(tmp_path / "state")
    with pytest.raises(
        CheckpointError, match=r"state' is in use by another run that is going on: wa"
    ):
        runs.compressor("quick", tmp_path / "state").fit(*data())
    other.close()


def test_a_full_disk_ends_the_run_with_its_best_iterate(tmp_path, monkeypatch):
    path = tmp_path / "state"
    fsync, calls = os.fsync, []

    def full(number):
        calls.append(number)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(number)

    monkeypatch.setattr(os, "fsync", full)
    lc = runs.compressor("quick", path)
    with pytest.raises(
        CheckpointError,
        match=r"could not be written \(\[Errno 28\] No space left on device\), and is "
        "what it was before step 2: make room, and fit again to go on from there",
    ):
        lc.fit(*data())
    assert (lc.n_iter_, lc.termination_condition_) == (2, "failed")
    assert lc.predict(data()[0]).shape == (40,)
    assert [file.name for file in tmp_path.iterdir()] == ["state"]
    again = runs.compressor("quick", path).fit(*data())
    assert runs.contents(again) == runs.contents(runs.compressor("quick").fit(*data()))


@pytest.fixture
def no_training(monkeypatch):
    def trained(self):
        raise AssertionError

    monkeypatch.setattr(NetLearner, "train_reference", trained)


def test_a_file_of_another_format_is_told(path):
    content = path.read_bytes()
    assert content.count(b'"format":"4"') == 1
    path.write_bytes(content.replace(b'"format":"4"', b'"format":"5"'))
    refused(path, "has format 5, and this version of sklc reads format 4: go on")


def squared(module, pull, step, X, y):
    train(module, pull, 2.0)


def linear(module, pull, step, X, y):
    train(module, pull, 1.0)


def train(module, pull, factor):
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    pull.add_to_gradients()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter -= 0.1 * factor * parameter.grad


class Other(runs.Net):
    def forward(self, x):
        return 2.0 * super().forward(x)


class Smooth(nn.CrossEntropyLoss):
    def forward(self, output, target):
        return super().forward(output, target) + 0.0


OTHERS = {
    "scheme": {"scheme": LowRank(rank=1)},
    "scheme.schemes": {"scheme__codes__k": 3},
    "l_step": {"l_step": squared},
    "l_step.epochs": {"l_step": NetLStep(epochs=3)},
    "mu_init": {"mu_init": 0.5},
    "mu_factor": {"mu_factor": 1.5},
    "keep": {"keep": "last"},
    "multipliers": {"multipliers": False},
    "random_state": {"random_state": 1},
    "estimator.lr": {"estimator__lr": 0.2},
    "estimator.criterion": {"estimator__criterion": Smooth},
    "code.test_checkpoint.Other, estimator.module": {"estimator__module": Other},
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_run_is_told(name, path, no_training):
    lc = runs.compressor("quick", path).set_params(**OTHERS[name])
    with pytest.raises(
        CheckpointError,
        match=rf"checkpoint='.*state' belongs to another run: .*{name}.* differ\. "
        r"Delete it to begin anew, or give every run a path of its own\.",
    ):
        lc.fit(*data())


def lambdas(factor):
    """Return two functions of one name that differ in their bodies alone."""
    if factor == 1.0:
        return lambda module, pull, step, X, y: train(module, pull, 1.0)
    return lambda module, pull, step, X, y: train(module, pull, 2.0)


@pytest.mark.parametrize(
    ("one", "other"), [(squared, linear), (lambdas(1.0), lambdas(2.0))]
)
def test_another_function_that_trains_is_told(one, other, tmp_path):
    path = tmp_path / "state"
    runs.compressor("quick", path, l_step=one, finetune=0).fit(*data())
    runs.compressor("quick", path, l_step=one, finetune=0).fit(*data())
    with pytest.raises(CheckpointError, match=r"another run: l_step differ\."):
        runs.compressor("quick", path, l_step=other, finetune=0).fit(*data())


@pytest.mark.parametrize("part", [0, 1])
def test_other_data_are_told(part, path):
    changed = [part.copy() for part in data()]
    changed[part][-1] += 1
    changed[part] %= 3
    with pytest.raises(CheckpointError, match=rf"another run: {'Xy'[part]} differ\."):
        runs.compressor("quick", path).fit(*changed)


def test_other_parameters_of_the_fit_are_told(tmp_path):
    X, y = data()
    lc = LCCompressor(
        LogisticRegression(),
        AdaptiveQuantization(k=2),
        max_iter=2,
        checkpoint=tmp_path / "state",
    )
    weight = np.linspace(1.0, 2.0, len(y))
    lc.fit(X, y, sample_weight=weight)
    lc.fit(X, y, sample_weight=weight.copy())
    for other in {"sample_weight": weight[::-1]}, {}:
        with pytest.raises(
            CheckpointError, match=r"another run: fit_params\.sample_weight differ\."
        ):
            lc.fit(X, y, **other)


class Noise(Dataset):
    """Data that nobody sees from outside."""

    def __init__(self, seed):
        self.seed = seed

    def __len__(self):
        return 40

    def __getitem__(self, i):
        X, y = data()
        return X[i] + self.seed, int(y[i])


def test_data_that_cannot_be_seen_are_not_promised(tmp_path):
    options = {"path": tmp_path / "state", "max_iter": 0, "finetune": 0}
    runs.compressor("quick", **options).fit(Noise(0), None)
    with pytest.warns(
        UserWarning,
        match=r"Going on from checkpoint='.*state', but whether Noise is what it was "
        "is beyond what is checked: make sure that it is, or begin anew",
    ):
        runs.compressor("quick", **options).fit(Noise(1), None)


def test_data_sets_in_memory_are_seen(tmp_path):
    options = {"path": tmp_path / "state", "max_iter": 0, "finetune": 0}
    X, y = (torch.as_tensor(part) for part in data())
    for _ in range(2):
        runs.compressor("quick", **options).fit(TensorDataset(X, y), None)
    with pytest.raises(CheckpointError, match=r"another run: X differ\."):
        runs.compressor("quick", **options).fit(TensorDataset(X + 1, y), None)


def test_other_weights_or_options_of_a_frozen_net_are_told(tmp_path):
    net = runs.compressor("quick").estimator
    torch.manual_seed(0)
    options = {"path": tmp_path / "state", "max_iter": 0, "finetune": 0}

    def fit(net):
        lc = runs.compressor("quick", **options)
        return lc.set_params(estimator=FrozenEstimator(net)).fit(*data())

    net.fit(*data())
    fit(net)
    fit(net)
    net.set_params(lr=0.01)
    with pytest.raises(ValueError, match=r"another run: estimator.*lr.* differ"):
        fit(net)
    net.set_params(lr=0.1)
    net.module_.norm.running_mean += 1.0  # a buffer counts as well
    with pytest.raises(ValueError, match=r"another run: .*weights differ"):
        fit(net)


def test_the_runs_of_a_grid_search_are_not_mixed(tmp_path):
    lc = runs.compressor("quick", tmp_path / "state", max_iter=0, finetune=0)
    search = GridSearchCV(
        lc.set_params(scheme=AdaptiveQuantization()),
        {"scheme__k": [2, 4]},
        cv=2,
        error_score="raise",
    )
    with pytest.raises(ValueError, match=r"belongs to another run: X, y differ"):
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
    lc = runs.compressor("quick", tmp_path / "state", max_iter=1, finetune=0)
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
    for name, weight in one.weights().items():
        assert torch.equal(weight, other.weights()[name])
    losses = [learner.estimator.history[:, "train_loss"] for learner in (one, other)]
    assert losses[0] == losses[1]
