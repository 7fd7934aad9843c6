"""Sizes as scores, and the smallest model that is good."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklc import LCCompressor
from sklc.metrics import compression_ratio, nbits, smallest_within
from sklc.schemes import AdaptiveQuantization, ConstraintL0Pruning, LowRank

SCORING = {"score": "accuracy", "bits": nbits, "ratio": compression_ratio}
LEVELS = {"scheme__kappa": [1, 4, 12]}


@pytest.fixture(scope="module")
def data():
    return load_iris(return_X_y=True)


def compressor(scheme=None):
    model = LogisticRegression(max_iter=1000)
    return LCCompressor(model, scheme or ConstraintL0Pruning(), max_iter=5)


@pytest.fixture(scope="module")
def search(data):
    return GridSearchCV(
        compressor(), LEVELS, scoring=SCORING, refit=smallest_within(0.02), cv=3
    ).fit(*data)


def test_sizes_are_those_of_the_compressor(data):
    lc = compressor().fit(*data)
    assert nbits(lc) == lc.nbits_
    assert compression_ratio(lc, *data) == lc.compression_ratio_
    pipeline = make_pipeline(StandardScaler(), compressor()).fit(*data)
    assert nbits(pipeline) == pipeline[-1].nbits_


def test_sizes_reach_through_a_search(search):
    assert nbits(search) == search.best_estimator_.nbits_


def test_fewer_weights_are_fewer_bits(search):
    bits = search.cv_results_["mean_test_bits"]
    assert (np.diff(bits) > 0).all()
    assert (np.diff(search.cv_results_["mean_test_ratio"]) < 0).all()


def test_the_smallest_good_model_is_refitted(search):
    scores = search.cv_results_["mean_test_score"]
    assert scores[search.best_index_] >= scores.max() - 0.02
    smaller = (
        search.cv_results_["mean_test_bits"]
        < (search.cv_results_["mean_test_bits"][search.best_index_])
    )
    assert (scores[smaller] < scores.max() - 0.02).all()
    assert search.best_estimator_.scheme.kappa == search.best_params_["scheme__kappa"]


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_other_searches_choose_too(data):
    settings = {"scoring": SCORING, "refit": smallest_within(0.02), "cv": 3}
    randomized = RandomizedSearchCV(
        compressor(), LEVELS, n_iter=2, random_state=0, **settings
    ).fit(*data)
    test_the_smallest_good_model_is_refitted(randomized)
    halving = HalvingGridSearchCV(
        compressor(), LEVELS, cv=3, random_state=0, min_resources=60
    ).fit(*data)
    last = halving.cv_results_["iter"] == halving.n_iterations_ - 1
    assert halving.best_score_ == halving.cv_results_["mean_test_score"][last].max()


@pytest.mark.slow
def test_whole_schemes_are_swapped_in_parallel(data):
    schemes = [AdaptiveQuantization(k=4), ConstraintL0Pruning(kappa=8), LowRank(rank=2)]
    alone, parallel = (
        GridSearchCV(
            compressor(),
            {"scheme": schemes},
            scoring=SCORING,
            refit=smallest_within(0.05),
            cv=2,
            n_jobs=n_jobs,
        ).fit(*data)
        for n_jobs in (None, 2)
    )
    assert str(parallel.best_params_) == str(alone.best_params_)
    for name in "mean_test_score", "mean_test_bits":
        assert np.array_equal(parallel.cv_results_[name], alone.cv_results_[name])


def results(**columns):
    return {
        name: np.array(values, dtype=float)
        for name, values in {
            "mean_test_score": [0.90, 0.95, 0.94, np.nan],
            "std_test_score": [0.1, 0.04, 0.0, 0.0],
            "mean_test_bits": [10, 40, 30, 1],
            "split0_test_score": [0] * 4,
            "split1_test_score": [0] * 4,
            "split2_test_score": [0] * 4,
            "split3_test_score": [0] * 4,
            **columns,
        }.items()
    }


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({}, 1),
        ({"tolerance": 0.01 + 1e-9}, 2),
        ({"tolerance": 0.06}, 0),
        ({"standard_error": True}, 2),  # 0.04 / sqrt(4)
        ({"tolerance": 0.031, "standard_error": True}, 0),
    ],
)
def test_the_tolerance_is_below_the_best_score(options, chosen):
    assert smallest_within(**options)(results()) == chosen


def test_of_equal_sizes_the_better_wins():
    equal = results(mean_test_bits=[10, 10, 10, 1])
    assert smallest_within(1.0)(equal) == 1


def test_missing_scores_are_named():
    with pytest.raises(
        ValueError, match=r"needs a score 'bits': pass scoring=\{'score'"
    ):
        smallest_within()({"mean_test_score": [1.0]})
    with pytest.raises(ValueError, match="tolerance must be at least 0, got -1"):
        smallest_within(-1)
    with pytest.raises(ValueError, match="No candidate has both scores"):
        smallest_within()(results(mean_test_score=[np.nan] * 4))


def test_what_has_no_size_is_refused():
    with pytest.raises(TypeError, match=r"ends in one, got Ridge\(\)"):
        nbits(Ridge())
    with pytest.raises(NotFittedError):
        nbits(compressor())
