"""Pipelines that end in a net: labels and dtypes are translated behind them."""

import pickle

import numpy as np
import pytest
from nets import classifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklc import LCCompressor
from sklc.schemes import AdaptiveQuantization

pytestmark = pytest.mark.filterwarnings("ignore:The ")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 5)) * [1, 10, 1, 1, 1]
NUMBERS = (X @ RNG.standard_normal((5, 3))).argmax(1)


def fitted(net, y):
    scheme = AdaptiveQuantization(k=2)
    return LCCompressor(net, scheme, max_iter=3, random_state=0).fit(X, y)


def test_a_net_behind_a_scaler_learns_labels_of_any_kind():
    y = np.array(["a", "b", "c"])[NUMBERS]
    lc = fitted(make_pipeline(StandardScaler(), classifier(max_epochs=20)), y)
    assert lc.score(X, y) > 0.7  # a constant: 0.55
    assert set(lc.predict(X)) <= {"a", "b", "c"}
    assert lc.classes_.tolist() == ["a", "b", "c"]
    assert lc.predict_proba(X).shape == (60, 3)
    assert lc.n_features_in_ == 5
    assert lc.estimator_[-1].module_[0].weight.unique().numel() == 2
    again = pickle.loads(pickle.dumps(lc))
    assert np.array_equal(again.predict(X), lc.predict(X))


def test_a_frozen_pipeline_with_a_net_is_where_it_begins():
    single = FunctionTransformer(np.float32)
    net = classifier(max_epochs=20)
    pipeline = make_pipeline(StandardScaler(), single, net).fit(X, NUMBERS)
    lc = fitted(FrozenEstimator(pipeline), NUMBERS)
    assert lc.score(X, NUMBERS) > 0.7  # a constant: 0.55
    assert net.module_[0].weight.unique().numel() == 20
