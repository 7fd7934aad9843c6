"""What a model takes, row by row, and what its history says of each weight."""

import numpy as np
import pytest
import torch
from nets import classifier, compressor, data
from sklearn.linear_model import LinearRegression
from torch import nn

from sklc import LCCompressor
from sklc.codes import decompress, nbits
from sklc.metrics import compression_ratio, smallest_within
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    ConstraintL0Pruning,
    LowRank,
    Mixed,
    PenaltyL0Pruning,
    RankSelection,
)


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.norm = nn.Linear(5, 6), nn.BatchNorm1d(6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x):
        return self.fc2(torch.tanh(self.norm(self.fc1(x))))


def test_buffers_that_the_model_needs_are_rows_of_their_own():
    lc = compressor(classifier(module=Normed)).fit(*data())
    rest = {
        "fc1.bias": 6,
        "norm.weight": 6,
        "norm.bias": 6,
        "fc2.bias": 3,
        "norm.running_mean": 6,
        "norm.running_var": 6,
    }
    weights = {"fc1.weight": 30 + 2 * 32, "fc2.weight": 18 + 2 * 32}
    assert lc.sizes_ == weights | {name: 32 * n for name, n in rest.items()}
    assert lc.nbits_ == sum(lc.sizes_.values())
    before = 32 * (30 + 18 + sum(rest.values()))
    assert lc.compression_ratio_ == before / lc.nbits_


SCHEMES = {
    "penalty": PenaltyL0Pruning(alpha=1e-3),
    "shared": AdaptiveQuantization(k=2, granularity="joint"),
    "ranks": RankSelection(alpha=1e-3),
    "mixed": Mixed(
        [("a", PenaltyL0Pruning(1e-3), "0"), ("b", AdaptiveQuantization(), "2")]
    ),
    "sum": Additive([("a", LowRank(1)), ("b", PenaltyL0Pruning(1e-3))]),
    "few": ConstraintL0Pruning(kappa=4),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_the_history_knows_every_layer(name):
    lc = compressor(classifier(), SCHEMES[name], finetune=1).fit(*data())
    assert len(lc.history_) == 5
    for entry in lc.history_:
        layers = entry["layers"]
        assert list(layers) == ["0.weight", "2.weight"]
        assert sum(facts["nbits"] for facts in layers.values()) == entry["nbits"]
        costs = sum(facts["cost"] for facts in layers.values())
        assert costs == pytest.approx(entry["cost"])
    kept = lc.history_[lc.best_step_]
    assert kept["nbits"] == nbits(lc.theta_)
    for weight, dense in decompress(lc.theta_).items():
        rank = kept["layers"][weight].get("rank")
        if name == "ranks":
            assert torch.linalg.matrix_rank(dense) == rank
        else:
            assert rank == {"sum": 1}.get(name)


def test_nothing_at_all_is_infinitely_smaller():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 4)), rng.standard_normal(30)
    lc = LCCompressor(
        LinearRegression(fit_intercept=False),
        Mixed([("all", LowRank(rank=0), "*")]),
        max_iter=2,
    )
    lc.fit(X, y)
    assert (lc.nbits_, lc.compression_ratio_) == (0, np.inf)
    assert not lc.estimator_.coef_.any()
    assert compression_ratio(lc) == np.inf
    results = {"mean_test_score": [0.5, 0.6], "mean_test_bits": [0, 7]}
    assert smallest_within(0.2)(results) == 0


@pytest.mark.parametrize("scheme", [PenaltyL0Pruning(1e3), RankSelection(alpha=1e3)])
def test_a_price_that_nothing_is_worth_is_no_error(scheme):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 4)), rng.standard_normal(30)
    for verbose in 0, 2:
        model = LinearRegression(fit_intercept=False)
        lc = LCCompressor(model, scheme, max_iter=2, verbose=verbose).fit(X, y)
        assert not lc.estimator_.coef_.any()
        assert lc.compression_ratio_ > 50
