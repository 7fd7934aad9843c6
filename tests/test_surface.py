"""The surface of scikit-learn around compressors: metadata, pictures, copies."""

import copy
import io
import pickle

import joblib
import numpy as np
import pytest
import torch
from nets import compressor, data
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV

from sklc import LCCompressor
from sklc.schemes import AdaptiveQuantization, ConstraintL0Pruning

pytestmark = pytest.mark.filterwarnings("ignore:The LC steps did not improve")


def logistic(estimator=None, **options):
    return LCCompressor(
        estimator or LogisticRegression(),
        AdaptiveQuantization(k=2),
        **{"max_iter": 3, **options},
    )


@pytest.fixture
def weighted():
    X, y = data()
    return X, y, np.linspace(0, 2, len(y))


@pytest.fixture
def expected(weighted):
    X, y, weight = weighted
    return logistic().fit(X, y, sample_weight=weight).estimator_.coef_


@pytest.mark.parametrize("frozen", [False, True])
def test_metadata_are_routed_to_those_who_ask(weighted, expected, frozen):
    X, y, weight = weighted
    with config_context(enable_metadata_routing=True):
        model = LogisticRegression().set_fit_request(sample_weight=True)
        if frozen:
            model = FrozenEstimator(model.fit(X, y, sample_weight=weight))
        lc = logistic(model).fit(X, y, sample_weight=weight)
        np.testing.assert_allclose(lc.estimator_.coef_, expected, rtol=1e-3)
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            logistic().fit(X, y, sample_weight=weight)


def test_metadata_reach_through_a_search(weighted):
    X, y, weight = weighted
    with config_context(enable_metadata_routing=True):
        model = LogisticRegression()
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        grid = {"scheme__k": [1, 2]}
        search = GridSearchCV(logistic(model), grid, cv=2)
        search.fit(X, y, sample_weight=weight)
        alone = clone(search.best_estimator_).fit(X, y, sample_weight=weight)
    found = search.best_estimator_.estimator_.coef_
    assert np.array_equal(found, alone.estimator_.coef_)


def test_a_module_asks_for_no_metadata():
    X, y = data()
    module = torch.nn.Linear(5, 3)
    with config_context(enable_metadata_routing=True):
        lc = logistic(module, random_state=0)
        assert lc.fit(X, y).theta_.keys() == {"weight"}
        with pytest.raises(TypeError, match="sample_weight"):
            lc.fit(X, y, sample_weight=np.ones(len(X)))


def test_scores_take_weights(weighted):
    X, y, weight = weighted
    lc = logistic().fit(X, y)
    inner = lc.estimator_.score(X, y, sample_weight=weight)
    assert lc.score(X, y, sample_weight=weight) == inner


def test_its_picture_shows_what_is_inside():
    picture = logistic()._repr_html_()
    for name in "LCCompressor", "LogisticRegression", "AdaptiveQuantization":
        assert name in picture


def test_it_offers_what_its_estimator_does():
    assert hasattr(logistic(), "decision_function")
    assert hasattr(logistic(), "predict_log_proba")
    regressor = logistic(LinearRegression())
    assert not hasattr(regressor, "decision_function")
    assert not hasattr(regressor, "predict_proba")
    X, y = data()
    lc = logistic().fit(X, y)
    for method in "decision_function", "predict_log_proba", "predict_proba", "predict":
        ours, inner = getattr(lc, method)(X), getattr(lc.estimator_, method)(X)
        assert np.array_equal(ours, inner)


def joblibbed(fitted):
    file = io.BytesIO()
    joblib.dump(fitted, file)
    return joblib.load(io.BytesIO(file.getvalue()))


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, joblibbed, lambda lc: pickle.loads(pickle.dumps(lc))]
)
@pytest.mark.parametrize("make", [logistic, compressor])
def test_copies_predict_alike(make, copied):
    X, y = data()
    lc = make().fit(X, y)
    again = copied(lc)
    assert np.array_equal(lc.predict_proba(X), again.predict_proba(X))
    assert again.compression_ratio_ == lc.compression_ratio_


def test_parameters_at_every_depth():
    lc = logistic()
    lc.set_params(scheme__k=5, estimator__C=3.0, scheme__granularity="joint")
    assert (lc.scheme.k, lc.estimator.C) == (5, 3.0)
    lc.set_params(scheme=ConstraintL0Pruning(), scheme__kappa=7)
    assert clone(lc).scheme.kappa == 7
