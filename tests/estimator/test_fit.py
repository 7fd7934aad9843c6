"""A fit as a whole: all of it or nothing, whatever numbers its options are."""

import random
from fractions import Fraction

import nets
import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from sklc import LCCompressor
from sklc.schemes import AdaptiveQuantization, ConstraintL0Pruning, Mixed


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 5))
    return X, X @ rng.standard_normal(5) + 0.1 * rng.standard_normal(60)


def compressor(**options):
    options = {"mu_init": 0.1, "mu_factor": 2.0, "max_iter": 5, **options}
    return LCCompressor(LinearRegression(), AdaptiveQuantization(k=2), **options)


# ---- numbers of any kind ----

PLAIN = {"mu_init": 2.0, "mu_factor": 2.0, "max_iter": 9, "tol": 0.5}
KINDS = {
    "mu_init": [np.float16(2), np.int8(2), 2, Fraction(2), np.float64(2.0)],
    "mu_factor": [np.float16(2), np.int8(2), 2, Fraction(2), np.uint8(2)],
    "max_iter": [np.int8(9), np.uint64(9)],
    "tol": [np.float16(0.5), Fraction(1, 2)],
    "verbose": [np.int64(0), False, np.uint8(0)],
    "finetune": [np.int8(0)],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in KINDS for value in KINDS[name]]
)
def test_numbers_of_any_kind_are_those_of_python(name, value, data):
    expected = compressor(**PLAIN).fit(*data)
    found = compressor(**{**PLAIN, name: value}).fit(*data)
    for one, other in zip(found.history_, expected.history_, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    for entry in found.history_:
        assert all(type(entry[name]) is float for name in ("mu", "gap", "loss", "cost"))
    assert type(found.nbits_) is int


@pytest.mark.parametrize("mus", [[np.float16(0.5), 1, np.int8(2)], np.array([1, 2])])
def test_lists_of_pulls_may_be_of_any_kind(mus, data):
    lc = compressor(mu_init=mus, max_iter=2, tol=0.0).fit(*data)
    assert [entry["mu"] for entry in lc.history_] == [*map(float, mus), 2.0][:3]


@pytest.mark.parametrize(
    "factor", [np.int64(2), np.int8(100), 10**300], ids=["int64", "int8", "int"]
)
def test_a_pull_that_would_leave_the_numbers_stays_finite(factor, data):
    lc = compressor(mu_factor=factor, max_iter=70, tol=0.0).fit(*data)
    mus = [entry["mu"] for entry in lc.history_]
    assert (np.diff(mus) >= 0).all()
    assert np.isfinite(mus).all()
    assert np.isfinite([entry["loss"] for entry in lc.history_]).all()
    assert np.isfinite(lc.estimator_.coef_).all()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("mu_init", "'auto', a finite number above 0"),
        ("mu_factor", "'auto' or a finite number of at least 1"),
        ("tol", "a finite number of at least 0"),
        ("max_iter", "an int"),
        ("finetune", "an int"),
    ],
)
@pytest.mark.parametrize("value", [10**400, -(10**400), np.float64("inf"), 1j, None])
def test_what_is_no_number_of_python_is_refused(name, wanted, value, data):
    with pytest.raises(ValueError, match=f"{name} must be {wanted}"):
        compressor(**{name: value}).fit(*data)


# ---- all or nothing ----


def state(estimator):
    return {name: repr(value) for name, value in vars(estimator).items()}


BAD = {
    "a parameter": ({"mu_factor": 0.5}, None),
    "a scheme": ({"scheme": Mixed([("a", AdaptiveQuantization(), "fc9")])}, None),
    "data": ({}, lambda X, y: (X * np.nan, y)),
    "lengths": ({}, lambda X, y: (X[:, :2], y[:-1])),
    "a file": ({"checkpoint": "/dev/null/state"}, lambda X, y: (X[:, :2], y)),
    "a folder": ({"memory": "/dev/null/cache"}, lambda X, y: (X[:, :2], y)),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("kind", ["linear", "net"])
def test_what_fails_before_training_changes_nothing(name, kind, data):
    X, y = data
    if kind == "net":
        y = (y > 0).astype(int)
        lc = nets.compressor(max_iter=1).fit(X, y)
    else:
        lc = compressor().fit(X, y)
    expected = lc.predict(X)
    options, change = BAD[name]
    before = {name: vars(lc)[name] for name in options}
    lc.set_params(**options)
    as_it_was = state(lc)
    with pytest.raises(ValueError, match=r"\S"):
        lc.fit(*(change(X, y) if change else (X, y)))
    assert state(lc) == as_it_was
    lc.set_params(**before)
    assert lc.n_features_in_ == 5
    assert np.array_equal(lc.predict(X), expected)


class Stops(Callback):
    """Raise an error in an epoch."""

    def __init__(self, error, epoch):
        self.error, self.epoch = error, epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise self.error


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_fails_in_training_leaves_nothing_of_any_fit(error, data):
    X, y = data[0], (data[1] > 0).astype(int)
    lc = nets.compressor(max_iter=1).fit(X, y)
    lc.set_params(estimator=nets.classifier(callbacks=[Stops(error, 2)]))
    with pytest.raises(error):
        lc.fit(X, y)
    assert not [name for name in vars(lc) if name.endswith("_")]
    with pytest.raises(NotFittedError):
        lc.predict(X)


@pytest.mark.parametrize("epoch", [4, 5, 6])
def test_whatever_stops_a_run_its_steps_are_those_of_its_history(epoch, data):
    X, y = data[0], (data[1] > 0).astype(int)
    for error in KeyboardInterrupt, OSError:
        net = nets.classifier(callbacks=[Stops(error, epoch)])
        lc = nets.compressor(net, keep="last")
        if error is OSError:
            with pytest.raises(OSError):
                lc.fit(X, y)
        else:
            with pytest.warns(UserWarning, match="Interrupted"):
                lc.fit(X, y)
        assert lc.n_iter_ == lc.history_[-1]["step"] == len(lc.history_) - 1
        assert lc.n_iter_ == epoch - 4


def test_the_keyboard_interrupts_a_search_too(data):
    """Before there is a result; a candidate that has one is taken as it is."""
    X, y = data[0], (data[1] > 0).astype(int)
    net = nets.classifier(callbacks=[Stops(KeyboardInterrupt, 2)])
    search = GridSearchCV(nets.compressor(net), {"scheme__k": [2, 4]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, y)


def test_an_error_is_itself_however_early_it_comes(data, monkeypatch):
    """Not one about what the error has left undone."""
    for method in "weights", "layers", "train_reference", "loss":

        def fails(self, method=method):
            raise LookupError(method)

        with monkeypatch.context() as patch:
            patch.setattr("sklc.lstep.LinearLearner." + method, fails)
            with pytest.raises(LookupError, match=f"^'?{method}'?$"):
                compressor().fit(*data)


# ---- random generators ----


def generators():
    return (
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
    )


@pytest.mark.parametrize("model", [LinearRegression(), LogisticRegression()])
def test_what_draws_nothing_leaves_the_generators_alone(model, data, monkeypatch):
    """Not even for a while: other threads may draw from them."""
    X, y = data
    y = y if isinstance(model, LinearRegression) else y > 0

    def seeded(*args):
        raise AssertionError

    monkeypatch.setattr(torch, "manual_seed", seeded)
    monkeypatch.setattr(torch, "set_rng_state", seeded)
    before = generators()
    lc = LCCompressor(
        model,
        ConstraintL0Pruning(kappa=2),
        max_iter=3,
        random_state=3,
        finetune=1,
    ).fit(X, y)
    assert generators() == before
    assert lc.n_iter_ > 0


def test_a_bad_seed_is_refused_by_all(data):
    for lc in compressor(random_state="x"), nets.compressor(random_state="x"):
        with pytest.raises(ValueError, match="cannot be used to seed"):
            lc.fit(*data)


def test_measuring_leaves_the_generators_where_training_has_them(data):
    """So that what is measured, and how often, does not change the result."""
    X, y = data[0], (data[1] > 0).astype(int)
    torch.manual_seed(5)
    nets.compressor(random_state=None, max_iter=0).fit(X, y)
    after = torch.rand(1)
    torch.manual_seed(5)
    nets.compressor(random_state=None, max_iter=0, mu_init="auto").fit(X, y)
    assert torch.equal(torch.rand(1), after)
