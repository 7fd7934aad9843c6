"""What a fitted compressor saves predicts as it does, elsewhere."""

import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from skorch import (
    NeuralNet,
    NeuralNetBinaryClassifier,
    NeuralNetClassifier,
    NeuralNetRegressor,
)
from torch import nn

import sklc
from sklc import LCCompressor
from sklc.exceptions import ModelFileError
from sklc.schemes import AdaptiveQuantization, ConstraintL0Pruning, LowRank

X, y = make_classification(300, n_features=5, n_informative=3, random_state=0)
X = X.astype("float32")


def architecture(n_outputs=2, last=None):
    torch.manual_seed(0)
    own = nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, n_outputs)
    return nn.Sequential(*own, *([last] if last else []))


def compressed(kind, criterion, n_outputs, targets, last=None, **options):
    module = architecture(n_outputs, last)
    settings = {"verbose": 0, "train_split": None, "iterator_train__shuffle": True}
    net = kind(module, criterion=criterion, max_epochs=1, **settings, **options)
    return LCCompressor(net, AdaptiveQuantization(k=2), max_iter=1).fit(X, targets)


FLOATS = y.astype("float32")
NAMES = np.array(["good", "bad"])[y]
NETS = {
    "labels": (NeuralNetClassifier, nn.CrossEntropyLoss, 2, NAMES),
    "objects": (NeuralNetClassifier, nn.CrossEntropyLoss, 2, NAMES.astype(object)),
    "numbers": (NeuralNetClassifier, nn.CrossEntropyLoss, 2, y + 3),
    "truth": (NeuralNetClassifier, nn.CrossEntropyLoss, 2, y > 0),
    "probabilities": (NeuralNetClassifier, nn.NLLLoss, 2, y, nn.Softmax(-1)),
    "binary": (NeuralNetBinaryClassifier, nn.BCEWithLogitsLoss, 1, FLOATS),
    "pair": (NeuralNetBinaryClassifier, nn.BCELoss, 1, FLOATS, nn.Sigmoid()),
    "row": (NeuralNetRegressor, nn.MSELoss, 1, FLOATS),
    "column": (NeuralNetRegressor, nn.MSELoss, 1, FLOATS[:, None]),
    "columns": (NeuralNetRegressor, nn.MSELoss, 3, X[:, :3]),
    "net": (NeuralNet, nn.MSELoss, 1, FLOATS[:, None]),
}


@pytest.mark.filterwarnings("ignore:A column-vector y")  # of scikit-learn, in a score
@pytest.mark.parametrize("name", NETS)
def test_nets_predict_the_same_bits(name, tmp_path):
    lc = compressed(*NETS[name])
    report = lc.save(tmp_path / "m")
    assert report.file_bytes == (tmp_path / "m").stat().st_size
    assert report == lc.size_report()
    assert report.total.nbits == lc.nbits_
    assert {row.name for row in report.rows} == {*lc.sizes_, "(header)"}
    found = sklc.load(tmp_path / "m", architecture(*NETS[name][2:3], *NETS[name][4:]))
    np.testing.assert_array_equal(found.predict(X), lc.predict(X))
    assert found.predict(X).dtype == lc.predict(X).dtype
    if hasattr(lc, "predict_proba"):
        np.testing.assert_array_equal(found.predict_proba(X), lc.predict_proba(X))
    if hasattr(lc, "score"):
        weight = np.linspace(0, 1, len(X))
        score = found.score(X, NETS[name][3])
        assert score == pytest.approx(lc.score(X, NETS[name][3]), rel=1e-6)
        score = found.score(X, NETS[name][3], sample_weight=weight)
        own = lc.score(X, NETS[name][3], sample_weight=weight)
        assert score == pytest.approx(own, rel=1e-6)
    if lc._signature.classes is not None:
        np.testing.assert_array_equal(found.classes_, lc.classes_)


def test_samples_come_in_any_form(tmp_path):
    lc = compressed(*NETS["labels"])
    lc.save(tmp_path / "m")
    found = sklc.load(tmp_path / "m", architecture())
    expected = lc.predict_proba(X)
    frame = pd.DataFrame(X)
    for samples in X.astype("float64"), torch.from_numpy(X), X.tolist(), list(X), frame:
        np.testing.assert_array_equal(found.predict_proba(samples), expected)
    for size in 1, 7, 10_000:
        found.batch_size = size
        np.testing.assert_allclose(found.predict_proba(X), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="must have samples"):
        found.predict(X[:0])
    assert not found.module_.training
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.predict(X), found.predict(X))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(9, 3), nn.Linear(5, 2)

    def forward(self, numbers, words):
        return self.out(torch.cat([numbers, self.embed(words[:, 0])], 1))


def test_several_inputs_by_name(tmp_path):
    torch.manual_seed(0)
    samples = {"numbers": X[:, :2], "words": np.arange(300)[:, None] % 9}
    settings = {"verbose": 0, "train_split": None, "iterator_train__shuffle": True}
    net = NeuralNetClassifier(Two, criterion=nn.CrossEntropyLoss, **settings)
    lc = LCCompressor(net, AdaptiveQuantization(k=2), max_iter=1).fit(samples, y)
    lc.save(tmp_path / "m")
    found = sklc.load(tmp_path / "m", Two)
    expected = lc.predict_proba(samples)
    np.testing.assert_array_equal(found.predict_proba(samples), expected)
    turned = dict(reversed(samples.items()))
    np.testing.assert_array_equal(found.predict_proba(turned), expected)
    frame = pd.DataFrame({"words": samples["words"][:, 0], "numbers": X[:, 0]})
    with pytest.raises(ValueError, match=r"take numbers of shape \(128, 1\)"):
        found.predict_proba(frame)
    by_position = list(samples.values())
    np.testing.assert_array_equal(found.predict_proba(by_position), expected)
    with pytest.raises(ValueError, match="X has words, but the net takes numbers"):
        found.predict_proba(frame[["words"]])
    with pytest.raises(ValueError, match="X has numbers, but the net takes numbers, w"):
        found.predict_proba({"numbers": X[:, :2]})
    with pytest.raises(ValueError, match="as many in each part"):
        found.predict_proba({**samples, "words": samples["words"][1:]})


def test_what_is_the_users_own_is_asked_for(tmp_path):
    own = {"predict_nonlinearity": lambda z: (2 * z).softmax(-1)}
    lc = compressed(*NETS["labels"], **own)
    lc.save(tmp_path / "m")
    with pytest.raises(ValueError, match=r"give load\(..., activation=...\) it"):
        sklc.load(tmp_path / "m", architecture()).predict(X)
    found = sklc.load(
        tmp_path / "m", architecture(), activation=own["predict_nonlinearity"]
    )
    np.testing.assert_array_equal(found.predict_proba(X), lc.predict_proba(X))

    class Own(NeuralNetClassifier):
        def predict(self, X):
            return super().predict(X)

    compressed(Own, *NETS["labels"][1:]).save(tmp_path / "m")
    with pytest.raises(ValueError, match="decide by predict_proba"):
        sklc.load(tmp_path / "m", architecture()).predict(X)


MANY = np.array(["a", "b", "c"])[np.arange(300) % 3]
LINEAR = [
    (LinearRegression(), FLOATS),
    (LinearRegression(), FLOATS[:, None]),
    (LinearRegression(fit_intercept=False), X[:, :2]),
    (Ridge(), FLOATS),
    (Ridge(fit_intercept=False), FLOATS),
    (Ridge(), X[:, :2]),
    (LogisticRegression(), NAMES),
    (LogisticRegression(fit_intercept=False), y > 0),
    (LogisticRegression(solver="newton-cg"), MANY),
]


@pytest.mark.parametrize("as_frame", [False, True])
@pytest.mark.parametrize(("model", "targets"), LINEAR)
def test_linear_models_are_ready_estimators(model, targets, as_frame, tmp_path):
    samples = pd.DataFrame(X, columns=list("abcde")) if as_frame else X
    lc = LCCompressor(model, ConstraintL0Pruning(kappa=4), max_iter=2)
    lc.fit(samples, targets)
    report = lc.save(tmp_path / "m")
    assert report.file_bytes == (tmp_path / "m").stat().st_size
    found, own = sklc.load(tmp_path / "m"), lc.estimator_
    assert type(found) is type(model)
    for name in (
        "coef_",
        "intercept_",
        "classes_",
        "feature_names_in_",
        "n_features_in_",
    ):
        assert hasattr(found, name) == hasattr(own, name)
        if hasattr(own, name):
            np.testing.assert_array_equal(getattr(found, name), getattr(own, name))
            assert np.shape(getattr(found, name)) == np.shape(getattr(own, name))
    assert found.coef_.dtype == own.coef_.dtype
    np.testing.assert_array_equal(found.predict(samples), lc.predict(samples))
    assert found.score(samples, targets) == lc.score(samples, targets)
    if hasattr(lc, "predict_proba"):
        own_proba = lc.predict_proba(samples)
        np.testing.assert_array_equal(found.predict_proba(samples), own_proba)
    with pytest.raises(ModelFileError, match="holds no net, but a"):
        sklc.load(tmp_path / "m", architecture())


def test_sparse_coefficients_stay_sparse(tmp_path):
    lc = LCCompressor(LogisticRegression(), ConstraintL0Pruning(kappa=2), max_iter=1)
    lc.fit(X, y).estimator_.sparsify()
    lc.save(tmp_path / "m")
    found = sklc.load(tmp_path / "m")
    assert found.coef_.nnz == 2
    np.testing.assert_array_equal(found.predict(X), lc.predict(X))


def test_only_what_can_be_read_is_saved(tmp_path):
    with pytest.raises(NotFittedError):
        LCCompressor(LogisticRegression(), LowRank()).save(tmp_path / "m")
    dates = np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[D]")[y]
    lc = LCCompressor(LogisticRegression(), AdaptiveQuantization(), max_iter=1)
    with pytest.raises(TypeError, match=r"Labels .* cannot be saved: they must be"):
        lc.fit(X, dates).save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
    import sys
    import torch
    import sklc
    from torch import nn

    class Net(nn.Sequential):
        def __init__(self):
            own = nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)
            super().__init__(*own)

    found = sklc.load(sys.argv[1], Net)
    X = torch.load(sys.argv[2])
    print(*found.predict(X))
    print(found.score(X, found.predict(X)))
    sklc.load_into(Net(), sys.argv[1])
    loaded = {name.split(".")[0] for name in sys.modules}
    assert not loaded & {"sklearn", "skorch", "scipy", "pandas", "joblib"}, loaded
    rooms = {name for name in sys.modules if name.startswith("sklc.")}
    assert not [name for name in rooms if name.split(".")[1] in ("lc", "schemes")]
"""


def test_a_net_is_loaded_where_scikit_learn_is_not(tmp_path):
    lc = compressed(*NETS["labels"])
    lc.save(tmp_path / "m")
    torch.save(torch.from_numpy(X), tmp_path / "X")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), tmp_path / "m", tmp_path / "X"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    labels, score = done.stdout.splitlines()
    assert labels.split() == lc.predict(X).tolist()
    assert score == "1.0"
