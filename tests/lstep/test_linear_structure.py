"""Structures of compressed linear models: what no single change improves."""

import warnings
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklc import LCCompressor
from sklc.codes import Sparse
from sklc.lstep import LinearLStep
from sklc.lstep.linear.exchange import Tableau
from sklc.lstep.linear.reassign import Levels
from sklc.schemes import (
    AdaptiveQuantization,
    Blocks,
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    LowRank,
    Mixed,
    PenaltyL0Pruning,
    PenaltyL1Pruning,
    ScaledBinaryQuantization,
    ScaledTernaryQuantization,
)


def regression(outputs=1, n=60, d=8):
    rng = np.random.default_rng(0)
    X, Y = make_regression(n, d, n_targets=2, noise=30.0, random_state=0, bias=3.0)
    X = X @ (np.eye(d) + 0.5 * rng.standard_normal((d, d)) / np.sqrt(d)) + 0.5
    return X, Y[:, :outputs]


def classes(n_classes, n=90, d=7):
    return make_classification(
        n,
        d,
        n_informative=4,
        n_redundant=2,
        n_classes=n_classes,
        flip_y=0.2,
        random_state=0,
    )


def refitted(model, scheme, X, y, weight=None):
    """Return a learner, and Θ of direct compression with a refit by the learner."""
    learner = LinearLStep().start(model, X, y, n_steps=1, sample_weight=weight)
    learner.train_reference()
    own = {name: learner.weights()[name] for name in scheme.covers(learner.weights())}
    theta = scheme.compress({n: w.clone() for n, w in own.items()}, mu=1.0)
    return learner, learner.refit(theta, scheme.budgets(own))


def value(learner, scheme, code):
    """Return loss and cost of the best coefficients on a structure."""
    theta = learner.finetune({"coef_": code}, 1)
    return learner.loss() + scheme.cost(theta)


def neighbours(code):
    """Yield the supports that differ by a coefficient, or by one for another."""
    held, p = set(code.index.tolist()), code.shape.numel()
    for leaves in [None, *held]:
        for enters in [None, *sorted(set(range(p)) - held)]:
            index = sorted((held - {leaves}) | ({enters} - {None}))
            values = torch.zeros(len(index), dtype=torch.float64)
            yield Sparse(values, torch.tensor(index, dtype=torch.int32), code.size)


L0 = {
    "joint": ConstraintL0Pruning(kappa=5),
    "channel": ConstraintL0Pruning(kappa=2, granularity="channel"),
    "blocks": ConstraintL0Pruning(kappa=1, granularity=Blocks(3)),
    "price": PenaltyL0Pruning(alpha=40.0),
    "mixed": Mixed([("some", ConstraintL0Pruning(kappa=3), "coef_")]),
}
MODELS = {
    "free": (LinearRegression(), 1, np.asarray),
    "no intercept": (LinearRegression(fit_intercept=False), 2, np.asarray),
    "ridges": (Ridge(np.array([1.0, 30.0])), 2, np.asarray),
    "sparse": (Ridge(2.0), 2, sparse.csr_array),
}


@pytest.mark.parametrize("scheme", L0)
@pytest.mark.parametrize("model", MODELS)
def test_no_single_exchange_improves_a_support(model, scheme):
    model, outputs, kind = MODELS[model]
    scheme, (X, y) = L0[scheme], regression(outputs)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    learner, theta = refitted(model, scheme, kind(X), y, weight)
    found = learner.loss() + scheme.cost(theta)
    assert np.isfinite(found)
    for code in neighbours(theta["coef_"]):
        assert value(learner, scheme, code) >= found * (1 - 1e-8)


@pytest.mark.parametrize("n", [30, 400])
def test_wide_and_tall_data_are_exchanged_alike(n):
    """There are fewer samples than features, or they are kept as few."""
    X, y = regression(1, n=n, d=40)
    scheme = ConstraintL0Pruning(kappa=3)
    learner, theta = refitted(LinearRegression(), scheme, X, y)
    found = learner.loss()
    assert found == pytest.approx(value(learner, scheme, theta["coef_"]))
    for code in neighbours(theta["coef_"]):
        assert value(learner, scheme, code) >= found * (1 - 1e-8)


@pytest.mark.parametrize(
    ("scheme", "rho"),
    [(ConstraintL0Pruning(kappa=3), 0.5), (ConstraintL0Pruning(kappa=3), 0.9)],
)
def test_the_best_of_all_subsets_is_found_in_nearly_every_case(scheme, rho):
    hits = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        far = np.abs(np.subtract.outer(range(8), range(8)))
        X = rng.standard_normal((40, 8)) @ np.linalg.cholesky(rho**far).T
        y = X[:, rng.choice(8, 3, replace=False)].sum(1) + rng.standard_normal(40)
        lc = LCCompressor(LinearRegression(), scheme).fit(X, y)
        best = min(
            np.mean((y - LinearRegression().fit(X[:, s], y).predict(X[:, s])) ** 2)
            for s in map(list, combinations(range(8), 3))
        )
        hits += lc.history_[lc.best_step_]["loss"] <= best * (1 + 1e-9)
    assert hits >= 11


@pytest.mark.parametrize("n_classes", [2, 3])
def test_exchanges_improve_supports_of_log_losses_too(n_classes):
    X, y = classes(n_classes)
    scheme = ConstraintL0Pruning(kappa=3)
    model = LogisticRegression(C=10.0, tol=1e-8, max_iter=1000)
    learner, theta = refitted(model, scheme, X, y)
    found = learner.loss()
    tried = [value(learner, scheme, code) for code in neighbours(theta["coef_"])]
    finite = [each for each in tried if np.isfinite(each)]
    assert len(finite) > 10
    assert min(finite) >= found * (1 - 1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("intercept", [True, False])
def test_intercepts_are_eliminated_from_second_derivatives(n_classes, kind, intercept):
    X, y = classes(n_classes)
    model = LogisticRegression(fit_intercept=intercept)
    loss = LinearLStep().start(model, kind(X), y, n_steps=1).loss_function
    W = np.random.default_rng(0).standard_normal((loss.n_outputs, X.shape[1]))

    b = loss.best_intercept(W, np.zeros(len(W)), 1e-12)
    quadratic = loss.quadratic(W, b)
    found = quadratic.rows(np.arange(W.size))
    whole = loss.hessian(W, b, (0.0, 0.0))  # tested beside finite differences
    first, mixed = whole[: W.size, : W.size], whole[: W.size, W.size :]
    freed = mixed @ np.linalg.pinv(whole[W.size :, W.size :]) @ mixed.T
    np.testing.assert_allclose(found, first - freed, atol=1e-10)
    np.testing.assert_allclose(quadratic.diagonal, found.diagonal(), atol=1e-10)


def test_a_tableau_that_moves_is_one_that_is_made_anew():
    X, y = regression(1, d=9)
    loss = LinearLStep().start(Ridge(), X, y, n_steps=1).loss_function

    def table(support):
        zero = np.zeros((1, 9)), np.zeros(1)
        w = np.zeros(9)
        quadratic = loss.quadratic(zero[0], loss.best_intercept(*zero, 1e-9))
        rows = quadratic.rows(support)
        w[support] = np.linalg.solve(rows[:, support], quadratic.slope[support])
        b = loss.best_intercept(w[None], zero[1], 1e-9)
        return Tableau(loss.quadratic(w[None], b), w, support)

    moving = table(np.array([1, 4, 6]))
    for _ in range(3):
        (change,) = moving.best(np.zeros(9, dtype=int), np.array([True]), 1.0)
        before = moving.S
        moving.apply(change)
        new = table(change.of(before))
        for name in "w", "c", "d":
            np.testing.assert_allclose(
                getattr(moving, name), getattr(new, name), atol=1e-8
            )


# ---- norms ----


def lasso(X, y, alpha):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of twins
        found = Lasso(alpha, tol=1e-12, max_iter=20_000).fit(X, y)
    return np.abs(found.coef_).sum(), np.mean((found.predict(X) - y) ** 2)


def hard(name):
    """Return data on which pulls of any strength are far from an end."""
    rng = np.random.default_rng(0)
    X, y = regression(1, n=100, d=10)
    if name == "wide":
        X = rng.standard_normal((40, 120))
        return X, X[:, :5].sum(1) + 0.1 * rng.standard_normal(40)
    if name == "twins":
        X = np.column_stack([X, X[:, 0] + 1e-6 * rng.standard_normal(len(X))])
    if name == "scales":
        X = X * np.logspace(0, 3, 10)
    return X, y[:, 0]


@pytest.mark.parametrize("data", ["wide", "twins", "scales"])
@pytest.mark.parametrize("share", [0.02, 0.3])
def test_an_l1_norm_ends_at_the_optimum(data, share):
    X, y = hard(data)
    alpha = share * np.abs((X - X.mean(0)).T @ (y - y.mean())).max() / len(y)
    norm, least = lasso(X, y, alpha)
    ball = LCCompressor(LinearRegression(), ConstraintL1Pruning(kappa=norm)).fit(X, y)
    found = ball.history_[ball.best_step_]["loss"]
    assert found <= least * (1 + 1e-8)
    assert np.abs(ball.coef_).sum() <= norm * (1 + 1e-12)
    priced = LCCompressor(LinearRegression(), PenaltyL1Pruning(alpha=2 * alpha))
    entry = priced.fit(X, y).history_[priced.best_step_]
    expected = least + 2 * alpha * norm
    assert entry["loss"] + entry["cost"] <= expected * (1 + 1e-8)
    if data != "twins":  # Lasso has converged, too
        assert found == pytest.approx(least, rel=1e-8)
        assert entry["loss"] + entry["cost"] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_log_losses_with_a_price_end_at_the_optimum(n_classes):
    X, y = classes(n_classes)
    model, alpha = LogisticRegression(C=10.0, max_iter=1000), 0.02
    lc = LCCompressor(model, PenaltyL1Pruning(alpha=alpha)).fit(X, y)
    learner = LinearLStep().start(model, X, y, n_steps=1)
    W = np.atleast_2d(lc.coef_)
    _, slope, turn = learner.loss_function.value_and_gradient(W, lc.intercept_)
    kept = W != 0
    assert 0 < kept.sum() < W.size
    np.testing.assert_allclose(slope[kept], -alpha * np.sign(W[kept]), atol=1e-7)
    assert np.abs(slope[~kept]).max() <= alpha * (1 + 1e-6)
    assert np.abs(turn).max() < 1e-6


@pytest.mark.parametrize("granularity", ["joint", "channel"])
def test_norms_of_several_outputs_are_bounded_as_they_should(granularity):
    X, y = regression(2)
    scheme = ConstraintL1Pruning(kappa=60.0, granularity=granularity)
    learner, theta = refitted(LinearRegression(), scheme, X, y)
    W = learner.weights()["coef_"].numpy()
    assert scheme.cost(theta) == 0
    _, slope, _ = learner.loss_function.value_and_gradient(
        W, learner.weights()["intercept_"].numpy()
    )
    rows = [W] if granularity == "joint" else list(W)
    slopes = [slope] if granularity == "joint" else list(slope)
    for row, own in zip(rows, slopes, strict=True):  # one force for each bound
        assert np.abs(row).sum() == pytest.approx(60.0)
        force = -own[row != 0] * np.sign(row[row != 0])
        np.testing.assert_allclose(force, force[0], rtol=1e-8)
        assert np.abs(own).max() <= force[0] * (1 + 1e-8)


def test_a_bound_that_holds_nothing_back_is_the_model_itself():
    X, y = regression(1)
    lc = LCCompressor(LinearRegression(), ConstraintL1Pruning(kappa=1e6)).fit(X, y)
    np.testing.assert_allclose(lc.coef_, LinearRegression().fit(X, y).coef_, rtol=1e-6)


# ---- codebooks ----


@pytest.mark.parametrize(
    "scheme",
    [
        AdaptiveQuantization(k=3),
        AdaptiveQuantization(k=2, granularity="channel"),
        AdaptiveQuantization(k=3, zero=True, kappa=5),
        ScaledBinaryQuantization(),
        ScaledTernaryQuantization(granularity="channel"),
    ],
)
@pytest.mark.parametrize("model", ["no intercept", "ridges"])
def test_no_single_change_improves_a_codebook(scheme, model):
    model, outputs, kind = MODELS[model]
    X, y = regression(outputs)
    learner, theta = refitted(model, scheme, kind(X), y)
    found, code = learner.loss(), theta["coef_"]
    index = code.index.reshape(-1)
    levels = Levels.of(code).factor.shape[1]
    used = set(index.tolist())
    for i in range(len(index)):
        for level in used & set(range(levels)):
            changed = index.clone()
            changed[i] = level
            new = replace(code, index=changed.view(code.index.shape))
            assert value(learner, scheme, new) >= found * (1 - 1e-8)


@pytest.mark.parametrize("rank", [1, 2])
def test_a_low_rank_is_the_closed_form(rank):
    X, y = make_regression(80, 6, n_targets=4, noise=20.0, random_state=0)
    lc = LCCompressor(LinearRegression(), LowRank(rank=rank)).fit(X, y)
    fitted = LinearRegression().fit(X, y).predict(X) - y.mean(0)
    _, _, V = np.linalg.svd(fitted, full_matrices=False)
    expected = y - y.mean(0) - fitted @ V[:rank].T @ V[:rank]
    found = lc.history_[lc.best_step_]["loss"]
    assert found == pytest.approx((expected**2).sum() / len(y), rel=1e-8)


def test_a_pipeline_shows_the_coefficients_of_its_last_step():
    X, y = regression(1)
    model = make_pipeline(StandardScaler(), LinearRegression())
    lc = LCCompressor(model, ConstraintL0Pruning(kappa=3)).fit(X, y[:, 0])
    assert np.count_nonzero(lc.coef_) == 3
    assert lc.intercept_ == pytest.approx(y.mean())


# ---- what schemes grant ----


def test_budgets_say_what_each_row_may_have():
    weights = {"coef_": torch.zeros(2, 5, dtype=torch.float64)}
    blocks = ConstraintL0Pruning(kappa=2, granularity=Blocks(3))
    found = blocks.budgets(weights)["coef_"]
    assert [len(set(row.tolist())) for row in found.rows] == [2, 2]
    assert len(found.most) == 4
    assert set(found.most.tolist()) == {2.0}
    share = ConstraintL0Pruning(kappa=0.5).budgets(weights)["coef_"]
    assert share.most.tolist() == [5.0]
    assert not share.rows.any()
    price = PenaltyL1Pruning(alpha=3.0).budgets(weights)["coef_"]
    assert (price.order, price.price, price.most.tolist()) == (1, 3.0, [np.inf])
    assert LowRank().budgets(weights) == {}
