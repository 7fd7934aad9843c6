"""What is said of inputs and outputs is what the model does."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import (
    NeuralNet,
    NeuralNetBinaryClassifier,
    NeuralNetClassifier,
    NeuralNetRegressor,
)
from torch import nn

from sklc import LCCompressor
from sklc.schemes import AdaptiveQuantization

X, y = make_classification(60, n_features=5, n_informative=3, random_state=0)
X = X.astype("float32")


def compressed(kind, criterion, n_outputs, targets, **options):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, n_outputs))
    if criterion in (nn.NLLLoss, nn.BCELoss):
        last = nn.Softmax(1) if criterion is nn.NLLLoss else nn.Sigmoid()
        module = nn.Sequential(module, last)
    net = kind(module, criterion=criterion, verbose=0, train_split=None, **options)
    net.initialize()
    lc = LCCompressor(FrozenEstimator(net), AdaptiveQuantization(k=2), max_iter=0)
    return lc.fit(X, targets)


ACTIVATIONS = {
    "identity": lambda z: z,
    "softmax": lambda z: z.softmax(-1),
    "sigmoid_pair": lambda z: torch.stack([1 - z.sigmoid(), z.sigmoid()], 1),
    "pair": lambda z: torch.stack([1 - z, z], 1),
}
CASES = [
    (NeuralNetClassifier, nn.CrossEntropyLoss, 2, y, "softmax", "argmax"),
    (NeuralNetClassifier, nn.NLLLoss, 2, y, "identity", "argmax"),
    (
        *(NeuralNetBinaryClassifier, nn.BCEWithLogitsLoss, 1, y.astype("float32")),
        *("sigmoid_pair", "threshold"),
    ),
    (NeuralNetRegressor, nn.MSELoss, 1, y.astype("float32"), "identity", "output"),
    (NeuralNet, nn.CrossEntropyLoss, 2, y, "softmax", "output"),
]


@pytest.mark.parametrize(("kind", "criterion", "n", "targets", "act", "how"), CASES)
def test_predictions_follow_from_the_signature(kind, criterion, n, targets, act, how):
    lc = compressed(kind, criterion, n, targets)
    model = lc._compressed_model()
    signature = model.signature
    assert (signature.activation, signature.decision) == (act, how)
    (entry,) = signature.inputs
    assert (entry.name, entry.shape, entry.dtype) == ("X", (5,), "float32")
    with torch.no_grad():
        output = model.model(torch.from_numpy(X))
    if signature.flat:
        output = output.reshape(-1)
    found = ACTIVATIONS[signature.activation](output).numpy()
    np.testing.assert_array_equal(
        lc.predict_proba(X) if how != "output" else found, found
    )
    if how == "argmax":
        found = found.argmax(1)
    elif how == "threshold":
        found = found[:, 1] > signature.threshold
    if signature.classes is not None:
        found = signature.classes[found.astype(int)]
    elif signature.shape == "flat":
        found = found[:, 0]
    np.testing.assert_array_equal(lc.predict(X), found)


def test_what_a_user_has_changed_is_custom():
    lc = compressed(
        *(NeuralNetClassifier, nn.CrossEntropyLoss, 2, y),
        predict_nonlinearity=lambda z: z.softmax(-1),
    )
    assert lc._signature.activation == "custom"

    class Own(NeuralNetClassifier):
        def predict(self, X):
            return super().predict(X)

    lc = compressed(Own, nn.CrossEntropyLoss, 2, y)
    assert lc._signature.decision == "custom"


def test_the_rest_is_what_is_not_compressed():
    model = compressed(NeuralNetClassifier, nn.CrossEntropyLoss, 2, y)
    model = model._compressed_model()
    assert set(model.theta) == {"0.weight", "2.weight"}
    assert set(model.rest) == {"0.bias", "2.bias"}
    assert model.is_net


def test_of_a_pipeline_the_last_step_is_taken_and_it_says_so():
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    lc = LCCompressor(pipe, AdaptiveQuantization(k=2), max_iter=1).fit(X, y)
    with pytest.warns(UserWarning, match=r"\(standardscaler\) first"):
        model = lc._compressed_model()
    assert model.model is lc.estimator_[-1]
    assert set(model.rest) == {"intercept_"}
    np.testing.assert_array_equal(model.signature.classes, [0, 1])
