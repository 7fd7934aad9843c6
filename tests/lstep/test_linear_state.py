"""What a linear model in training is, as tensors and JSON values, and nothing else."""

import json
import random
from threading import Barrier, Thread

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from threadpoolctl import threadpool_info, threadpool_limits

from sklc import LCCompressor
from sklc.lstep import LinearLStep
from sklc.lstep.linear.threads import Threads
from sklc.schemes import AdaptiveQuantization, ConstraintL0Pruning

X = np.random.default_rng(0).standard_normal((60, 4))
NUMBERS = X @ [1.0, -2.0, 0.0, 0.5] + 1
CASES = {
    "least squares": (LinearRegression(), X, NUMBERS),
    "several outputs": (LinearRegression(), X, np.stack([NUMBERS, -NUMBERS], axis=1)),
    "ridge": (Ridge(2.0), X, NUMBERS[:, None]),
    "no intercept": (Ridge(2.0, fit_intercept=False), X, NUMBERS),
    "names": (Ridge(), pd.DataFrame(X, columns=list("abcd")), NUMBERS),
    "numbers": (LogisticRegression(), X, np.where(NUMBERS > 0, 3, 7)),
    "words": (LogisticRegression(), X, np.where(NUMBERS > 0, "yes", "no")),
    "objects": (
        LogisticRegression(),
        X,
        np.array(["a", "b", "c"], dtype=object)[(NUMBERS > 0) + (NUMBERS > 2) * 1],
    ),
    "truths": (LogisticRegression(), X, NUMBERS > 0),
}


def start(model, X, y):
    return LinearLStep().start(model, X, y, n_steps=1)


def through_json(state):
    """Return a state as a file would give it back: tensors beside JSON values."""
    tensors = {n: v for n, v in state.items() if isinstance(v, torch.Tensor)}
    rest = {n: v for n, v in state.items() if n not in tensors}
    return json.loads(json.dumps(rest)) | tensors


@pytest.mark.parametrize("case", CASES)
def test_a_state_is_all_of_the_model(case, monkeypatch):
    model, X, y = CASES[case]
    learner = start(model, X, y)
    learner.train_reference()
    target = {"coef_": 0.5 * learner.weights()["coef_"]}
    learner.learn(target, 1.0, 1)
    state = learner.state_dict()
    expected = learner.estimator
    monkeypatch.setattr(type(model), "fit", None)  # it cannot be fitted again
    other = start(model, X, y)
    other.load_state_dict(through_json(state))
    found = other.estimator
    assert vars(found).keys() == vars(expected).keys()
    for name, value in vars(expected).items():
        assert np.array_equal(getattr(found, name), value), name
        assert np.shape(getattr(found, name)) == np.shape(value), name
        assert np.asarray(getattr(found, name)).dtype == np.asarray(value).dtype
    assert np.array_equal(found.predict(X), expected.predict(X))
    assert other.loss() == learner.loss()
    other.train_reference()  # is done
    assert other.loss() == learner.loss()


def test_a_state_stays_as_it_is():
    learner = start(*CASES["ridge"])
    learner.train_reference()
    state = learner.state_dict()
    before = {name: w.clone() for name, w in learner.weights().items()}
    learner.substitute({"coef_": torch.zeros(1, 4, dtype=torch.float64)})
    assert not learner.weights()["coef_"].any()
    learner.load_state_dict(state)
    learner.learn({}, 1.0, 1)
    learner.load_state_dict(state)
    for name, weight in learner.weights().items():
        assert torch.equal(weight, before[name])


def everything_random():
    return (
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
    )


@pytest.mark.parametrize("random_state", [None, 0])
@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(solver="saga", max_iter=2000),
        Ridge(solver="sag"),
        LinearRegression(),
    ],
)
def test_no_generator_of_the_process_is_drawn_from(model, random_state):
    y = NUMBERS > 0 if isinstance(model, LogisticRegression) else NUMBERS
    scheme = AdaptiveQuantization(k=2)
    lc = LCCompressor(model, scheme, max_iter=3, random_state=random_state)
    before = everything_random()
    coefs = [lc.fit(X, y).estimator_.coef_ for _ in range(2)]
    assert everything_random() == before
    assert np.array_equal(*coefs)
    assert lc.estimator_.get_params() == model.get_params()


def pools():
    return [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()]


def test_threads_are_given_back_by_the_last_that_took_them():
    with threadpool_limits(2):
        before, both, first_left = pools(), Barrier(2), Barrier(2)

        def first():
            with Threads(work=1).limited():
                both.wait()
            first_left.wait()

        def second():
            with Threads(work=1).limited():
                both.wait()
                first_left.wait()

        threads = [Thread(target=first), Thread(target=second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert pools() == before


def test_fits_in_threads_are_those_of_one():
    def fitted(k):
        scheme = ConstraintL0Pruning(kappa=k)
        return LCCompressor(Ridge(), scheme, max_iter=5).fit(X, NUMBERS).estimator_

    expected = [fitted(k).coef_ for k in (1, 2, 3)]
    found = {}
    threads = [
        Thread(target=lambda k=k: found.update({k: fitted(k).coef_})) for k in (1, 2, 3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, coef in zip((1, 2, 3), expected, strict=True):
        assert np.array_equal(found[k], coef)
