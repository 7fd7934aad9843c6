"""The L step of linear models: exact, and scikit-learn's objective."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.optimize import check_grad
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
)
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklc import LCCompressor
from sklc.codes import decompress
from sklc.layers import LayerInfo
from sklc.lstep import LinearLStep, default_l_step
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    LowRank,
    Mixed,
    PenaltyL0Pruning,
    RankSelection,
    ScaledTernaryQuantization,
)

MODELS = {
    "least squares": LinearRegression(),
    "no intercept": LinearRegression(fit_intercept=False),
    "ridge": Ridge(alpha=3.0),
    "ridge, no intercept": Ridge(alpha=0.5, fit_intercept=False),
    "logistic": LogisticRegression(C=0.7, tol=1e-10, max_iter=10_000),
    "logistic, no intercept": LogisticRegression(
        tol=1e-10, max_iter=10_000, fit_intercept=False
    ),
    "balanced": LogisticRegression(tol=1e-10, max_iter=10_000, class_weight="balanced"),
    "weighted": LogisticRegression(
        tol=1e-10, max_iter=10_000, class_weight={0: 1.0, 1: 3.0}
    ),
}


def data(model, n=80, d=6, outputs=1):
    if isinstance(model, LogisticRegression):
        X, y = make_classification(
            n, d, n_informative=4, n_redundant=0, n_classes=outputs + 1, random_state=0
        )
        return X, y
    X, y = make_regression(n, d, n_targets=outputs, noise=5.0, random_state=0, bias=3.0)
    return X + 0.5, y


def start(model, X, y, **options):
    return LinearLStep().start(model, X, y, n_steps=1, **options)


def coefficients(model):
    return np.concatenate([np.ravel(model.coef_), np.ravel(model.intercept_)])


@pytest.mark.parametrize(
    ("kind", "weighted"),
    [(np.asarray, False), (np.asarray, True), (sparse.csr_matrix, True)],
)
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_without_a_pull_it_is_the_solution_of_scikit_learn(
    name, outputs, kind, weighted
):
    model = MODELS[name]
    X, y = data(model, outputs=outputs)
    weight = np.random.default_rng(0).uniform(0, 2, len(X)) if weighted else None
    learner = start(model, kind(X), y, sample_weight=weight)
    learner.learn({}, 1.0, 1)
    expected = clone(model).fit(X, y, sample_weight=weight)
    found = learner.estimator
    np.testing.assert_allclose(
        found.coef_, expected.coef_, rtol=1e-5, atol=1e-5 * np.abs(expected.coef_).max()
    )
    np.testing.assert_allclose(
        found.intercept_,
        expected.intercept_,
        rtol=1e-5,
        atol=1e-5 * np.abs(expected.coef_).max(),
    )
    assert found.coef_.shape == expected.coef_.shape
    assert np.shape(found.intercept_) == np.shape(expected.intercept_)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_more_features_than_samples(alpha, intercept, kind):
    model = Ridge(alpha) if alpha else LinearRegression()
    model.set_params(fit_intercept=intercept)
    X, y = data(model, n=12, d=40)
    learner = start(model, kind(X), y)
    learner.learn({}, 1.0, 1)
    expected = clone(model).fit(X, y)
    np.testing.assert_allclose(
        coefficients(learner.estimator), coefficients(expected), rtol=1e-6, atol=1e-8
    )


def test_an_alpha_for_each_output():
    model = Ridge(alpha=np.array([0.1, 50.0]))
    X, y = data(model, outputs=2)
    learner = start(model, X, y)
    learner.learn({}, 1.0, 1)
    np.testing.assert_allclose(
        learner.estimator.coef_, clone(model).fit(X, y).coef_, rtol=1e-8
    )


def test_scikit_learn_divides_its_objective_by_the_weights():
    X, y = data(LogisticRegression())
    weight = np.linspace(0, 2, len(X))
    model = LogisticRegression(C=0.3)
    learner = start(model, X, y, sample_weight=weight)
    learner.learn({}, 1.0, 1)
    W, b = learner.weights()["coef_"].numpy(), learner.weights()["intercept_"].numpy()
    margin = (2 * y - 1) * (X @ W[0] + b[0])
    objective = 0.3 * (weight * np.log1p(np.exp(-margin))).sum() + (W**2).sum() / 2
    assert learner.loss() == pytest.approx(objective / (0.3 * weight.sum()))
    X, y = data(Ridge())
    learner = start(Ridge(alpha=3.0), X, y, sample_weight=weight)
    learner.learn({}, 1.0, 1)
    W, b = learner.weights()["coef_"].numpy(), learner.weights()["intercept_"].numpy()
    objective = (weight * (y - X @ W[0] - b[0]) ** 2).sum() + 3 * (W**2).sum()
    assert learner.loss() == pytest.approx(objective / weight.sum())


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_the_derivatives_are_those_of_the_loss(name, outputs):
    model = MODELS[name]
    X, y = data(model, n=20, d=4, outputs=outputs)
    function = start(model, X, y).loss_function
    shape = function.n_outputs, 4

    def parts(flat):
        return flat[: -shape[0]].reshape(shape), flat[-shape[0] :]

    def slope(flat):
        _, *slopes = function.value_and_gradient(*parts(flat))
        return np.concatenate([part.ravel() for part in slopes])

    at = np.random.default_rng(0).standard_normal(shape[0] * 5)
    error = check_grad(lambda f: function.value_and_gradient(*parts(f))[0], slope, at)
    assert error < 1e-4 * np.linalg.norm(slope(at))


@pytest.mark.parametrize(
    "pulled", [("coef_",), ("intercept_",), ("coef_", "intercept_")]
)
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("name", ["least squares", "ridge", "logistic"])
def test_a_pulled_solution_has_no_slope(name, wide, pulled):
    model = MODELS[name]
    X, y = data(model, n=30, d=50 if wide else 6)
    if wide and name == "least squares" and pulled == ("intercept_",):
        pytest.skip("there is more than one solution")
    learner = start(model, X, y)
    learner.learn({}, 1.0, 1)
    target = {name: torch.full_like(learner.weights()[name], 0.7) for name in pulled}
    for mu in 1e-3, 0.5, 1e3:
        learner.learn(target, mu, 1)
        weights = {name: w.numpy() for name, w in learner.weights().items()}
        _, *slopes = learner.loss_function.value_and_gradient(*weights.values())
        for (name, weight), slope in zip(weights.items(), slopes, strict=True):
            pull = mu * (weight - 0.7) if name in pulled else 0.0
            assert np.abs(slope + pull).max() < 1e-8 * max(1.0, mu, np.abs(y).max())


def test_sparse_data_stay_sparse():
    X = sparse.random(50, 20_000, density=1e-3, format="csr", random_state=0)
    y = np.arange(50) % 2
    for model in Ridge(), LogisticRegression():
        learner = start(model, X, y)
        assert sparse.issparse(learner.loss_function.X)
        learner.learn({"coef_": torch.zeros(1, 20_000)}, 1.0, 1)
        assert np.isfinite(learner.loss())


@pytest.mark.parametrize("name", ["ridge", "logistic"])
def test_a_sample_of_weight_zero_is_none(name):
    model = MODELS[name]
    X, y = data(model)
    weight = np.ones(len(X))
    weight[::3] = 0
    target = {"coef_": torch.ones(1, X.shape[1])}
    one = start(model, X, y, sample_weight=weight)
    other = start(model, X[weight > 0], y[weight > 0])
    for learner in one, other:
        learner.learn(target, 0.1, 1)
    np.testing.assert_allclose(
        coefficients(one.estimator), coefficients(other.estimator), rtol=1e-6
    )


SCHEMES = {
    "pruned": ConstraintL0Pruning(kappa=3),
    "l1": ConstraintL1Pruning(kappa=0.5),
    "codes": AdaptiveQuantization(k=2),
    "ternary": ScaledTernaryQuantization(),
    "low rank": LowRank(rank=1),
    "ranks": RankSelection(alpha=1e-3, criterion="flops"),
    "priced": PenaltyL0Pruning(alpha=1e-3),
    "sum": Additive(
        [("codes", AdaptiveQuantization(k=2)), ("more", ConstraintL0Pruning(kappa=2))]
    ),
    "an intercept": Mixed([("bias", AdaptiveQuantization(k=1), "intercept_")]),
}


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
@pytest.mark.parametrize(
    ("model", "finetune"),
    [(LinearRegression(), 1), (Ridge(), 0), (LogisticRegression(), 1)],
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_compresses_every_model(model, scheme, finetune):
    X, y = data(model, outputs=3)
    lc = LCCompressor(model, SCHEMES[scheme], max_iter=5, finetune=finetune).fit(X, y)
    assert type(lc.estimator_) is type(model)
    for name, dense in decompress(lc.theta_).items():
        assert np.array_equal(getattr(lc.estimator_, name), dense.numpy())
    assert np.isfinite(SCHEMES[scheme].cost(lc.theta_, layers={"coef_": LayerInfo()}))
    assert np.array_equal(lc.predict(X), lc.estimator_.predict(X))
    assert lc.score(X, y) == lc.estimator_.score(X, y)
    assert lc.n_features_in_ == 6


def test_a_refit_of_the_support_is_that_of_its_columns():
    model = LinearRegression()
    X, y = data(model)
    lc = LCCompressor(model, ConstraintL0Pruning(kappa=3), finetune=1).fit(X, y)
    support = np.flatnonzero(lc.estimator_.coef_)
    alone = LinearRegression().fit(X[:, support], y)
    np.testing.assert_allclose(lc.estimator_.coef_[support], alone.coef_, rtol=1e-6)
    np.testing.assert_allclose(lc.estimator_.intercept_, alone.intercept_, rtol=1e-6)


def test_a_refit_of_a_codebook_is_that_of_the_sums_of_its_columns():
    model = Ridge(alpha=1e-9)
    X, y = data(model)
    lc = LCCompressor(model, AdaptiveQuantization(k=2), finetune=1).fit(X, y)
    values, index = np.unique(lc.estimator_.coef_, return_inverse=True)
    sums = np.stack([X[:, index == j].sum(1) for j in range(len(values))], axis=1)
    alone = LinearRegression().fit(sums, y)
    np.testing.assert_allclose(values, alone.coef_, rtol=1e-5)


def test_the_best_subset_of_features_is_found():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((200, 8))
    y = X @ [3.0, 0, -2.0, 0, 0, 1.5, 0, 0] + 0.1 * rng.standard_normal(200)
    lc = LCCompressor(LinearRegression(), ConstraintL0Pruning(kappa=3)).fit(X, y)
    assert np.flatnonzero(lc.estimator_.coef_).tolist() == [0, 2, 5]


def test_the_model_of_the_user_stays_as_it_is():
    X, y = data(Ridge())
    model = Ridge().fit(X, y)
    before = model.coef_.copy()
    lc = LCCompressor(FrozenEstimator(model), AdaptiveQuantization(k=2)).fit(X, y)
    assert np.array_equal(model.coef_, before)
    assert lc.estimator_ is not model
    fresh = LCCompressor(Ridge(), AdaptiveQuantization(k=2)).fit(X, y)
    np.testing.assert_allclose(lc.estimator_.coef_, fresh.estimator_.coef_)


def test_a_frozen_model_must_be_fitted_and_fit():
    X, y = data(Ridge())
    scheme = AdaptiveQuantization(k=2)
    with pytest.raises(NotFittedError, match="holds a model that is not fitted: fit"):
        LCCompressor(FrozenEstimator(Ridge()), scheme).fit(X, y)
    frozen = FrozenEstimator(Ridge().fit(X, np.stack([y, y], axis=1)))
    with pytest.raises(
        ValueError, match=r"shape \(2, 6\), but the data ask for \(1, 6"
    ):
        LCCompressor(frozen, scheme).fit(X, y)
    labels = np.arange(len(X)) % 2
    frozen = FrozenEstimator(LogisticRegression().fit(X, labels))
    with pytest.raises(ValueError, match=r"fitted to the classes \[0 1\], but y has"):
        LCCompressor(frozen, scheme).fit(X, labels + 1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LinearRegression(positive=True), r"LinearRegression\(positive=True\) is not"),
        (Ridge(positive=True), "needs coefficients of any sign"),
        (LogisticRegression(solver="liblinear"), "liblinear penalises the intercept"),
        (LogisticRegression(l1_ratio=0.5, solver="saga"), r"\(l1_ratio=0.5\) is not"),
    ],
)
def test_other_objectives_are_refused(model, message):
    X, y = np.eye(4), np.arange(4) % 2
    with pytest.raises(ValueError, match=message):
        LCCompressor(model, AdaptiveQuantization(k=2)).fit(X, y)


def test_other_models_are_refused():
    with pytest.raises(
        TypeError,
        match=r"No L step is known for LogisticRegressionCV\. Known are Linear"
        "Regression, LogisticRegression, Module, NeuralNet, Pipeline, Ridge; pass",
    ):
        default_l_step(LogisticRegressionCV())
    with pytest.raises(TypeError, match="trains LinearRegression, Ridge, Logistic"):
        start(LogisticRegressionCV(), np.eye(4), np.arange(4) % 2)


@pytest.mark.parametrize(
    "weight", [np.zeros(4), -np.ones(4), np.ones(3), np.array([1, np.nan, 1, 1])]
)
def test_bad_weights_of_samples_are_refused(weight):
    with pytest.raises(ValueError, match="sample_weight must be 4 finite numbers"):
        start(Ridge(), np.eye(4), np.arange(4.0), sample_weight=weight)


def test_other_bad_input_is_refused():
    X = np.eye(4)
    with pytest.raises(TypeError, match=r"Ridge is not fitted with \['groups'\]"):
        start(Ridge(), X, np.arange(4.0), groups=1)
    with pytest.raises(ValueError, match="two classes or more, but y has one class"):
        start(LogisticRegression(), X, np.ones(4))
    with pytest.raises(ValueError, match="alpha has 3 entries, but y has 2 outputs"):
        start(Ridge(alpha=np.ones(3)), X, np.ones((4, 2)))


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [
        LCCompressor(model, ConstraintL0Pruning(kappa=0.9), max_iter=2)
        for model in (LogisticRegression(), Ridge())
    ]
)
def test_the_checks_of_scikit_learn_pass(estimator, check):
    check(estimator)


@pytest.mark.parametrize("model", [Ridge(copy_X=False), LinearRegression(copy_X=False)])
def test_a_model_that_spoils_its_data_learns_from_them_all_the_same(model):
    X, y = data(model)
    safe = clone(model).set_params(copy_X=True)
    scheme = ConstraintL0Pruning(3)
    expected = LCCompressor(safe, scheme, max_iter=3).fit(X, y)
    found = LCCompressor(model, scheme, max_iter=3).fit(X.copy(), y)
    np.testing.assert_allclose(found.estimator_.coef_, expected.estimator_.coef_)
    assert found.reference_loss_ == pytest.approx(expected.reference_loss_)


def largest_slope(learner):
    """Return those of the coefficients, in units of their features, and intercepts."""
    loss = learner.loss_function
    _, *slopes = loss.value_and_gradient(learner._coef, learner._intercept)
    units = np.sqrt((loss.X**2).mean(0)), 1.0
    return [np.abs(s / unit).max() for s, unit in zip(slopes, units, strict=True)]


@pytest.mark.parametrize("C", [1.0, 100.0])
@pytest.mark.parametrize("outputs", [1, 2])
def test_features_of_very_different_scales_are_solved_too(outputs, C):
    X, y = data(LogisticRegression(), n=200, outputs=outputs)
    X = X * np.logspace(-3, 3, X.shape[1]) + np.logspace(-2, 4, X.shape[1])
    learner = start(LogisticRegression(C=C, tol=1e-10), X, y)
    learner.learn({}, 1.0, 1)
    assert max(largest_slope(learner)) < 1e-10


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("outputs", [1, 2])
def test_second_derivatives_are_those_of_the_gradient(outputs, intercept):
    model = LogisticRegression(fit_intercept=intercept)
    X, y = data(model, outputs=outputs)
    loss = start(model, X, y).loss_function
    rng = np.random.default_rng(0)
    W = rng.standard_normal((loss.n_outputs, X.shape[1]))
    b = rng.standard_normal(loss.n_outputs) * intercept
    mu = 0.3, 0.2
    size = W.size + b.size * intercept

    def slope(flat):
        w, u = flat[: W.size].reshape(W.shape), flat[W.size :] if intercept else b
        _, *slopes = loss.value_and_gradient(w, u)
        slopes = [slopes[0] + mu[0] * w, slopes[1] + mu[1] * u]
        return np.concatenate([s.ravel() for s in slopes])[:size]

    flat, step = np.concatenate([W.ravel(), b])[:size], 1e-6
    expected = [
        (slope(flat + step * unit) - slope(flat - step * unit)) / (2 * step)
        for unit in np.eye(size)
    ]
    np.testing.assert_allclose(loss.hessian(W, b, mu), expected, rtol=1e-4, atol=1e-7)
    sparse_loss = start(model, sparse.csr_array(X), y).loss_function
    np.testing.assert_allclose(sparse_loss.hessian(W, b, mu), loss.hessian(W, b, mu))


@pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning")  # by scikit-learn
@pytest.mark.parametrize("scale", [1e6, 1e8])
def test_a_feature_of_a_huge_scale_does_not_hide_the_others(scale):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3)) * [1, 1, scale]
    y = X @ [1, 2, 3 / scale] + 0.1 * rng.standard_normal(200)
    learner = start(Ridge(1.0), X, y)
    learner.learn({}, 1e-30, 1)
    expected = Ridge(1.0, solver="svd").fit(X, y).coef_
    np.testing.assert_allclose(learner.estimator.coef_, expected, rtol=1e-6)


def test_far_from_the_origin_nothing_cancels():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3))
    y = X @ [1, 2, 3] + 0.1 * rng.standard_normal(200)
    near, far = start(Ridge(1.0), X, y), start(Ridge(1.0), X + 1e7, y)
    for learner in near, far:
        learner.learn({}, 1e-30, 1)
    np.testing.assert_allclose(far.estimator.coef_, near.estimator.coef_, rtol=1e-6)


@pytest.mark.parametrize("model", [LinearRegression(), LogisticRegression()])
def test_compressed_coefficients_come_with_their_best_intercept(model):
    X, y = data(model)
    learner = start(model, X + 3.0, y)
    learner.train_reference()
    learner.substitute({"coef_": 0.5 * learner.weights()["coef_"]})
    assert largest_slope(learner)[1] < 1e-5


@pytest.mark.parametrize("model", [Ridge(), LinearRegression()])
def test_a_column_of_targets_gives_the_shapes_of_scikit_learn(model):
    X, y = data(model)
    lc = LCCompressor(model, ConstraintL0Pruning(3), max_iter=1).fit(X, y[:, None])
    expected = clone(model).fit(X, y[:, None])
    assert lc.estimator_.coef_.shape == expected.coef_.shape
    assert np.shape(lc.estimator_.intercept_) == np.shape(expected.intercept_)
    assert lc.predict(X).shape == expected.predict(X).shape


def test_invalid_options_of_the_model_are_those_of_scikit_learn():
    X, y = data(LogisticRegression())
    with pytest.raises(ValueError, match="The 'C' parameter of LogisticRegression"):
        start(LogisticRegression(C="a"), X, y)


def test_a_class_is_no_estimator():
    with pytest.raises(TypeError, match=r"is the class Ridge: pass Ridge\(\)\."):
        default_l_step(Ridge)
