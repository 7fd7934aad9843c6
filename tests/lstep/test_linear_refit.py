"""Fine-tuning of linear models: the best degrees of freedom of Θ, found at once."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import make_classification, make_regression
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from sklc import LCCompressor
from sklc.codes import decompress, degrees_of_freedom
from sklc.codes.theta import mapped
from sklc.lstep import LinearLStep
from sklc.lstep.linear import least_squares, logistic
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    BinaryQuantization,
    ConstraintL0Pruning,
    LowRank,
    Mixed,
    ScaledTernaryQuantization,
)

SCHEMES = {
    "support": ConstraintL0Pruning(kappa=7),
    "whole": ConstraintL0Pruning(kappa=1.0),
    "empty": ConstraintL0Pruning(kappa=0),
    "codebook of all": AdaptiveQuantization(k=3, granularity="joint"),
    "codebooks": AdaptiveQuantization(k=2, granularity="channel"),
    "codes and zeros": AdaptiveQuantization(k=3, zero=True, kappa=8),
    "scale": ScaledTernaryQuantization(),
    "nothing to train": BinaryQuantization(),
    "sum": Additive(
        [("codes", AdaptiveQuantization(k=2)), ("few", ConstraintL0Pruning(kappa=4))]
    ),
    "signs and a few": Additive(
        [("signs", BinaryQuantization()), ("few", ConstraintL0Pruning(kappa=4))]
    ),
    "intercepts alone": Mixed([("bias", AdaptiveQuantization(k=2), "intercept_")]),
    "all in one codebook": Mixed(
        [
            ("weights", AdaptiveQuantization(k=2), "coef_"),
            ("bias", ConstraintL0Pruning(kappa=1), "intercept_"),
        ]
    ),
}


def regression(outputs, n=60, d=6):
    X, Y = make_regression(n, d, n_targets=3, noise=5.0, random_state=0, bias=3.0)
    return X + 0.5, Y[:, :outputs]


def classes(outputs, n=80, d=6):
    return make_classification(
        n, d, n_informative=4, n_redundant=0, n_classes=outputs + 1, random_state=0
    )


def started(model, X, y, scheme, weight=None):
    """Return a learner at the weights of the reference, and Θ."""
    learner = LinearLStep().start(model, X, y, n_steps=1, sample_weight=weight)
    learner.train_reference()
    weights = learner.weights()
    own = {name: weights[name] for name in scheme.covers(weights)}
    return learner, scheme.compress(own, mu=1.0)


def flat(theta):
    parts = [tensor.reshape(-1) for tensor in degrees_of_freedom(theta)]
    return torch.cat([*parts, torch.empty(0, dtype=torch.float64)]).numpy()


def with_values(theta, values):
    free = degrees_of_freedom(theta)
    parts = torch.from_numpy(values).split([tensor.numel() for tensor in free])
    given = {id(t): part.view(t.shape) for t, part in zip(free, parts, strict=True)}
    return mapped(theta, lambda tensor: given.get(id(tensor), tensor))


def loss_of(learner, theta):
    learner.substitute(decompress(theta))
    return learner.loss()


def least_loss(learner, theta, X, y, weight, alpha):
    """Return the least loss of a regression, column by column, by NumPy's lstsq."""
    weights = {name: w.numpy() for name, w in learner.weights().items()}
    free = flat(theta)

    def parameters(values):
        own = {n: d.numpy() for n, d in decompress(with_values(theta, values)).items()}
        zero = {n: np.zeros_like(w) for n, w in weights.items()}
        return zero | own

    def equations(values):
        root = np.sqrt(weight / weight.sum())[:, None]
        rows = root * (X @ values["coef_"].T + values.get("intercept_", 0.0))
        ridge = np.sqrt(alpha / weight.sum()) * values["coef_"]
        return np.concatenate([rows.ravel(), ridge.ravel()])

    nothing = parameters(np.zeros_like(free))
    columns = []
    for unit in np.eye(len(free)):
        one = parameters(unit)
        columns.append(equations({n: one[n] - nothing[n] for n in one}))
    for name in set(weights) - set(theta):  # what is not compressed is free
        for unit in np.eye(weights[name].size):
            one = {n: np.zeros_like(w) for n, w in weights.items()}
            one[name] = unit.reshape(weights[name].shape)
            columns.append(equations(one))
    targets = np.sqrt(weight / weight.sum())[:, None] * y
    right = np.concatenate([targets.ravel(), np.zeros(weights["coef_"].size)])
    right = right - equations(nothing)
    matrix = np.stack([np.zeros_like(right), *columns], axis=1)
    found = np.linalg.lstsq(matrix, right, rcond=None)[0]
    return float(((matrix @ found - right) ** 2).sum())


@pytest.mark.parametrize(
    ("model", "outputs", "kind"),
    [
        (LinearRegression(), 3, np.asarray),
        (LinearRegression(fit_intercept=False), 1, np.asarray),
        (Ridge(30.0), 1, sparse.csr_array),
        (Ridge(30.0), 3, sparse.csr_array),
    ],
    ids=["free", "no intercept", "sparse", "sparse, several outputs"],
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_refit_of_squared_errors_is_their_least(scheme, model, outputs, kind):
    if not model.fit_intercept and isinstance(SCHEMES[scheme], Mixed):
        pytest.skip("there is no intercept")
    X, y = regression(outputs)
    weight = np.random.default_rng(0).uniform(0, 2, len(X))
    learner, theta = started(model, kind(X), y, SCHEMES[scheme], weight)
    alpha = getattr(model, "alpha", 0.0)
    expected = least_loss(learner, theta, X, y, weight, alpha)
    found = learner.finetune(theta, epochs=1)
    assert learner.loss() == pytest.approx(expected, rel=1e-9)
    assert loss_of(learner, found) == pytest.approx(expected, rel=1e-9)
    for name, code in found.items():
        assert type(code) is type(theta[name])
        assert code.shape == theta[name].shape


@pytest.mark.parametrize("scheme", ["support", "codebook of all", "sum"])
def test_many_columns_of_sparse_data_are_solved_as_well(scheme, monkeypatch):
    monkeypatch.setattr(least_squares, "DENSE", 0)
    X, y = regression(3)
    ones = np.ones(len(X))
    learner, theta = started(Ridge(2.0), sparse.csr_array(X), y, SCHEMES[scheme])
    learner.finetune(theta, epochs=1)
    expected = least_loss(learner, theta, X, y, ones, 2.0)
    assert learner.loss() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("wide", [False, True])
def test_of_many_refits_it_is_the_shortest(wide):
    X, y = regression(1, n=10 if wide else 60)
    X = np.concatenate([X, X, X], axis=1)
    learner, theta = started(LinearRegression(), X, y, ConstraintL0Pruning(kappa=15))
    learner.finetune(theta, epochs=1)
    support = theta["coef_"].index.numpy()
    columns = X[:, support] - X[:, support].mean(0)
    expected = np.linalg.lstsq(columns, y[:, 0] - y.mean(), rcond=None)[0]
    found = learner.weights()["coef_"].numpy()[0]
    np.testing.assert_allclose(found[support], expected, atol=1e-8)


def test_features_far_from_the_origin_do_no_harm():
    X, y = regression(1)
    losses = []
    for shift in 0.0, 1e7:
        scheme = ConstraintL0Pruning(kappa=3)
        learner, theta = started(LinearRegression(), X, y, scheme)
        learner = LinearLStep().start(LinearRegression(), X + shift, y, n_steps=1)
        learner.finetune(theta, epochs=1)
        losses.append(learner.loss())
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def alternated(X, Y, rank, U, steps=300):
    """Return the loss of a low rank, one factor being solved after the other."""
    for _ in range(steps):
        V = np.linalg.lstsq(X, Y @ U @ np.linalg.inv(U.T @ U), rcond=None)[0]
        U = np.linalg.lstsq(X @ V, Y, rcond=None)[0].T
    return ((X @ V @ U.T - Y) ** 2).sum()


@pytest.mark.parametrize("alpha", [0.0, 20.0])
@pytest.mark.parametrize("rank", [1, 2])
def test_a_refit_of_a_low_rank_is_the_global_one(rank, alpha):
    X, y = regression(3)
    model = Ridge(alpha) if alpha else LinearRegression()
    learner, theta = started(model, X, y, LowRank(rank=rank))
    found = learner.finetune(theta, epochs=1)
    best = learner.loss()
    assert np.linalg.matrix_rank(learner.weights()["coef_"]) == rank
    assert loss_of(learner, found) == pytest.approx(best)
    rows = np.concatenate([X - X.mean(0), np.sqrt(alpha) * np.eye(X.shape[1])])
    right = np.concatenate([y - y.mean(0), np.zeros((X.shape[1], 3))])
    starts = np.random.default_rng(0).standard_normal((4, 3, rank))
    losses = [alternated(rows, right, rank, start) / len(X) for start in starts]
    assert best == pytest.approx(min(losses), rel=1e-9)


def test_outputs_with_ridges_of_their_own_have_low_ranks_too():
    X, y = regression(3)
    model = Ridge(np.array([0.1, 5.0, 50.0]))
    learner, theta = started(model, X, y, LowRank(rank=2))
    before = loss_of(learner, theta)
    found = learner.finetune(theta, epochs=1)
    values = flat(found)
    best = learner.loss()
    assert best < before
    for move in 1e-3 * np.random.default_rng(0).standard_normal((20, len(values))):
        assert loss_of(learner, with_values(found, values + move)) >= best


@pytest.mark.parametrize(
    ("outputs", "kind", "intercept"),
    [(1, sparse.csr_array, False), (2, np.asarray, True)],
)
@pytest.mark.parametrize("scheme", sorted(set(SCHEMES) - {"nothing to train"}))
def test_a_refit_of_log_losses_has_no_slope(scheme, outputs, intercept, kind):
    if not intercept and isinstance(SCHEMES[scheme], Mixed):
        pytest.skip("there is no intercept")
    X, y = classes(outputs)
    weight = np.random.default_rng(0).uniform(0, 2, len(X))
    model = LogisticRegression(fit_intercept=intercept, tol=1e-8, max_iter=1000)
    learner, theta = started(model, kind(X), y, SCHEMES[scheme], weight)
    found = learner.finetune(theta, epochs=1)
    best, values = learner.loss(), flat(found)
    assert best <= loss_of(learner, theta) + 1e-12
    for unit in 1e-3 * np.eye(len(values)):  # a convex function is least here
        for move in unit, -unit:
            assert loss_of(learner, with_values(found, values + move)) >= best - 1e-10


@pytest.mark.parametrize("scheme", ["support", "codebook of all", "sum"])
def test_a_refit_of_log_losses_in_all_columns_is_the_same(scheme, monkeypatch):
    X, y = classes(2)
    losses = []
    for entries in least_squares.DENSE, 0:
        monkeypatch.setattr(logistic, "DENSE", entries)
        learner, theta = started(LogisticRegression(), X, y, SCHEMES[scheme])
        learner.finetune(theta, epochs=1)
        losses.append(learner.loss())
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


@pytest.mark.parametrize("frozen", ["coef_", "intercept_"])
def test_parameters_that_are_not_compressed_are_refitted_too(frozen):
    X, y = regression(1)
    scheme = Mixed([("one", AdaptiveQuantization(k=1), frozen)])
    lc = LCCompressor(LinearRegression(), scheme, max_iter=0, finetune=1)
    lc.fit(X, y[:, 0])
    kept = lc.estimator_.coef_, lc.estimator_.intercept_
    error = X @ kept[0] + kept[1] - y[:, 0]
    columns = X.sum(1, keepdims=True) if frozen == "coef_" else X
    assert abs(error.mean()) < 1e-8 * np.abs(y).max()
    assert np.abs(columns.T @ error).max() < 1e-8 * np.abs(y).max() * len(y)
