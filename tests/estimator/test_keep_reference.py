"""The reference and direct compression stay beside the result, if one asks for it."""

import pickle

import numpy as np
import pytest
import torch
from nets import classifier, compressor, data
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklc import LCCompressor
from sklc.codes import pack
from sklc.lstep import NetLearner, NetLStep
from sklc.schemes import AdaptiveQuantization, PenaltyL1Pruning, RankSelection

X, y = data()
QUANTIZED = AdaptiveQuantization(k=2)


def weights(net):
    return {name: p.detach().clone() for name, p in net.module_.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) for name in one
    )


def normed():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)
    )
    return classifier(module=module).fit(X, y)


def test_a_net_stays_as_it_was_and_as_it_was_compressed_directly():
    net = normed()
    lc = compressor(FrozenEstimator(net), keep_reference=True).fit(X, y)
    assert equal(weights(lc.reference_), weights(net))
    direct = clone(lc).set_params(max_iter=0).fit(X, y)
    assert equal(weights(lc.direct_), weights(direct.estimator_))
    assert not equal(weights(lc.direct_), weights(lc.estimator_))
    assert lc.score(X, y) == lc.estimator_.score(lc._translation.samples(X), y)
    assert not {id(p) for p in lc.direct_.module_.parameters()} & {
        id(p) for p in lc.estimator_.module_.parameters()
    }


@pytest.mark.parametrize("model", [Ridge(), LogisticRegression(), "pipeline"])
def test_a_linear_model_stays_too(model):
    if model == "pipeline":
        model = make_pipeline(StandardScaler(), LogisticRegression())
    fitted = clone(model).fit(X.astype(float), y)
    lc = LCCompressor(model, QUANTIZED, max_iter=5, keep_reference=True).fit(X, y)
    np.testing.assert_allclose(lc.reference_.predict(X), fitted.predict(X), rtol=1e-6)
    assert lc.reference_.score(X, y) == pytest.approx(fitted.score(X, y))
    last = lc.direct_[-1] if hasattr(lc.direct_, "steps") else lc.direct_
    assert len(np.unique(last.coef_)) == 2


def test_what_a_costly_scheme_starts_from_is_not_the_reference():
    model = LinearRegression()
    wide = np.hstack(
        [X.astype(float), X + 1e-6 * np.random.default_rng(0).normal(size=X.shape)]
    )
    scheme = PenaltyL1Pruning(alpha=0.1)
    lc = LCCompressor(model, scheme, max_iter=3, keep_reference=True).fit(wide, y)
    expected = clone(model).fit(wide.astype(float), y)
    np.testing.assert_allclose(lc.reference_.coef_, expected.coef_, rtol=1e-3)


@pytest.mark.parametrize("scheme", [QUANTIZED, RankSelection(alpha=1e-6)])
@pytest.mark.parametrize(
    "estimator", [classifier(), FrozenEstimator(LogisticRegression().fit(X, y))]
)
def test_the_result_is_the_same_without(scheme, estimator):
    step = NetLStep(epochs=1) if hasattr(estimator, "module") else None
    options = {"finetune": 1, "random_state": 0, "max_iter": 3, "l_step": step}
    found = [
        LCCompressor(estimator, scheme, keep_reference=keep, **options).fit(X, y)
        for keep in (False, True)
    ]
    headers, arrays = zip(*(pack(lc.theta_) for lc in found), strict=True)
    assert headers[0] == headers[1]
    for name in arrays[0]:
        np.testing.assert_array_equal(arrays[0][name], arrays[1][name])


def test_a_net_is_finetuned_once_all_the_same(monkeypatch):
    seen = []
    finetune = NetLearner.finetune
    monkeypatch.setattr(
        NetLearner, "finetune", lambda *args: seen.append(1) or finetune(*args)
    )
    lc = compressor(keep_reference=True, finetune=1, keep="last").fit(X, y)
    assert lc.n_iter_ > 0
    assert len(seen) == 1


def test_it_is_forgotten_by_the_next_fit():
    lc = compressor(keep_reference=True).fit(X, y)
    lc.set_params(keep_reference=False).fit(X, y)
    assert not hasattr(lc, "reference_")
    assert not hasattr(lc, "direct_")


def test_it_is_pickled():
    lc = compressor(keep_reference=True).fit(X, y)
    again = pickle.loads(pickle.dumps(lc))
    assert equal(weights(again.reference_), weights(lc.reference_))
    assert equal(weights(again.direct_), weights(lc.direct_))


def test_a_run_that_goes_on_has_it(tmp_path):
    path = tmp_path / "run.safetensors"
    lc = compressor(keep_reference=True, checkpoint=path).fit(X, y)
    again = clone(lc).set_params(max_iter=4).fit(X, y)
    assert len(again.history_) == len(lc.history_) + 1
    assert equal(weights(again.reference_), weights(lc.reference_))
    assert equal(weights(again.direct_), weights(lc.direct_))
    again.set_params(keep_reference=False)
    with pytest.raises(ValueError, match="keep_reference differ"):
        again.fit(X, y)


def test_it_must_be_a_bool():
    with pytest.raises(ValueError, match=r"keep_reference.*True or False"):
        compressor(keep_reference="yes").fit(X, y)
