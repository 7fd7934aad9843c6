"""LCCompressor: what a user sees."""

import copy
import pickle
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from sklc import LCCompressor
from sklc.codes import decompress, nbits
from sklc.exceptions import DivergenceError
from sklc.lstep import NetLStep
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    ConstraintL0Pruning,
    LowRank,
    Mixed,
    PenaltyL0Pruning,
    RankSelection,
)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 6)).astype("float32")
    return X, (X[:, 0] * X[:, 1] + X[:, 2] > 0).astype(int)


class Net(nn.Module):
    """A small net; a class, so that every clone begins anew."""

    def __init__(self, n_out=2, norm=False):
        super().__init__()
        self.fc1 = nn.Linear(6, 12)
        self.norm = nn.BatchNorm1d(12) if norm else nn.Identity()
        self.fc2 = nn.Linear(12, n_out)

    def forward(self, x):
        return self.fc2(torch.tanh(self.norm(self.fc1(x))))


def make_net(kind=NeuralNetClassifier, criterion=nn.CrossEntropyLoss, **options):
    settings = {
        "lr": 0.2,
        "max_epochs": 10,
        "batch_size": 20,
        "iterator_train__shuffle": True,
        "optimizer__momentum": 0.9,
        "train_split": None,
        "verbose": 0,
    }
    return kind(Net, criterion=criterion, **{**settings, **options})


@pytest.fixture(scope="module")
def trained(data):
    torch.manual_seed(0)
    return make_net(max_epochs=40).fit(*data)


def compressor(estimator, scheme=None, **options):
    settings = {
        "l_step": NetLStep(epochs=2),
        "max_iter": 6,
        "mu_factor": 2.0,
        "finetune": 0,
        "random_state": 0,
    }
    scheme = scheme or AdaptiveQuantization(k=2)
    return LCCompressor(estimator, scheme, **{**settings, **options})


@pytest.fixture(scope="module")
def fitted(trained, data):
    return compressor(FrozenEstimator(trained)).fit(*data)


def test_the_model_that_predicts_is_the_compressed_one(fitted, data):
    X, y = data
    module = fitted.estimator_.module_
    dense = decompress(fitted.theta_)
    assert set(dense) == {"fc1.weight", "fc2.weight"}
    for name, weight in dense.items():
        assert torch.equal(module.get_parameter(name), weight)
        assert len(weight.unique()) == 2
    with torch.no_grad():
        output = module(torch.as_tensor(X))
    assert np.array_equal(fitted.predict(X), output.argmax(1))
    np.testing.assert_allclose(
        fitted.predict_proba(X), output.softmax(1), rtol=1e-5, atol=1e-7
    )
    assert fitted.score(X, y) == np.mean(fitted.predict(X) == y)


def test_it_beats_direct_compression_here(fitted, trained, data):
    direct = compressor(FrozenEstimator(trained), max_iter=0).fit(*data)
    assert direct.n_iter_ == direct.best_step_ == 0
    assert fitted.history_[0]["loss"] == pytest.approx(direct.history_[0]["loss"])
    kept = fitted.history_[fitted.best_step_]["loss"]
    assert kept < 0.8 * direct.history_[0]["loss"]


def test_the_history_tells_every_step(fitted):
    assert [entry["step"] for entry in fitted.history_] == list(range(7))
    assert fitted.n_iter_ == 6
    assert fitted.termination_condition_ == "max_iter"
    first, second, third, *_ = [entry["mu"] for entry in fitted.history_]
    assert first == second
    assert third == pytest.approx(2 * second)
    for entry in fitted.history_:
        assert set(entry) == {
            "step",
            "mu",
            "gap",
            "estimated",
            "loss",
            "trained_on",
            "cost",
            "nbits",
            "compression_ratio",
            "layers",
            "seconds",
        }
        assert entry["cost"] == 0.0
        assert entry["nbits"] == nbits(fitted.theta_)
        assert entry["compression_ratio"] == fitted.compression_ratio_
    seconds = [entry["seconds"] for entry in fitted.history_]
    assert seconds == sorted(seconds)


def test_the_best_iterate_is_kept(fitted, data):
    losses = [entry["loss"] for entry in fitted.history_]
    assert fitted.best_step_ == np.argmin(losses)
    X, y = data
    with torch.no_grad():
        output = fitted.estimator_.module_(torch.as_tensor(X))
    loss = float(nn.functional.cross_entropy(output, torch.as_tensor(y)))
    assert loss == pytest.approx(min(losses), rel=1e-5)


def test_the_last_iterate_can_be_kept(trained, data):
    lc = compressor(FrozenEstimator(trained), keep="last").fit(*data)
    assert lc.best_step_ == lc.n_iter_ == 6
    X, y = data
    with torch.no_grad():
        output = lc.estimator_.module_(torch.as_tensor(X))
    loss = float(nn.functional.cross_entropy(output, torch.as_tensor(y)))
    assert loss == pytest.approx(lc.history_[-1]["loss"], rel=1e-5)


def test_an_iterate_brings_its_free_parameters_and_buffers(data):
    torch.manual_seed(0)
    net = make_net(module__norm=True, lr=0.5).fit(*data)
    lc = compressor(FrozenEstimator(net)).fit(*data)
    X, y = data
    lc.estimator_.module_.eval()
    with torch.no_grad():
        output = lc.estimator_.module_(torch.as_tensor(X))
    loss = float(nn.functional.cross_entropy(output, torch.as_tensor(y)))
    assert loss == pytest.approx(lc.history_[lc.best_step_]["loss"], rel=1e-4)


def test_the_compression_ratio_is_that_of_the_papers(fitted):
    weights, biases = 6 * 12 + 12 * 2, 12 + 2
    bits = weights * 1 + 2 * 2 * 32 + biases * 32
    assert fitted.nbits_ == bits
    assert fitted.compression_ratio_ == (weights + biases) * 32 / bits


def test_it_converges_when_the_gap_is_small(trained, data):
    lc = compressor(FrozenEstimator(trained), tol=0.3, max_iter=30).fit(*data)
    assert lc.termination_condition_ == "converged"
    assert lc.history_[-1]["gap"] <= 0.3
    assert lc.n_iter_ < 30


@pytest.mark.filterwarnings("ignore::sklc.exceptions.UselessResultWarning")
def test_a_lossless_compression_of_an_optimum_converges_soon(data):
    model = LogisticRegression(tol=1e-10, max_iter=1000)
    lc = LCCompressor(model, AdaptiveQuantization(k=500), tol=1e-3).fit(*data)
    assert lc.termination_condition_ == "converged"
    assert lc.n_iter_ < 10
    alone = clone(model).fit(*data)
    assert np.array_equal(lc.predict(data[0]), alone.predict(data[0]))
    assert lc.reference_loss_ == pytest.approx(lc.history_[0]["loss"])


def test_what_still_moves_has_not_converged(trained, data):
    lc = compressor(FrozenEstimator(trained), AdaptiveQuantization(k=500)).fit(*data)
    assert max(entry["gap"] for entry in lc.history_) < 1e-6
    assert (lc.n_iter_, lc.termination_condition_) == (6, "max_iter")


def test_the_object_passed_in_is_untouched(trained, data):
    before = copy.deepcopy(trained.module_.state_dict())
    epochs = len(trained.history)
    compressor(FrozenEstimator(trained)).fit(*data)
    assert len(trained.history) == epochs
    for name, weight in trained.module_.state_dict().items():
        assert torch.equal(weight, before[name])


def test_a_net_that_is_not_frozen_is_cloned_and_trained(data):
    net = make_net()
    lc = compressor(net).fit(*data)
    assert not net.initialized_
    assert len(lc.estimator_.history) == 10 + 2 * lc.best_step_
    assert [entry["step"] for entry in lc.history_] == list(range(7))
    assert lc.score(*data) > 0.6


def test_a_module_is_a_trained_classifier(trained, data):
    module = copy.deepcopy(trained.module_)
    before = copy.deepcopy(module.state_dict())
    lc = compressor(module)
    assert is_classifier(lc)
    assert hasattr(lc, "predict_proba")
    lc.fit(*data)
    assert lc.reference_loss_ == pytest.approx(
        float(trained.history[-1, "train_loss"]), rel=0.3
    )
    assert lc.score(*data) > 0.6
    for name, weight in module.state_dict().items():
        assert torch.equal(weight, before[name])


def test_a_regressor_is_compressed(data):
    X, _ = data
    y = X[:, 0] - 2 * X[:, 1]
    net = make_net(
        NeuralNetRegressor, nn.MSELoss, module__n_out=1, lr=0.02, max_epochs=30
    )
    lc = compressor(net, AdaptiveQuantization(k=4), mu_factor=3.0)
    assert is_regressor(lc)
    lc.fit(X, y)
    assert lc.predict(X).shape == (120,)
    assert lc.score(X, y) > 0.5


SCHEMES = {
    "pruned": ConstraintL0Pruning(kappa=0.3),
    "low rank": LowRank(rank=1),
    "learned ranks": RankSelection(alpha=1e-3),
    "penalty": PenaltyL0Pruning(alpha=1e-3),
    "mixed": Mixed(
        [("one", LowRank(rank=2), "fc1"), ("two", AdaptiveQuantization(), "fc2")]
    ),
    "additive": Additive(
        [("codes", AdaptiveQuantization(k=2)), ("sparse", ConstraintL0Pruning(kappa=5))]
    ),
    "a bias": Mixed([("bias", AdaptiveQuantization(k=2), "fc1.bias")]),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_any_scheme_fits(name, trained, data):
    scheme = SCHEMES[name]
    lc = compressor(FrozenEstimator(trained), scheme).fit(*data)
    assert scheme.cost(lc.theta_) < np.inf
    dense = decompress(lc.theta_)
    for weight, value in lc.estimator_.module_.named_parameters():
        if weight in dense:
            assert torch.equal(value, dense[weight])
    assert lc.score(*data) > 0.5


def test_the_cost_counts_when_the_best_is_chosen(trained, data):
    scheme = PenaltyL0Pruning(alpha=3e-3)
    lc = compressor(FrozenEstimator(trained), scheme).fit(*data)
    totals = [entry["loss"] + entry["cost"] for entry in lc.history_]
    assert lc.best_step_ == np.argmin(totals)
    nonzero = sum(int(w.count_nonzero()) for w in decompress(lc.theta_).values())
    kept = lc.history_[lc.best_step_]
    assert kept["cost"] == pytest.approx(3e-3 * nonzero)


def test_a_random_state_fixes_everything(trained, data):
    state = torch.get_rng_state()
    one, other, third = (
        compressor(FrozenEstimator(trained), random_state=seed).fit(*data)
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert [e["loss"] for e in one.history_] == [e["loss"] for e in other.history_]
    assert [e["loss"] for e in one.history_] != [e["loss"] for e in third.history_]


def test_without_a_random_state_the_global_one_is_used(trained, data):
    losses = []
    for _ in range(2):
        torch.manual_seed(5)
        lc = compressor(FrozenEstimator(trained), random_state=None).fit(*data)
        losses.append([entry["loss"] for entry in lc.history_])
    assert losses[0] == losses[1]


def test_it_survives_pickle_and_deepcopy(fitted, data):
    for again in pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted):
        assert np.array_equal(again.predict(data[0]), fitted.predict(data[0]))
        assert again.compression_ratio_ == fitted.compression_ratio_


def test_a_clone_is_not_fitted(fitted):
    again = clone(fitted)
    assert again.scheme.k == 2
    assert again.scheme is not fitted.scheme
    with pytest.raises(NotFittedError):
        again.predict(np.zeros((1, 6), dtype="float32"))


def test_schemes_are_hyperparameters(trained, data):
    lc = compressor(FrozenEstimator(trained), SCHEMES["mixed"], max_iter=1)
    grid = [
        {"scheme__one__rank": [1, 2], "scheme__two__k": [2]},
        {"scheme": [ConstraintL0Pruning(0.5)], "max_iter": [0]},
        {"scheme__two": [LowRank(rank=1)]},
    ]
    search = GridSearchCV(lc, grid, cv=2, error_score="raise").fit(*data)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.score(*data) > 0.5


def test_delegation_tells_the_truth(trained):
    assert not hasattr(LCCompressor(make_net(), AdaptiveQuantization()), "transform")
    lc = LCCompressor(FrozenEstimator(trained), AdaptiveQuantization())
    for method in "predict", "predict_proba", "score":
        assert hasattr(lc, method)
    assert not hasattr(lc, "classes_")


def test_classes_are_those_of_the_net(fitted):
    assert fitted.classes_.tolist() == [0, 1]


def test_a_useless_run_is_told(trained, data):
    net = copy.deepcopy(trained).set_params(lr=1e-12)
    with pytest.warns(UserWarning, match="LC steps did not improve on direct compress"):
        compressor(FrozenEstimator(net), max_iter=2).fit(*data)


PULLS = "mu_init must be 'auto', a finite number above 0, or a list of such numbers."
FACTORS = "mu_factor must be 'auto' or a finite number of at least 1."


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mu_init": 0}, ValueError, f"mu_init=0.: {PULLS}"),
        ({"mu_init": "big"}, ValueError, f"mu_init='big'.: {PULLS}"),
        ({"mu_init": np.nan}, ValueError, f"mu_init=nan.: {PULLS}"),
        ({"mu_init": True}, ValueError, f"mu_init=True.: {PULLS}"),
        ({"mu_init": []}, ValueError, PULLS),
        ({"mu_init": [1.0, -1.0]}, ValueError, PULLS),
        ({"mu_init": np.zeros(3)}, ValueError, PULLS),
        ({"mu_init": np.ones((2, 2))}, ValueError, PULLS),
        ({"mu_factor": 0.9}, ValueError, f"mu_factor=0.9.: {FACTORS}"),
        ({"mu_factor": np.inf}, ValueError, f"mu_factor=inf.: {FACTORS}"),
        ({"mu_factor": np.ones(2)}, ValueError, FACTORS),
        ({"max_iter": -1}, ValueError, "max_iter must be an int of at least 0."),
        ({"max_iter": 2.0}, ValueError, "max_iter must be an int of at least 0."),
        ({"max_iter": True}, ValueError, "max_iter must be an int of at least 0."),
        (
            {"tol": -1},
            ValueError,
            r"LCCompressor\(tol=-1\): tol must be a finite number",
        ),
        ({"tol": "x"}, ValueError, "tol must be a finite number"),
        ({"keep": "first"}, ValueError, "keep must be one of 'best', 'last'."),
        ({"keep": np.ones(2)}, ValueError, "keep must be one of 'best', 'last'."),
        ({"multipliers": "yes"}, ValueError, "multipliers must be True or False."),
        ({"scheme": 3}, TypeError, "scheme must be a sklc.schemes.Scheme."),
        (
            {"l_step": 3},
            TypeError,
            "l_step must be a sklc.lstep.LStep, a function or None.",
        ),
        (
            {"scheme": AdaptiveQuantization(k=0)},
            ValueError,
            "k must be an int of at le",
        ),
        (
            {"scheme": Mixed([("a", LowRank(), "fc9")])},
            ValueError,
            "'fc9' matches no weight of a module and no parameter. The parameters are "
            "'fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias'.",
        ),
        (
            {"scheme": Mixed([("a", LowRank(rank=1), "fc1.bias")])},
            ValueError,
            r"LowRank compresses matrices, but 'fc1.bias' has shape \(12,\)",
        ),
        (
            {"estimator": 5},
            TypeError,
            "NetLStep trains skorch nets and torch modules, g",
        ),
        ({"estimator": 5, "l_step": None}, TypeError, "No L step is known for int."),
    ],
)
def test_bad_input_is_refused_before_any_training(options, error, message, data):
    class Untrained(NeuralNetClassifier):
        def train_step(self, *args, **kwargs):
            raise AssertionError

    net = Untrained(Net, criterion=nn.CrossEntropyLoss, verbose=0)
    lc = compressor(net).set_params(**options)
    with pytest.raises(error, match=message):
        lc.fit(*data)
    assert not hasattr(lc, "theta_")


def test_a_model_without_matrices_is_refused(data):
    with pytest.raises(
        ValueError, match="The scheme covers no parameter: the model ha"
    ):
        compressor(nn.BatchNorm1d(6)).fit(*data)


def test_a_diverging_step_is_an_error(trained, data):
    net = copy.deepcopy(trained)
    net.set_params(lr=1e30)
    usual = {"lr": None, "clip_lr": False, "max_update": None}
    step = NetLStep(start_at="weights", **usual)
    lc = compressor(FrozenEstimator(net), l_step=step)
    with pytest.raises(
        DivergenceError, match=r"L step 1 with mu=\S+, lr=1e\+30, diverged: a weight is"
    ):
        lc.fit(*data)
    direct = compressor(FrozenEstimator(trained), max_iter=0).fit(*data)
    assert lc.termination_condition_ == "diverged"
    assert np.array_equal(lc.predict(data[0]), direct.predict(data[0]))


def test_a_diverging_reference_is_an_error(data):
    X, y = data
    with pytest.raises(DivergenceError, match="reference diverged: a weight is not"):
        compressor(make_net(lr=1e38)).fit(X, y)
    net = make_net(NeuralNetRegressor, nn.MSELoss, module__n_out=1, lr=1e-30)
    with pytest.raises(DivergenceError, match="reference diverged: the loss is inf"):
        compressor(net).fit(X, np.full(len(X), 1e30, "float32"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_net_keeps_its_dtype(dtype, data):
    X, y = data
    net = NeuralNetClassifier(
        Net().to(dtype), criterion=nn.CrossEntropyLoss, train_split=None, verbose=0
    )
    lc = compressor(net, AdaptiveQuantization(k=4), max_iter=2)
    lc.fit(torch.as_tensor(X).to(dtype), torch.as_tensor(y))
    for name, code in lc.theta_.items():
        assert code.dense().dtype == dtype
        assert lc.estimator_.module_.get_parameter(name).dtype == dtype


def test_a_schedule_may_be_an_array(trained, data):
    mus = [0.1, 0.2, 0.4]
    runs = [
        compressor(FrozenEstimator(trained), mu_init=kind, max_iter=2).fit(*data)
        for kind in (mus, tuple(mus), np.array(mus))
    ]
    for run in runs:
        assert [entry["mu"] for entry in run.history_] == mus


def test_a_failing_refit_leaves_nothing_of_the_fit_before(data):
    X, y = data
    lc = compressor(make_net(max_epochs=1), max_iter=1).fit(X, y)
    lc.set_params(estimator=make_net(kind=Failing, max_epochs=1))
    with pytest.raises(OSError, match="no space"):
        lc.fit(X[:, ::-1].copy(), np.array(["a", "b"])[y])
    with pytest.raises(NotFittedError):
        lc.predict(X)
    assert not hasattr(lc, "termination_condition_")


class Failing(NeuralNetClassifier):
    def train_step(self, *args, **kwargs):
        msg = "no space"
        raise OSError(msg)


def test_invalid_data_leave_the_fit_before(fitted, data):
    lc = copy.deepcopy(fitted)
    with pytest.raises(ValueError, match="NaN"):
        lc.fit(data[0] * np.nan, data[1])
    assert lc.score(*data) == fitted.score(*data)


def test_a_fit_on_other_kinds_of_data_forgets_the_columns(data):
    X, y = data
    lc = compressor(make_net(max_epochs=1), max_iter=0).fit(X, y)
    assert lc.n_features_in_ == 6
    lc.fit(torch.from_numpy(X), torch.from_numpy(y))
    assert not hasattr(lc, "n_features_in_")


def test_a_module_offers_the_same_methods_before_and_after_the_fit(data):
    methods = (
        "predict",
        "predict_proba",
        "predict_log_proba",
        "decision_function",
        "score",
    )
    lc = compressor(Net(), max_iter=0)
    before = [hasattr(lc, method) for method in methods]
    lc.fit(*data)
    assert [hasattr(lc, method) for method in methods] == before
    assert before == [True, True, False, False, True]


def test_each_layer_is_clustered_no_more_often_than_is_needed(trained, data):
    """Once, for the first pull and step 0 alike."""

    class Counting(AdaptiveQuantization):
        counted: ClassVar[list] = []

        def _compress(self, rows, mu, warm):
            self.counted.append(rows.shape)
            return super()._compress(rows, mu, warm)

    for estimator in FrozenEstimator(trained), make_net(max_epochs=1):
        Counting.counted.clear()
        compressor(estimator, Counting(), max_iter=0).fit(*data)
        assert sorted(Counting.counted) == [(1, 24), (1, 72)]


def test_the_score_is_that_of_the_net_for_labels_too(data):
    X, y = data
    names = np.array(["no", "yes"])[y]
    lc = compressor(make_net(kind=Counts, max_epochs=1), max_iter=0).fit(X, names)
    right = (lc.predict(X) == names).sum()
    assert lc.score(X, names) == right
    names[:3] = "unheard of"
    assert lc.score(X, names) == (lc.predict(X) == names).sum()


class Counts(NeuralNetClassifier):
    """A net that counts what it gets right."""

    def score(self, X, y):
        return int((self.predict(X) == y).sum())
