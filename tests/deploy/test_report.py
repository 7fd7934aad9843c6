"""The report says what the model, its scores and its codes are."""

import numpy as np
import pytest
import torch
from cases import COMPOSITIONS, SETTINGS, name_of
from nets import classifier, data
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNet
from torch import nn

from sklc import LCCompressor
from sklc.codes import Code, Dense, Factored
from sklc.codes.streams import Floats
from sklc.deploy.facts import Work, form, work
from sklc.layers import LayerInfo
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    ConstraintL0Pruning,
    LowRank,
    Mixed,
    RankSelection,
    ScaledTernaryQuantization,
)

X, y = data()


def net(*layers):
    torch.manual_seed(0)
    layers = layers or (nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    return FrozenEstimator(classifier(module=nn.Sequential(*layers)).initialize())


def fitted(scheme, estimator=None, **options):
    options = {"max_iter": 0, "mu_init": 1.0, "random_state": 0, **options}
    return LCCompressor(estimator or net(), scheme, **options).fit(X, y)


def test_the_models_stand_side_by_side():
    lc = fitted(AdaptiveQuantization(k=2), max_iter=3, keep_reference=True)
    models = lc.report(X, y).to_frame()
    assert list(models) == ["reference", "direct compression", "LC"]
    scores = [lc.reference_.score(X, y), lc.direct_.score(X, y), lc.score(X, y)]
    assert models.loc["score"].tolist() == scores
    kept = lc.history_[lc.best_step_]["loss"]
    losses = [lc.reference_loss_, lc.history_[0]["loss"], kept]
    assert models.loc["training loss"].tolist() == losses
    before = 32 * (5 * 8 + 8 + 8 * 3 + 3)
    assert models.loc["bits"].tolist() == [before, lc.nbits_, lc.nbits_]
    ratios = models.loc["compression ratio"].tolist()
    assert ratios == [1.0, lc.compression_ratio_, lc.compression_ratio_]


def test_the_file_has_the_bytes_of_the_report(tmp_path):
    lc = fitted(AdaptiveQuantization(k=2))
    lc.save(tmp_path / "model")
    size = (tmp_path / "model").stat().st_size
    assert lc.report().to_frame().loc["bytes in a file", "LC"] == size


def test_what_cannot_be_saved_is_said():
    days = np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "datetime64[D]")[y]
    model = LogisticRegression()
    lc = LCCompressor(model, AdaptiveQuantization(k=2), max_iter=1).fit(X, days)
    report = lc.report(X, days)
    assert "bytes in a file" not in report.to_frame().index
    assert "It cannot be saved to a file: Labels" in str(report)


def test_scores_are_in_the_terms_of_the_fit():
    names = np.array(["a", "b", "c"])[y]
    options = {"max_iter": 0, "keep_reference": True}
    lc = LCCompressor(classifier(), AdaptiveQuantization(k=2), **options)
    lc.fit(X, names)
    scores = lc.report(X, names).to_frame().loc["score"]
    assert scores["LC"] == lc.score(X, names)
    expected = lc.classes_[lc.reference_.predict(X)]
    assert scores["reference"] == (expected == names).mean()
    weights = (names == "a").astype(float)
    weighed = lc.report(X, names, sample_weight=weights).to_frame().loc["score", "LC"]
    assert weighed == (lc.predict(X) == names)[names == "a"].mean()


def test_what_is_missing_says_how_to_have_it():
    report = fitted(AdaptiveQuantization(k=2)).report(X, y)
    scores = report.to_frame().loc["score"]
    assert scores[["reference", "direct compression"]].isna().all()
    assert isinstance(scores["LC"], float)
    assert "was fitted with keep_reference=True" in str(report)
    report = fitted(AdaptiveQuantization(k=2)).report()
    assert "score" not in report.to_frame().index
    assert "report(X, y)" in str(report)


def test_an_estimator_without_scores_is_told():
    inner = NeuralNet(nn.Linear(5, 1), nn.MSELoss, train_split=None).initialize()
    lc = LCCompressor(FrozenEstimator(inner), LowRank(rank=1), max_iter=0)
    report = lc.fit(X, y[:, None].astype("float32")).report(X, y)
    assert "score" not in report.to_frame().index
    assert "NeuralNet has no method score" in str(report)


SCHEME = Mixed(
    [
        ("few", ConstraintL0Pruning(kappa=4), "0"),
        ("thin", LowRank(rank=1), "2"),
        ("values", AdaptiveQuantization(k=2), "4"),
    ]
)
LAYERS = (
    *(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh()),
    *(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 3)),
)


def test_every_weight_has_a_row():
    lc = fitted(SCHEME, net(*LAYERS))
    layers = lc.report().to_frame("layers")
    assert layers["bits"].sum() == lc.nbits_
    assert layers["bits"].drop("all else").to_dict() == {
        name: lc.sizes_[name] for name in lc.theta_
    }
    names = ["0.weight", "2.weight", "4.weight"]
    assert layers.loc[names, "code"].tolist() == ["sparse", "rank 1", "2 values"]
    assert layers.loc["0.weight", "not zero (%)"] == 10.0
    assert layers.loc["2.weight", "rank"] == 1
    assert np.isnan(layers.loc["0.weight", "rank"])
    low, high = sorted(lc.theta_["4.weight"].codebook.flatten().tolist())
    assert layers.loc["4.weight", "values"] == f"{low:.3g}, {high:.3g}"
    assert layers.loc["2.weight", "ratio"] == (8 * 6) / (8 + 6)


def test_it_says_what_gets_faster_and_what_does_not():
    report = fitted(SCHEME, net(*LAYERS)).report()
    faster, storage, missing = report.notes
    assert faster.startswith("Faster")
    assert faster.endswith(": 2.weight (rank 1, 3.43 times fewer).")
    assert storage.startswith("Smaller in storage only")
    assert storage.endswith(": 0.weight (sparse); 4.weight (2 values).")
    assert missing.startswith("No scores")
    dense, run = report.to_frame().loc["multiplications per sample"][
        ["reference", "LC"]
    ]
    assert dense == 5 * 8 + 8 * 6 + 6 * 3 + 3 * 3
    assert run == dense - 8 * 6 + 8 + 6


@pytest.mark.parametrize(
    ("estimator", "scheme"),
    [
        (LogisticRegression(), LowRank(rank=1)),  # scikit-learn runs it dense
        (None, Additive([("a", LowRank(rank=1)), ("b", ScaledTernaryQuantization())])),
    ],
)
def test_low_rank_is_not_called_faster_where_it_is_not(estimator, scheme):
    *_, last = fitted(scheme, estimator).theta_
    notes = fitted(scheme, estimator).report().notes
    assert not any(note.startswith("Faster") and last in note for note in notes)
    assert any(note.startswith("Smaller in storage only") for note in notes)
    models = fitted(scheme, estimator).report().to_frame()
    multiplied = models.loc["multiplications per sample"]
    assert multiplied["LC"] == multiplied["reference"]


def test_two_factors_run_only_if_they_multiply_less():
    code = Factored(torch.ones(8, 3), torch.ones(3, 4), (8, 4))
    assert work(code, LayerInfo(uses=2.0)) == Work(64.0, 64.0)
    code = Factored(torch.ones(8, 2), torch.ones(2, 4), (8, 4))
    assert work(code, LayerInfo(uses=2.0)) == Work(64.0, 48.0)
    assert work(code, LayerInfo("LSTM", uses=2.0)) == Work(64.0, 64.0)
    assert work(code, LayerInfo(uses=None)) is None
    assert work(code, None) is None


class Looked(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb, self.fc = nn.Embedding(9, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(self.emb(x).mean(1))


def test_a_table_that_is_looked_up_gets_no_faster():
    torch.manual_seed(0)
    estimator = FrozenEstimator(classifier(module=Looked()).initialize())
    lc = LCCompressor(estimator, LowRank(rank=1), max_iter=0)
    notes = lc.fit(np.ones((6, 4), dtype=int), np.arange(6) % 3).report().notes
    assert [note for note in notes if "emb" in note] == [notes[1]]
    assert notes[1].startswith("Smaller in storage only")


def test_nothing_left_and_nothing_saved_are_told():
    text = str(fitted(LowRank(rank=0)).report())
    assert "0.weight, 2.weight (rank 0, none are left)" in text
    assert "inf" in text  # their ratio
    text = str(fitted(RankSelection(alpha=0.0)).report())
    assert "Neither smaller nor faster, as they are kept dense" in text


def test_a_shared_codebook_is_told():
    scheme = AdaptiveQuantization(k=2, granularity="joint")
    values = fitted(scheme).report().to_frame("layers")["values"]
    assert values["2.weight"] == f"{values['0.weight']} (shared with 0.weight)"


def test_a_net_behind_transformers_is_reported_as_a_whole():
    model = make_pipeline(StandardScaler(), LogisticRegression())
    lc = fitted(AdaptiveQuantization(k=2), model, keep_reference=True)
    assert lc.report(X, y).to_frame().loc["score", "LC"] == lc.score(X, y)


def test_it_shows_in_a_notebook():
    report = fitted(SCHEME, net(*LAYERS)).report(X, y)
    shown = report._repr_html_()
    assert shown.count("<table>") == 2
    assert "<td" in shown
    for text in ("2.weight", "keep_reference=True", "Faster"):
        assert text in shown


def test_the_parts_have_names():
    with pytest.raises(ValueError, match="'models' or 'layers', got 'all'"):
        fitted(SCHEME, net(*LAYERS)).report().to_frame("all")


class Mine(Dense):
    """A code that nobody knows."""


def test_a_code_of_ones_own_is_called_by_its_name():
    code = Mine(torch.ones(2, 2))
    assert isinstance(code, Code)
    assert form(Code.__new__(Unknown)) == "Unknown"


class Unknown(Code):
    """A code that is no other."""

    shape = torch.Size([1])

    def dense(self):
        return torch.ones(1)

    def streams(self):
        return {"weight": Floats(self.dense())}


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 2, 2), nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(self.conv(x).flatten(1))


@pytest.mark.parametrize("scheme", [*SETTINGS, *COMPOSITIONS], ids=name_of)
def test_every_scheme_is_reported(scheme):
    torch.manual_seed(0)
    images = np.random.default_rng(0).normal(size=(6, 3, 2, 2)).astype("float32")
    estimator = FrozenEstimator(classifier(module=Small()).initialize())
    lc = LCCompressor(estimator, scheme, max_iter=0, mu_init=1.0)
    lc.fit(images, np.arange(6) % 2)
    report = lc.report()
    layers = report.to_frame("layers")
    assert layers["bits"].sum() == lc.nbits_ == report.to_frame().loc["bits", "LC"]
    for name, code in lc.theta_.items():
        kept = 100 * np.count_nonzero(code.dense()) / code.shape.numel()
        assert layers.loc[name, "not zero (%)"] == kept
        assert any(name in note for note in report.notes)
