"""Pipelines that end in a model, and the coefficients of what was compressed."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)

from sklc import LCCompressor
from sklc.lstep import LinearLStep, PipelineLStep
from sklc.schemes import AdaptiveQuantization, ConstraintL0Pruning

SCHEME = ConstraintL0Pruning(kappa=4)
RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 5)) * [1, 10, 100, 1, 1] + [0, 5, 0, 0, 0]
Y = X @ [1.0, -0.2, 0.03, 0.0, 0.0] + 1
LABELS = np.where(Y > 1, "high", "low")


class Counted(TransformerMixin, BaseEstimator):
    """Count the fits."""

    fits = 0

    def fit(self, X, y=None, sample_weight=None):
        Counted.fits += 1
        self.weight_ = sample_weight
        return self

    def transform(self, X):
        return X


@pytest.mark.parametrize("model", [LogisticRegression(), Ridge(), LinearRegression()])
def test_it_is_its_last_step_on_what_the_others_make(model):
    y = LABELS if isinstance(model, LogisticRegression) else Y
    pipeline = make_pipeline(StandardScaler(), model)
    lc = LCCompressor(pipeline, SCHEME, finetune=1).fit(X, y)
    alone = LCCompressor(model, SCHEME, finetune=1)
    alone.fit(StandardScaler().fit_transform(X), y)
    assert isinstance(lc.estimator_, Pipeline)
    assert lc.estimator_ is not pipeline
    assert np.array_equal(lc.estimator_[-1].coef_, alone.estimator_.coef_)
    assert np.count_nonzero(lc.estimator_[-1].coef_) == 4
    assert np.array_equal(lc.predict(X), lc.estimator_.predict(X))
    assert lc.score(X, y) == lc.estimator_.score(X, y)
    assert lc.theta_.keys() == {"coef_"}
    assert lc.n_features_in_ == 5
    with pytest.raises(NotFittedError):
        pipeline.predict(X)
    if model.__class__ is LogisticRegression:
        assert lc.classes_.tolist() == ["high", "low"]
        assert lc.predict_proba(X).shape == (90, 2)


def test_its_transformers_are_fitted_once():
    Counted.fits = 0
    LCCompressor(make_pipeline(Counted(), Ridge()), SCHEME, max_iter=5).fit(X, Y)
    assert Counted.fits == 1


def test_a_frozen_pipeline_is_where_it_begins():
    pipeline = make_pipeline(StandardScaler(), Counted(), Ridge()).fit(X[:40], Y[:40])
    before = pipeline[-1].coef_.copy()
    Counted.fits = 0
    lc = LCCompressor(FrozenEstimator(pipeline), SCHEME, max_iter=0, finetune=0).fit(
        X, Y
    )
    assert Counted.fits == 0
    assert np.array_equal(pipeline[-1].coef_, before)
    assert np.array_equal(lc.estimator_[0].mean_, pipeline[0].mean_)
    kept = np.argsort(-np.abs(before))[:4]
    assert np.array_equal(lc.estimator_[-1].coef_[kept], before[kept])
    assert lc.estimator_[0] is not pipeline[0]
    with pytest.raises(NotFittedError, match="a pipeline that is not fitted: fit it"):
        LCCompressor(FrozenEstimator(clone(pipeline)), SCHEME).fit(X, Y)


def test_tables_of_all_kinds_of_columns():
    frame = pd.DataFrame(X, columns=list("abcde"))
    frame["kind"] = np.where(X[:, 3] > 0, "one", "other")
    pipeline = make_pipeline(
        make_column_transformer(
            (StandardScaler(), list("abcde")), (OneHotEncoder(), ["kind"])
        ),
        LogisticRegression(),
    )
    lc = LCCompressor(pipeline, AdaptiveQuantization(k=2), max_iter=3)
    lc.fit(frame, LABELS)
    assert lc.score(frame, LABELS) == lc.estimator_.score(frame, LABELS) > 0.7
    assert lc.feature_names_in_.tolist() == [*"abcde", "kind"]


def test_sparse_features_stay_sparse_through_it():
    pipeline = make_pipeline(OneHotEncoder(), Ridge())
    table = RNG.integers(0, 3, (80, 4))
    lc = LCCompressor(pipeline, SCHEME, max_iter=3).fit(table, table.sum(1))
    assert lc.estimator_[-1].coef_.shape == (12,)


@pytest.mark.parametrize("steps", [[], [("none", "passthrough")]])
def test_without_transformers_it_is_the_model(steps):
    lc = LCCompressor(Pipeline([*steps, ("model", Ridge())]), SCHEME).fit(X, Y)
    alone = LCCompressor(Ridge(), SCHEME).fit(X, Y)
    assert np.array_equal(lc.estimator_[-1].coef_, alone.estimator_.coef_)
    assert len(lc.estimator_.steps) == len(steps) + 1


def test_parameters_of_a_fit_are_for_the_steps_that_they_name():
    weight = np.linspace(0, 2, len(Y))
    pipeline = make_pipeline(Counted(), Ridge())
    lc = LCCompressor(pipeline, SCHEME, max_iter=2)
    lc.fit(X, Y, ridge__sample_weight=weight, counted__sample_weight=weight[::-1])
    alone = LCCompressor(Ridge(), SCHEME, max_iter=2).fit(X, Y, sample_weight=weight)
    assert np.array_equal(lc.estimator_[-1].coef_, alone.estimator_.coef_)
    assert np.array_equal(lc.estimator_[0].weight_, weight[::-1])
    for name in "sample_weight", "other__sample_weight":
        with pytest.raises(TypeError, match="as in ridge__"):
            lc.fit(X, Y, **{name: weight})


@pytest.mark.parametrize("asked", [False, True])
def test_metadata_are_routed_to_the_steps_that_ask(asked):
    weight = np.linspace(0, 2, len(Y))
    with config_context(enable_metadata_routing=True):
        front = Counted().set_fit_request(sample_weight=asked)
        model = Ridge().set_fit_request(sample_weight=True)
        lc = LCCompressor(make_pipeline(front, model), SCHEME, max_iter=2)
        lc.fit(X, Y, sample_weight=weight)
    alone = LCCompressor(Ridge(), SCHEME, max_iter=2).fit(X, Y, sample_weight=weight)
    assert np.array_equal(lc.estimator_[-1].coef_, alone.estimator_.coef_)
    assert (lc.estimator_[0].weight_ is not None) == asked


def test_it_can_be_searched():
    pipeline = make_pipeline(PolynomialFeatures(), StandardScaler(), Ridge())
    lc = LCCompressor(pipeline, SCHEME, max_iter=2)
    grid = {"estimator__polynomialfeatures__degree": [1, 2], "scheme__kappa": [3, 5]}
    search = GridSearchCV(lc, grid, cv=2).fit(X, Y)
    assert search.best_score_ > 0.8
    assert isinstance(search.best_estimator_.estimator_, Pipeline)


def test_its_last_step_must_be_known():
    pipeline = make_pipeline(StandardScaler(), StandardScaler())
    with pytest.raises(TypeError, match="No L step is known for StandardScaler"):
        LCCompressor(pipeline, SCHEME).fit(X, Y)
    assert "LCCompressor" in LCCompressor(pipeline, SCHEME)._repr_html_()
    assert not hasattr(LCCompressor(pipeline, SCHEME), "predict_proba")
    assert not hasattr(
        LCCompressor(make_pipeline(StandardScaler(), Ridge()), SCHEME), "predict_proba"
    )


def test_how_its_last_step_is_trained_may_be_said():
    pipeline = make_pipeline(StandardScaler(), Ridge())
    lc = LCCompressor(pipeline, SCHEME, l_step=PipelineLStep(LinearLStep()))
    plain = LCCompressor(pipeline, SCHEME)
    expected = plain.fit(X, Y).estimator_[-1].coef_
    assert np.array_equal(lc.fit(X, Y).estimator_[-1].coef_, expected)


# ---- coefficients ----


@pytest.mark.parametrize("model", [LogisticRegression(), Ridge(), LinearRegression()])
def test_coefficients_are_those_of_the_compressed_model(model):
    y = LABELS if isinstance(model, LogisticRegression) else Y
    lc = LCCompressor(model, ConstraintL0Pruning(kappa=2), max_iter=3)
    assert not hasattr(lc, "coef_")
    lc.fit(X, y)
    assert np.array_equal(lc.coef_, lc.estimator_.coef_)
    assert np.array_equal(lc.intercept_, lc.estimator_.intercept_)
    with pytest.raises(AttributeError):
        lc.coef_ = 0


@pytest.mark.parametrize("select", [SelectFromModel, RFE])
def test_features_are_selected_by_them(select):
    lc = LCCompressor(LinearRegression(), ConstraintL0Pruning(kappa=2), max_iter=3)
    options = {"threshold": 1e-9} if select is SelectFromModel else {}
    scaled = StandardScaler().fit_transform(X)
    found = select(lc, **options).fit(scaled, Y)
    assert found.get_support().tolist() == [False, True, True, False, False]


def test_a_pipeline_shows_the_coefficients_of_what_it_ends_in():
    pipeline = make_pipeline(PolynomialFeatures(), Ridge())
    lc = LCCompressor(pipeline, SCHEME, max_iter=1).fit(X, Y)
    assert np.array_equal(lc.coef_, lc.estimator_[-1].coef_)
    assert lc.intercept_ == lc.estimator_[-1].intercept_
