"""The surface of scikit-learn around compressors: metadata, pictures, copies."""

import copy
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

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
from sklc.lstep import NetLStep
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


@pytest.mark.parametrize("stays", [True, False])
@pytest.mark.parametrize("make", [logistic, compressor])
def test_what_was_pickled_beside_an_accelerator_loads_anywhere(
    make, stays, monkeypatch
):
    X, y = data()
    lc = make().fit(X, y)
    seen = []

    def load(file, map_location, load=torch.load, **options):
        seen.append(map_location)
        return load(file, map_location, **options)

    monkeypatch.setattr(torch, "load", load)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    file = pickle.dumps(lc)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: stays)
    again = pickle.loads(file)

    assert seen[0] == (None if stays else "cpu")
    assert np.array_equal(lc.predict_proba(X), again.predict_proba(X))
    assert again.get_params().keys() == lc.get_params().keys()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_net_trained_on_a_gpu_predicts_without_one(tmp_path):
    X, y = data()
    lc = compressor().set_params(l_step=NetLStep(device="cuda")).fit(X, y)
    with open(tmp_path / "lc.pkl", "wb") as file:
        pickle.dump(lc, file)
    code = (
        "import pickle, sys, test_surface as t; X, y = t.data(); "
        "print(pickle.load(open(sys.argv[1], 'rb')).score(X, y))"
    )
    here = Path(__file__).parent
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "lc.pkl")],
        capture_output=True,
        text=True,
        check=True,
        cwd=here,
        env={
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": f"{here}:{here.parent}",
        },
    )
    assert float(found.stdout) == pytest.approx(lc.score(X, y))


def test_parameters_at_every_depth():
    lc = logistic()
    lc.set_params(scheme__k=5, estimator__C=3.0, scheme__granularity="joint")
    assert (lc.scheme.k, lc.estimator.C) == (5, 3.0)
    lc.set_params(scheme=ConstraintL0Pruning(), scheme__kappa=7)
    assert clone(lc).scheme.kappa == 7


def test_scores_route_what_they_are_asked_for(weighted):
    X, y, weight = weighted
    with config_context(enable_metadata_routing=True):
        model = LogisticRegression().set_score_request(sample_weight="importance")
        lc = logistic(model).fit(X, y)
        inner = lc.estimator_.score(X, y, sample_weight=weight)
        assert lc.score(X, y, importance=weight) == inner
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            logistic().fit(X, y).score(X, y, sample_weight=weight)


def test_metadata_that_are_none_are_none():
    X, y = data()
    assert compressor().fit(X, y, sample_weight=None).theta_


def test_the_picture_of_what_cannot_be_fitted_is_one():
    assert "LCCompressor" in LCCompressor(None, AdaptiveQuantization())._repr_html_()
