"""A run has converged when it stands still, not when its pull holds it."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso, LinearRegression

from sklc import LCCompressor
from sklc.codes import Dense
from sklc.lc.loop import Iterate
from sklc.lc.stationarity import dual_residual
from sklc.schemes import (
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    PenaltyL1Pruning,
)


def iterate(delta, mu=2.0, multipliers=(0.0, 0.0), weights=(3.0, 4.0)):
    theta = {"w": Dense(torch.tensor(delta, dtype=torch.float64))}
    vectors = (torch.tensor(v, dtype=torch.float64) for v in (weights, multipliers))
    return Iterate(1, mu, *vectors, theta, 0.0)


def test_the_residual_is_the_force_of_the_last_move():
    before = iterate((0.0, 0.0))
    after = iterate((0.3, 0.4), multipliers=(0.0, 5.0))
    assert dual_residual(after, before) == pytest.approx(2 * 0.5 / 5)
    assert dual_residual(after, after) == 0
    alone = iterate((0.0, 4.0))  # without multipliers, the pull itself
    assert dual_residual(alone, before) == pytest.approx(2 * 4 / (2 * 3))


def test_a_stronger_pull_does_not_hide_a_move():
    before = iterate((0.0, 0.0))
    moves = [
        dual_residual(iterate((1 / mu, 0.0), mu, (0.0, 1.0)), before)
        for mu in (1.0, 1e3, 1e6)
    ]
    assert moves == pytest.approx([1.0, 1.0, 1.0])


def wide(n=100, d=400):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    return X, X[:, :10] @ rng.standard_normal(10) + 0.1 * rng.standard_normal(n)


def least_of_norm(X, y, kappa):
    """Return the least squared error of coefficients of an l1 norm, by the lasso."""
    low, high = 1e-4, 10.0
    for _ in range(40):
        alpha = np.sqrt(low * high)
        model = Lasso(alpha, tol=1e-9, max_iter=100_000).fit(X, y)
        low, high = (alpha, high) if np.abs(model.coef_).sum() > kappa else (low, alpha)
    return np.mean((model.predict(X) - y) ** 2)


@pytest.mark.parametrize("kappa", [2.0, 6.0])
def test_what_has_converged_is_the_optimum_of_a_convex_problem(kappa):
    X, y = wide()
    least = least_of_norm(X, y, kappa)
    scheme = ConstraintL1Pruning(kappa=kappa)
    lc = LCCompressor(LinearRegression(), scheme).fit(X, y)
    found = lc.history_[lc.best_step_]["loss"]
    assert found >= least * (1 - 1e-6)
    assert lc.termination_condition_ == "max_iter" or found <= least * (1 + 1e-6)
    steady = LCCompressor(
        LinearRegression(), scheme, mu_init=0.5, mu_factor=1.0, max_iter=5000, tol=1e-6
    ).fit(X, y)
    assert steady.termination_condition_ == "converged"
    found = steady.history_[steady.best_step_]["loss"]
    assert found == pytest.approx(least, rel=1e-6)


def test_a_penalty_ends_at_its_optimum_too():
    X, y = wide()
    lasso = Lasso(0.05, tol=1e-10, max_iter=100_000).fit(X, y)
    least = np.mean((lasso.predict(X) - y) ** 2) + 0.1 * np.abs(lasso.coef_).sum()
    lc = LCCompressor(
        LinearRegression(),
        PenaltyL1Pruning(alpha=0.1),
        mu_init=0.5,
        mu_factor=1.0,
        max_iter=5000,
        tol=1e-6,
    ).fit(X, y)
    assert lc.termination_condition_ == "converged"
    best = lc.history_[lc.best_step_]
    assert best["loss"] + best["cost"] == pytest.approx(least, rel=1e-6)


def test_a_support_that_nothing_moves_converges():
    X, y = wide(n=100, d=20)
    X = np.linalg.qr(X)[0]  # then direct compression is the best subset
    lc = LCCompressor(LinearRegression(), ConstraintL0Pruning(kappa=5), mu_factor=1.0)
    lc.set_params(mu_init=0.02, max_iter=500, tol=1e-6).fit(X, y)
    assert lc.termination_condition_ == "converged"
