"""What costs little is done: a refit of direct compression is a candidate too."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from sklc import LCCompressor
from sklc.schemes import AdaptiveQuantization, ConstraintL0Pruning, LowRank

pytestmark = pytest.mark.filterwarnings("ignore:The .* did not improve")


def objective(lc):
    entry = lc.history_[lc.best_step_]
    return entry["loss"] + entry["cost"]


@pytest.mark.parametrize(
    "scheme",
    [LowRank(2), LowRank(4), ConstraintL0Pruning(0.05), AdaptiveQuantization(k=2)],
)
@pytest.mark.parametrize("model", [LogisticRegression(max_iter=500), Ridge()])
def test_no_fit_is_worse_than_direct_compression_and_a_refit(model, scheme):
    X, y = load_digits(return_X_y=True)
    X, y = X[:300] / 16, y[:300]
    y = np.eye(10)[y] if isinstance(model, Ridge) else y
    direct, lc = (
        LCCompressor(model, scheme, max_iter=steps, finetune=1).fit(X, y)
        for steps in (0, 8)
    )
    assert objective(lc) <= objective(direct) * (1 + 1e-9)
    for name, weight in lc.theta_.items():
        assert np.array_equal(getattr(lc.estimator_, name), weight.dense().numpy())


def test_steps_that_lead_astray_leave_direct_compression_with_a_refit():
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.standard_normal((60, 8)))[0]  # the best subset is direct
    y = X @ np.arange(1.0, 9.0)
    scheme = ConstraintL0Pruning(kappa=4)
    lc = LCCompressor(LinearRegression(), scheme, mu_init=1e-9, finetune=1)
    lc.set_params(max_iter=3).fit(X, y)
    assert np.flatnonzero(lc.coef_).tolist() == [4, 5, 6, 7]
    direct = LCCompressor(LinearRegression(), scheme, max_iter=0, finetune=1)
    assert objective(lc) == pytest.approx(objective(direct.fit(X, y)))
