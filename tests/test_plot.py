"""Figures show what the compressors are, with ticks that people can read."""

import math
import sys
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from nets import classifier, data
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklc import LCCompressor
from sklc.codes import Factored
from sklc.lstep import NetLStep
from sklc.metrics import nbits
from sklc.plot import RanksDisplay, RunDisplay, TradeoffDisplay, WeightsDisplay
from sklc.plot.pareto import pareto_front
from sklc.schemes import (
    AdaptiveQuantization,
    ConstraintL0Pruning,
    LowRank,
    RankSelection,
)

mpl.use("Agg")
X, y = data(60)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def fitted(scheme=None, model=None, **options):
    model = model or FrozenEstimator(LogisticRegression().fit(X, y))
    options = {"max_iter": 4, "keep_reference": True, **options}
    return LCCompressor(model, scheme or AdaptiveQuantization(k=2), **options).fit(X, y)


def ticks(axis):
    """Return the labels that are in sight."""
    getattr(axis.axes, f"get_{axis.axis_name}lim")()  # which are found now
    low, high = sorted(axis.get_view_interval())
    at = [tick for tick in axis.get_ticklocs() if low <= tick <= high]
    return axis.get_major_formatter().format_ticks(at)


def names(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# ---- runs ----


def test_a_run_is_shown_step_by_step():
    lc = fitted(finetune=1)
    display = RunDisplay.from_compressor(lc).plot()
    loss, gap, size = display.ax_
    assert loss.lines[0].get_ydata().tolist() == [e["loss"] for e in lc.history_]
    assert list(loss.lines[1].get_ydata()) == [lc.reference_loss_] * 2
    star = loss.lines[2]
    assert star.get_xdata() == [lc.best_step_]
    assert star.get_ydata() == [lc.history_[lc.best_step_]["loss"]]
    gaps = [e["gap"] for e in lc.history_]
    assert list(gap.lines[0].get_ydata()) == gaps
    at_best = size.lines[0].get_ydata()[lc.best_step_]
    assert at_best == pytest.approx(lc.nbits_ / 8000)
    labels = ticks(size.xaxis)
    assert labels[0].startswith("0\n")
    assert labels[-1] == f"{len(lc.history_) - 1}\ntuned"
    assert names(loss) == ["reference", "kept"]
    assert display.figure_ is loss.figure


def run(mu, loss=None, gap=None):
    n = len(mu)
    return RunDisplay(mu, loss or [1.0] * n, gap or [0.5] * n, [1000.0] * n)


@pytest.mark.parametrize(
    "display",
    [
        run([0.0]),
        run([math.inf]),
        run([0.1, math.inf]),
        run([0.1, 0.1, 0.1]),
        run([1.0, 0.1, 10.0], gap=[0.0, 0.0, 0.0]),
        run([0.1, 0.2], loss=[math.nan, math.inf]),
        run([0.1, 0.2], loss=[0.0, 1e9], gap=[math.nan, 0.1]),
        run([0.1 * 1.1**i for i in range(200)], gap=list(np.logspace(0, -15, 200))),
    ],
)
def test_unusual_runs_are_shown(display):
    display.plot().figure_.canvas.draw()


def test_a_run_needs_a_value_for_each_step():
    with pytest.raises(ValueError, match=r"gap must have .* 2 steps .*, got 1\."):
        RunDisplay([1.0, 2.0], [1.0, 1.0], [0.1], [10, 10])
    with pytest.raises(ValueError, match="one at least"):
        RunDisplay([], [], [], [])


@pytest.mark.parametrize("kind", [RunDisplay, RanksDisplay])
def test_only_fitted_compressors_have_a_run(kind):
    with pytest.raises(TypeError, match=r"LCCompressor can be drawn, got Logistic"):
        kind.from_compressor(LogisticRegression())
    with pytest.raises(NotFittedError):
        kind.from_compressor(LCCompressor(LogisticRegression(), LowRank()))


def test_panels_go_where_one_wants_them():
    display = RunDisplay.from_compressor(fitted())
    figure, axes = plt.subplots(1, 3)
    assert display.plot(axes).figure_ is figure
    assert list(display.ax_) == list(axes)
    figure, (left, right) = plt.subplots(1, 2)
    display.plot(right)
    assert all(panel.figure is figure for panel in display.ax_)
    left_edge = left.get_position().x1
    assert all(panel.get_position().x0 > left_edge for panel in display.ax_)
    with pytest.raises(ValueError, match=r"one Axes or 3 of them, got 2"):
        display.plot([left, right])
    with pytest.raises(ValueError, match=r"part of a grid"):
        display.plot(figure.add_axes((0, 0, 1, 1)))


# ---- ranks ----


def test_ranks_are_shown_step_by_step():
    module = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
    net = FrozenEstimator(classifier(module=module).initialize())
    lc = fitted(
        RankSelection(alpha=1e-3), net, mu_init=1.0, l_step=NetLStep(epochs=1), tol=0
    )
    display = RanksDisplay.from_compressor(lc).plot()
    for line, name in zip(display.ax_.lines, lc.theta_, strict=False):
        expected = [entry["layers"][name]["rank"] for entry in lc.history_]
        assert line.get_ydata().tolist() == expected
    assert names(display.ax_) == ["0.weight (of 5)", "2.weight (of 3)"]
    assert all("." not in text for text in ticks(display.ax_.yaxis))


def test_ranks_that_come_and_go_are_shown():
    display = RanksDisplay([1.0, 2.0, 4.0], {"w": [3, None, 0]}).plot()
    np.testing.assert_array_equal(display.ax_.lines[0].get_ydata(), [3, math.nan, 0])
    many = {f"layer{i}": [i, i] for i in range(30)}
    display = RanksDisplay([1.0, 2.0], many, best_step=1).plot()
    colors = {str(line.get_color()) for line in display.ax_.lines[:30]}
    assert len(names(display.ax_)) == len(colors) == len(many)


def test_the_full_rank_is_that_of_the_matrix():
    factored = Factored(np.zeros((6, 2)), np.zeros((2, 4)), (3, 2, 2, 2), "scheme_2")
    entry = {"mu": 1.0, "layers": {"w": {"rank": 2}}}
    lc = SimpleNamespace(
        scheme=None, theta_={"w": factored}, history_=[entry], best_step_=0
    )
    lc.fit = lc.__sklearn_is_fitted__ = lambda: True
    lc.__sklearn_tags__ = LogisticRegression().__sklearn_tags__
    assert RanksDisplay.from_compressor(lc).full == {"w": 4}


def test_without_ranks_there_is_nothing_to_show():
    with pytest.raises(ValueError, match=r"No weight has a rank: .*LowRank"):
        RanksDisplay.from_compressor(fitted())


# ---- weights ----


def test_weights_are_shown_with_their_codebook():
    lc = fitted(AdaptiveQuantization(k=3))
    display = WeightsDisplay.from_compressor(lc)
    np.testing.assert_array_equal(display.before["coef_"], lc.reference_.coef_.ravel())
    np.testing.assert_array_equal(display.after["coef_"], lc.coef_.ravel())
    (ax,) = display.plot().ax_
    assert names(ax) == ["before", "after: 3 values"]
    codebook = next(other for other in display.figure_.axes if other is not ax)
    points = codebook.lines[0]
    values, counts = np.unique(lc.coef_, return_counts=True)
    np.testing.assert_array_equal(points.get_xdata(), values)
    np.testing.assert_allclose(points.get_ydata(), 100 * counts / lc.coef_.size)
    heights = sum(patch.get_height() for patch in ax.patches)
    assert heights == pytest.approx(100, abs=15)  # outliers lie outside


def test_pruned_weights_are_shown_without_their_zeros():
    rng = np.random.default_rng(0)
    before = rng.normal(size=1000)
    after = np.where(abs(before) > 1.5, before, 0.0)
    (ax,) = WeightsDisplay({"w": before}, {"w": after}).plot().ax_
    share = 100 * np.mean(after == 0)
    assert f"{share:.4g} % are zero" in names(ax)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([1.0], [0.5]),
        ([0.0, 0.0], [0.0, 0.0]),
        ([math.nan, 1.0, math.inf], [1.0, 2.0, math.nan]),
        ([math.nan], [math.nan]),
        ([], []),
        (np.linspace(0, 1, 100), np.linspace(0, 1e9, 100)),
    ],
)
def test_unusual_weights_are_shown(before, after):
    WeightsDisplay({"w": before}, {"w": after}).plot().figure_.canvas.draw()


def test_each_of_many_weights_has_its_panel():
    weights = {f"layer{i}": np.random.default_rng(i).normal(size=50) for i in range(4)}
    display = WeightsDisplay(weights, weights).plot()
    assert [ax.get_title() for ax in display.ax_] == list(weights)
    figure, axes = plt.subplots(1, 5)
    with pytest.raises(ValueError, match=r"one Axes or 6 of them, got 5"):
        display.plot(axes)
    assert display.plot(axes[:4]).figure_ is figure


def test_weights_of_a_pipeline_are_those_of_its_last_step():
    model = make_pipeline(StandardScaler(), LinearRegression())
    lc = fitted(ConstraintL0Pruning(kappa=2), model)
    display = WeightsDisplay.from_compressor(lc, "coef_")
    expected = lc.reference_[-1].coef_
    np.testing.assert_array_equal(display.before["coef_"], expected)


def test_what_cannot_be_shown_is_told():
    with pytest.raises(ValueError, match="with keep_reference=True"):
        WeightsDisplay.from_compressor(fitted(keep_reference=False))
    with pytest.raises(ValueError, match=r"called \['fc'\], only \['coef_'\]"):
        WeightsDisplay.from_compressor(fitted(), ["fc"])
    with pytest.raises(
        ValueError, match=r"the same weights.*\{'a': 2\} and \{'b': 2\}"
    ):
        WeightsDisplay({"a": [1, 2]}, {"b": [1, 2]})
    with pytest.raises(ValueError, match="one at least"):
        WeightsDisplay({}, {})


# ---- trade-offs ----


def test_the_front_has_what_no_other_model_beats():
    rng = np.random.default_rng(0)
    for _ in range(50):
        sizes, scores = rng.integers(6, size=(2, 9))
        front = pareto_front(sizes, scores)
        assert np.all(np.diff(sizes[front]) > 0)
        assert np.all(np.diff(scores[front]) > 0)
        for at in range(9):
            assert any(
                sizes[best] <= sizes[at] and scores[best] >= scores[at]
                for best in front
            )
        for best in front:
            assert not np.any((sizes < sizes[best]) & (scores >= scores[best]))
            assert not np.any((sizes <= sizes[best]) & (scores > scores[best]))
    assert pareto_front([1, math.nan], [math.nan, 1]).size == 0
    assert pareto_front([], []).size == 0


def test_compressors_stand_beside_each_other():
    found = {
        "two": fitted(AdaptiveQuantization(k=2)),
        "pruned": [
            fitted(ConstraintL0Pruning(kappa=n), keep_reference=n < 8) for n in (4, 8)
        ],
    }
    display = TradeoffDisplay.from_compressors(found, X, y, others={"l1": ([1], [0.5])})
    two, (four, eight) = found.values()
    assert display.sizes.tolist() == [two.nbits_, four.nbits_, eight.nbits_, 1]
    expected = [lc.score(X, y) for lc in (two, four, eight)]
    assert display.scores.tolist() == [*expected, 0.5]
    direct = [two.direct_.score(X, y), four.direct_.score(X, y), math.nan, math.nan]
    np.testing.assert_array_equal(display.direct[1], direct)
    assert display.reference == (64 * 18, two.reference_.score(X, y))
    assert display.groups == ["two", "pruned", "pruned", "l1"]
    display.plot(error=True)
    assert display.ax_.get_ylabel() == "error (%)"
    expected = 100 * (1 - two.score(X, y))
    (line,) = [each for each in display.ax_.lines if each.get_label() == "reference"]
    shown = 100 * (1 - two.reference_.score(X, y))
    assert line.get_ydata() == pytest.approx([shown, shown])
    points = display.ax_.containers[0].lines[0]
    assert points.get_xdata() == pytest.approx([two.nbits_ / 8000])
    assert points.get_ydata() == pytest.approx([expected])
    assert names(display.ax_)[:3] == ["two", "pruned", "l1"]
    assert "reference" in names(display.ax_)
    (top,) = display.ax_.child_axes
    assert "1" in ticks(top.xaxis)


def test_a_search_is_shown_with_its_choice():
    levels = [
        {"scheme": [AdaptiveQuantization()], "scheme__k": [2, 4]},
        {"scheme": [ConstraintL0Pruning()], "scheme__kappa": [3, 6]},
    ]
    lc = LCCompressor(LogisticRegression(), AdaptiveQuantization(), max_iter=2)
    scoring = {"score": "accuracy", "bits": nbits}
    search = GridSearchCV(lc, levels, scoring=scoring, refit="score", cv=2).fit(X, y)
    display = TradeoffDisplay.from_search(search)
    results = search.cv_results_
    np.testing.assert_array_equal(display.sizes, results["mean_test_bits"])
    np.testing.assert_array_equal(display.scores, results["mean_test_score"])
    kinds = ["AdaptiveQuantization"] * 2 + ["ConstraintL0Pruning"] * 2
    assert display.groups == kinds
    display.plot()
    assert display.ax_.get_ylabel() == "accuracy (%)"
    (bars,) = display.ax_.containers[0].lines[2]
    for at, ((_, low), (_, high)) in enumerate(bars.get_segments()):
        assert high - low == pytest.approx(200 * results["std_test_score"][at])
    (star,) = [each for each in display.ax_.lines if each.get_label() == "the choice"]
    best = search.best_index_
    assert star.get_xdata() == [results["mean_test_bits"][best] / 8000]
    assert star.get_ydata() == pytest.approx([100 * results["mean_test_score"][best]])
    search.set_params(estimator=make_pipeline(StandardScaler(), lc))
    search.set_params(param_grid={"lccompressor__scheme__k": [2, 3]}).fit(X, y)
    display = TradeoffDisplay.from_search(search)
    assert display.groups == ["AdaptiveQuantization"] * 2
    display = TradeoffDisplay.from_search(search, group=lambda params: "all")
    assert set(display.groups) == {"all"}
    with pytest.raises(ValueError, match=r"no score 'size': pass scoring="):
        TradeoffDisplay.from_search(search, size="size")


def test_models_that_failed_are_told_and_left_out():
    display = TradeoffDisplay([8000, 16000], [0.5, math.nan], groups=["a", "b"])
    with pytest.warns(UserWarning, match="1 of 2 models have no score or size"):
        display.plot()
    with pytest.raises(ValueError, match="nothing to draw"):
        TradeoffDisplay([8000], [math.nan])


@pytest.mark.parametrize(
    "display",
    [
        TradeoffDisplay([0], [1.0]),
        TradeoffDisplay([8], [-3.0], score_name="R²", reference=(None, 0.9)),
        TradeoffDisplay([8, 8e9], [1.0, 1.0], reference=(8e10, 1.0)),
        TradeoffDisplay(range(1, 31), [0.5] * 30, groups=[str(i) for i in range(30)]),
    ],
)
@pytest.mark.parametrize("error", [False, True])
def test_unusual_models_are_shown(display, error):
    display.plot(error=error).figure_.canvas.draw()


def test_a_trade_off_needs_one_entry_for_each_model():
    for bad in ([], [1.0, 2.0]):
        with pytest.raises(ValueError, match="one entry for each model"):
            TradeoffDisplay(bad, [0.5])
    with pytest.raises(ValueError, match="one LCCompressor at least"):
        TradeoffDisplay.from_compressors({}, X, y)


# ---- all ----


@pytest.mark.parametrize("high", [1.2, 7.0, 60.0, 9e3, 1e7, 1e30])
@pytest.mark.parametrize("low", [1e-9, 0.02, 1.0])
def test_ticks_are_readable(low, high):
    display = TradeoffDisplay([8000 * low, 8000 * high], [0.1, 0.9]).plot()
    found = ticks(display.ax_.xaxis)
    assert 2 <= len(found) <= 16
    assert len(set(found)) == len(found)
    assert not any("$" in text or "×" in text for text in found)
    assert all(len(text) <= 9 for text in found)


def test_ticks_say_where_they_are():
    display = TradeoffDisplay([8e5, 1.3e6], [-0.49, -0.29], score_name="R²").plot(
        error=True
    )
    for axis in display.ax_.xaxis, display.ax_.yaxis:
        found = [float(text) for text in ticks(axis)]
        at = [tick for tick in axis.get_ticklocs() if found[0] <= tick <= found[-1]]
        assert found == pytest.approx(at, rel=1e-6)


def test_without_matplotlib_one_is_told(monkeypatch):
    display = RanksDisplay([1.0], {"w": [3]})
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install \"sklc\[plot\]\""):
        display.plot()


@pytest.mark.parametrize("kind", [RanksDisplay, RunDisplay])
def test_nothing_is_drawn_where_there_is_something_already(kind):
    lc = fitted(LowRank(rank=1))
    assert kind.from_compressor(lc).plot().figure_ is not (
        kind.from_compressor(lc).plot().figure_
    )
