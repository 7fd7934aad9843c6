"""Schedules of models whose weights are huge for no reason."""

import numpy as np
import pytest
import sklearn
from packaging.version import Version
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.preprocessing import PolynomialFeatures, StandardScaler, scale

from sklc import LCCompressor
from sklc.schemes import ConstraintL0Pruning, PenaltyL0Pruning, PenaltyL1Pruning

#: Whether the l1 norm has another name.
SINCE_1_8 = Version(sklearn.__version__) >= Version("1.8")


def diabetes(kind):
    X, y = load_diabetes(return_X_y=True)
    noise = np.random.default_rng(0).standard_normal(len(X))
    if kind == "near duplicate":
        X = np.column_stack([X, X[:, 2] + 1e-6 * noise])
    if kind == "nearly a sum":
        X = np.column_stack([X, X[:, 2] + X[:, 3] - X[:, 4] + 1e-5 * noise])
    if kind == "cubic":
        X = PolynomialFeatures(3, include_bias=False).fit_transform(scale(X))
    if kind == "cubic of small numbers":
        X = PolynomialFeatures(3, include_bias=False).fit_transform(X)
    return X, y


def objective(lc):
    entry = lc.history_[lc.best_step_]
    return entry["loss"] + entry["cost"]


@pytest.mark.parametrize(
    ("kind", "alpha"),
    [
        ("plain", 0.02),
        ("near duplicate", 0.02),
        ("nearly a sum", 0.02),
        ("cubic", 1.0),
        ("cubic of small numbers", 0.02),
    ],
)
def test_a_penalty_finds_the_solution_of_the_convex_problem(kind, alpha):
    X, y = diabetes(kind)
    lasso = Lasso(alpha / 2, max_iter=200_000, tol=1e-6).fit(X, y)
    error = np.mean((y - lasso.predict(X)) ** 2)
    expected = error + alpha * np.abs(lasso.coef_).sum()
    model = Ridge(1e-8) if kind == "nearly a sum" else LinearRegression()
    lc = LCCompressor(model, PenaltyL1Pruning(alpha=alpha)).fit(X, y)
    assert objective(lc) < 1.005 * expected
    assert lc.score(X, y) == pytest.approx(lasso.score(X, y), abs=0.01)
    assert lc.history_[-1]["gap"] < 5e-3  # nearly dependent cubes


def test_nearly_separable_classes_are_penalised_as_well():
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    lc = LCCompressor(
        LogisticRegression(C=1e6, max_iter=5000), PenaltyL1Pruning(alpha=0.001)
    ).fit(X, y)
    l1 = {"l1_ratio": 1} if SINCE_1_8 else {"penalty": "l1"}
    rival = LogisticRegression(
        C=1 / (0.001 * len(X)), **l1, solver="saga", max_iter=20_000, tol=1e-4
    ).fit(X, y)
    expected = log_loss(y, rival.predict_proba(X)) + 0.001 * np.abs(rival.coef_).sum()
    assert objective(lc) < 1.01 * expected
    assert 10 <= np.count_nonzero(lc.coef_) <= 22
    assert lc.history_[-1]["gap"] < 5e-3  # nearly dependent cubes


@pytest.mark.parametrize("scheme", [PenaltyL0Pruning(5.0), ConstraintL0Pruning(6)])
@pytest.mark.parametrize("kind", ["near duplicate", "nearly a sum"])
def test_counts_of_weights_close_their_gap_too(kind, scheme):
    X, y = diabetes(kind)
    lc = LCCompressor(LinearRegression(), scheme).fit(X, y)
    assert lc.history_[-1]["gap"] < 5e-3  # nearly dependent cubes
    assert lc.score(X, y) > 0.48  # of all features: 0.52
    assert objective(lc) < lc.history_[0]["loss"] + lc.history_[0]["cost"]


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_units_of_the_loss_do_not_matter(factor):
    X, y = diabetes("near duplicate")
    root = np.sqrt(factor)
    counts = [
        np.count_nonzero(
            LCCompressor(
                LinearRegression(), PenaltyL1Pruning(alpha=0.02 * unit), max_iter=20
            )
            .fit(X, unit * y)
            .coef_
        )
        for unit in (1.0, root)
    ]
    assert counts[0] == counts[1]
