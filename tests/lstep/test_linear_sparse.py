"""Least squares of large sparse data, which nothing makes dense."""

import tracemalloc

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import LinearRegression, Ridge

from sklc import LCCompressor
from sklc.lstep import LinearLStep
from sklc.schemes import ConstraintL0Pruning

SHAPES = {"wide": (350, 500), "tall": (500, 350)}


def sparse_data(n, d, density=0.05, outputs=1):
    X = sparse.random(n, d, density, format="csr", random_state=0)
    X = sparse.csr_array(X.multiply(np.logspace(-1, 1, d)))  # as counts of words differ
    rng = np.random.default_rng(0)
    y = X @ rng.standard_normal((d, outputs)) + 0.1 * rng.standard_normal((n, outputs))
    return X, y + 3.0


def start(model, X, y, weight=None):
    return LinearLStep().start(model, X, y, n_steps=1, sample_weight=weight)


@pytest.mark.parametrize("pulled", [("coef_",), ("coef_", "intercept_"), ()])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_pulled_solution_is_that_of_dense_data(shape, outputs, pulled):
    X, y = sparse_data(*SHAPES[shape], outputs=outputs)
    weight = np.random.default_rng(0).uniform(0, 2, len(y))
    learners = [start(Ridge(3.0), kind, y, weight) for kind in (X, X.toarray())]
    for mu in 1e-2, 1.0, 1e2:
        found = []
        for learner in learners:
            weights = learner.weights()
            target = {name: torch.full_like(weights[name], 0.3) for name in pulled}
            learner.learn(target, mu, 1)
            found.append(np.concatenate([w.ravel() for w in weights.values()]))
        error = np.abs(found[0] - found[1]).max()
        assert error < 1e-5 * np.abs(found[1]).max()


@pytest.mark.parametrize("intercept", [True, False])
def test_of_many_solutions_it_is_the_shortest(intercept):
    X, y = sparse_data(*SHAPES["wide"])
    learner = start(LinearRegression(fit_intercept=intercept), X, y)
    learner.learn({"coef_": torch.ones(1, X.shape[1]).double()}, 1.0, 1)
    learner.learn({}, 1.0, 2)
    columns, right = X.toarray(), y[:, 0]
    if intercept:
        columns, right = columns - columns.mean(0), right - right.mean()
    expected = np.linalg.lstsq(columns, right, rcond=None)[0]
    found = learner.weights()["coef_"].numpy()[0]
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("alpha", [1e-8, 100.0])
def test_a_reference_is_as_good_as_that_of_scikit_learn(alpha):
    X, y = sparse_data(*SHAPES["wide"])
    learner = start(Ridge(alpha), X, y)
    learner.train_reference()
    reference = learner.loss()
    learner.learn({}, 1.0, 1)
    assert learner.loss() <= reference * (1 + 1e-9)


@pytest.mark.parametrize("shape", [(1500, 2000), (2000, 1500)])
def test_nothing_as_large_as_a_dense_product_is_made(shape):
    X, y = sparse_data(*shape, density=2e-3)
    lc = LCCompressor(Ridge(), ConstraintL0Pruning(kappa=50), max_iter=3, finetune=1)
    tracemalloc.start()
    lc.fit(X, y[:, 0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 1500**2 / 4
