"""scikit-learn's own checks, and its habits, for compressors of nets."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import DataConversionWarning
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback
from torch import nn

from sklc import LCCompressor
from sklc.lstep import NetLStep
from sklc.schemes import AdaptiveQuantization

#: Two steps need not improve.
ONLY_HERE = pytest.mark.filterwarnings("ignore:The LC steps did not improve")


class Net(nn.Module):
    """A small net."""

    def __init__(self, n_in=1, n_out=1):
        super().__init__()
        self.fc1 = nn.Linear(n_in, 16)
        self.fc2 = nn.Linear(16, n_out)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


class Shapes(Callback):
    """Give a net as many inputs and outputs as the data ask for."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        if isinstance(net, NeuralNetClassifier):
            n_out = int(y.max()) + 1
        else:
            n_out = 1 if y.ndim == 1 else y.shape[1]
        shape = net.module_.fc1.in_features, net.module_.fc2.out_features
        if shape != (X.shape[1], n_out):
            net.set_params(module__n_in=X.shape[1], module__n_out=n_out)


def compressor(kind, criterion, **options):
    net = kind(
        Net,
        criterion=criterion,
        optimizer=torch.optim.Adam,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        **{
            "lr": 0.01,
            "max_epochs": 20,
            "batch_size": 32,
            "callbacks": [("shapes", Shapes())],
            **options,
        },
    )
    return LCCompressor(
        net,
        AdaptiveQuantization(k=4),
        l_step=NetLStep(epochs=1),
        max_iter=2,
        random_state=0,
    )


classifier = compressor(NeuralNetClassifier, nn.CrossEntropyLoss)
regressor = compressor(NeuralNetRegressor, nn.MSELoss)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(estimator, check, id=f"{name}-{check.func.__name__}-{number}")
        for name, net in (("classifier", classifier), ("regressor", regressor))
        for number, (estimator, check) in enumerate(estimator_checks_generator(net))
    ],
)
def test_the_checks_of_scikit_learn_pass(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return (X - X.mean(0)) / X.std(0), np.array(["a", "b", "c"])[y]


@pytest.fixture(scope="module")
def better():
    return clone(classifier).set_params(estimator__lr=0.03, estimator__batch_size=16)


def test_labels_of_any_kind_come_back(better, iris):
    X, y = iris
    lc = clone(better).fit(X, y)
    assert lc.classes_.tolist() == ["a", "b", "c"]
    predicted = lc.predict(X)
    assert set(predicted) <= {"a", "b", "c"}
    assert lc.score(X, y) == accuracy_score(y, predicted) > 0.85
    assert lc.n_features_in_ == 4
    assert lc.predict_proba(X).shape == (150, 3)
    assert not hasattr(lc, "feature_names_in_")


def test_names_of_features_are_kept_and_checked(better, iris):
    X, y = iris
    frame = pd.DataFrame(X, columns=list("pqrs"))
    lc = clone(better).fit(frame, y)
    assert lc.feature_names_in_.tolist() == list("pqrs")
    with pytest.raises(ValueError, match="feature names should match"):
        lc.predict(frame[list("srqp")])


@ONLY_HERE
def test_it_works_in_pipelines_and_cross_validation(better, iris):
    X, y = iris
    pipeline = make_pipeline(StandardScaler(), clone(better))
    assert cross_val_score(pipeline, X, y, cv=2).mean() > 0.8


@ONLY_HERE
def test_targets_of_one_number_are_predicted_as_one_number():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    y = X[:, 0]
    flat = clone(regressor).fit(X, y)
    assert flat.predict(X).shape == (60,)
    assert flat.predict(X).dtype == np.float32
    assert not hasattr(flat, "predict_proba")
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        column = clone(regressor).fit(X, y[:, None])
    assert np.array_equal(column.predict(X), flat.predict(X)[:, None])


@ONLY_HERE
def test_targets_of_several_numbers_are_predicted_as_such():
    X = np.random.default_rng(0).standard_normal((60, 3))
    lc = clone(regressor).fit(X, X[:, :2])
    assert lc.predict(X).shape == (60, 2)


@ONLY_HERE
def test_a_module_may_return_numbers_of_one_dimension():
    class Flat(Net):
        def forward(self, x):
            return super().forward(x)[:, 0]

    X = np.random.default_rng(0).standard_normal((60, 3))
    lc = clone(regressor).set_params(estimator__module=Flat)
    assert lc.fit(X, X[:, 0]).predict(X).shape == (60,)


def test_binary_nets_get_numbers_and_give_labels(iris):
    X, y = iris[0][:100], iris[1][:100]
    lc = compressor(NeuralNetBinaryClassifier, nn.BCEWithLogitsLoss, lr=0.03)
    lc.set_params(estimator__callbacks=None, estimator__module__n_in=4).fit(X, y)
    assert lc.score(X, y) > 0.95
    assert set(lc.predict(X)) == {"a", "b"}


def test_a_trained_net_keeps_its_own_classes():
    X, y = load_iris(return_X_y=True)
    X = X.astype("float32")
    net = clone(classifier.estimator).set_params(lr=0.03, max_epochs=40, callbacks=None)
    net.set_params(module__n_in=4, module__n_out=3).fit(X, y)
    lc = clone(classifier).set_params(estimator=FrozenEstimator(net))
    some = y > 0
    lc.fit(X[some], y[some])
    assert lc.classes_.tolist() == [0, 1, 2]
    assert lc.score(X[some], y[some]) > 0.8


@pytest.mark.parametrize("texts", [str, object])
def test_a_score_of_texts_for_numbers_is_an_error(iris, texts):
    X, y = iris
    numbers = np.unique(y, return_inverse=True)[1]
    names = numbers.astype(str).astype(texts)
    for fitted, asked in (numbers, names), (names, numbers):
        lc = clone(classifier).fit(X, fitted)
        assert lc.score(X, fitted) > 0.0
        with pytest.raises(ValueError, match="Mix of label input types"):
            lc.score(X, asked)


def test_one_class_is_an_error(iris):
    X, _ = iris
    with pytest.raises(ValueError, match="two classes or more, but y has one class"):
        clone(classifier).fit(X, np.full(len(X), "only"))


def test_columns_of_labels_are_warned_about(better, iris):
    X, y = iris
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        clone(better).fit(X, y[:, None])


@pytest.mark.parametrize(
    "X",
    [
        torch.zeros(4, 3),
        {"x": np.zeros((4, 3), "float32")},
        np.zeros((4, 3, 2, 2), "float32"),
    ],
)
def test_what_is_no_table_goes_through_untouched(X):
    seen = []

    class Spy(NetLStep):
        def start(self, estimator, X, y, **kwargs):
            seen.append(X)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        clone(classifier).set_params(l_step=Spy()).fit(X, np.arange(4) % 2)
    assert seen[0] is X


def test_lazy_layers_learn_their_shapes(iris):
    X, y = iris

    class Lazy(Net):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.LazyLinear(16), nn.LazyLinear(3)

    lc = compressor(NeuralNetClassifier, nn.CrossEntropyLoss, callbacks=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that lazy modules are new
        lc.set_params(estimator__module=Lazy).fit(X, y)
    assert lc.theta_["fc1.weight"].shape == (16, 4)


def test_numbers_of_an_embedding_stay_integers():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(9, 4)
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.embedding(x).mean(1))

    X = np.arange(40).reshape(20, 2) % 9
    lc = compressor(NeuralNetClassifier, nn.CrossEntropyLoss, callbacks=None)
    lc.set_params(estimator__module=Words).fit(X, np.arange(20) % 2)
    assert set(lc.theta_) == {"embedding.weight", "fc.weight"}


def test_weights_of_samples_are_refused(iris):
    X, y = iris
    with pytest.raises(ValueError, match="sample_weight"):
        clone(classifier).fit(X, y, sample_weight=np.ones(len(X)))


def classifier_of(module, **options):
    return NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        **options,
    )


NAMES = np.array(["a", "b", "c"])


@ONLY_HERE
def test_a_frozen_net_keeps_its_classes():
    X, y = load_iris(return_X_y=True)
    net = classifier_of(Net(4, 3)).fit(X.astype("float32"), y)
    lc = LCCompressor(FrozenEstimator(net), AdaptiveQuantization(), max_iter=1)
    assert lc.fit(X[:100], y[:100]).classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("labels", [[0, 1, 3], [-1, 0, 1]])
def test_labels_that_a_trained_net_has_no_outputs_for_are_refused(labels):
    X, y = load_iris(return_X_y=True)
    lc = LCCompressor(Net(4, 3), AdaptiveQuantization(), max_iter=1)
    message = f"y has labels from {labels[0]} to {labels[2]}, but the net has 3 outputs"
    with pytest.raises(ValueError, match=message):
        lc.fit(X, np.array(labels)[y])


def test_names_of_classes_are_nothing_to_a_trained_net():
    X, y = load_iris(return_X_y=True)
    lc = LCCompressor(Net(4, 3), AdaptiveQuantization(), max_iter=1)
    with pytest.raises(ValueError, match="y has labels such as 'a', but a net that co"):
        lc.fit(X, NAMES[y])


def test_a_binary_net_refuses_three_classes():
    X, y = load_iris(return_X_y=True)
    net = NeuralNetBinaryClassifier(Net(4, 1), verbose=0)
    with pytest.raises(ValueError, match="BinaryClassifier knows two classes, but y h"):
        LCCompressor(net, AdaptiveQuantization()).fit(X, y)


def own_loss(criterion, output, target):
    return nn.functional.cross_entropy(output, target)


class Always(Net):
    """A net that knows one answer, for which there is no class."""

    def forward(self, x):
        scores = super().forward(x)
        return scores + 100 * torch.eye(10)[7]


@ONLY_HERE
def test_an_output_without_a_class_is_told():
    """A loss of one's own may leave some of them out: who knows."""
    X, y = load_iris(return_X_y=True)
    net = classifier_of(Always(4, 10), max_epochs=1, lr=1e-6)
    lc = LCCompressor(net, AdaptiveQuantization(), max_iter=0)
    message = "y has 3 classes, from 'a' to 'c', but the net has 10 outputs: give the"
    with pytest.raises(ValueError, match=message):
        lc.fit(X, NAMES[y])
    net.set_params(criterion=type("Own", (nn.CrossEntropyLoss,), {"forward": own_loss}))
    lc.fit(X, NAMES[y])
    with pytest.raises(ValueError, match="The net predicts its output 7, but y had on"):
        lc.predict(X)


@ONLY_HERE
def test_data_that_cannot_be_written_to_are_copied():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 3)).astype("float32"), rng.standard_normal(40)
    for part in X, y:
        part.flags.writeable = False
    lc = clone(regressor).fit(X, y)
    assert lc.predict(X).shape == (40,)
