"""What users may give a net, and what it makes of it."""

import numpy as np
import pandas as pd
import pytest
import torch
from nets import classifier, data, module, started
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from torch import nn
from torch.utils.data import TensorDataset

from sklc import LCCompressor
from sklc.lstep import NetLStep
from sklc.schemes import AdaptiveQuantization

X, Y = data(60)
NAMES = np.array(["a", "b", "c"])
NUMBERS = X @ np.arange(5, dtype="float32")


def fitted(estimator, X=X, y=Y, k=16):
    lc = LCCompressor(estimator, AdaptiveQuantization(k), max_iter=0, random_state=0)
    return lc.fit(X, y)


def learner_of(net, X=X, y=Y):
    return NetLStep().start(net, X, y, n_steps=0)


# ---- labels ----


def half_ignored(y, label=-1):
    y = y.copy()
    y[::2] = label
    return y


@pytest.mark.parametrize("form", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("label", [-1, 7])
def test_labels_that_are_ignored_are_no_class(form, frozen, label):
    y = half_ignored(Y, label)
    net = classifier(criterion__ignore_index=label, lr=0.5, max_epochs=20)
    if frozen:
        net = FrozenEstimator(net.fit(X, y))
    lc = fitted(net, form(X), form(y))
    assert lc.classes_.tolist() == [0, 1, 2]
    assert set(lc.predict(form(X))) <= {0, 1, 2}
    assert lc.predict_proba(form(X)).shape == (60, 3)
    counted = torch.as_tensor(y != label)
    with torch.no_grad():
        output = lc.estimator_.module_(torch.as_tensor(X)[counted])
    loss = nn.functional.cross_entropy(output, torch.as_tensor(Y)[counted])
    assert lc.history_[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [int, "int32", "uint8", float, "float32"])
def test_labels_that_are_numbers_of_outputs_stay(dtype):
    """Weights of classes go by them."""
    y = np.array([0, 2, 3])[Y].astype(dtype)
    weight = torch.tensor([1.0, 100.0, 1.0, 50.0])
    net = classifier(module=module(n_out=4), criterion__weight=weight, max_epochs=20)
    lc = fitted(net, y=y)
    assert lc.classes_.tolist() == [0, 1, 2, 3]
    assert lc.classes_.dtype == dtype
    assert lc.predict_proba(X).shape == (60, 4)
    assert (lc.predict(X) == 3).mean() > 0.5
    assert lc.predict(X).dtype == dtype


@pytest.mark.parametrize(
    "labels", [[3, 5, 9], [-1.0, 0.0, 1.0], ["x", "y", "z"], [1, 2, 3]]
)
def test_other_labels_are_numbered_in_their_order(labels):
    y = np.array(labels)[Y]
    lc = fitted(classifier(lr=0.5, max_epochs=20), y=y)
    assert lc.classes_.tolist() == labels
    expected = fitted(classifier(lr=0.5, max_epochs=20)).predict_proba(X)
    assert np.array_equal(lc.predict_proba(X), expected)
    assert lc.score(X, y) == (lc.predict(X) == y).mean() > 0.4


def test_labels_that_are_true_or_false_come_back():
    lc = fitted(classifier(module=module(n_out=2)), y=Y > 0)
    assert lc.classes_.tolist() == [False, True]
    assert lc.predict(X).dtype == bool


@pytest.mark.parametrize("frozen", [False, True])
def test_the_classes_of_the_net_are_honoured(frozen):
    """In its order, and if some are missing from the data."""
    net = classifier(classes=["c", "a", "b"], lr=0.5, max_epochs=20)
    if frozen:
        net = FrozenEstimator(net.fit(X, Y))
    some = Y != 1
    names = np.array(["c", "a", "b"])
    lc = fitted(net, X[some], names[Y[some]])
    assert lc.classes_.tolist() == ["c", "a", "b"]
    assert lc.predict_proba(X).shape == (60, 3)
    found = lc.predict_proba(X).argmax(1)
    assert lc.predict(X).tolist() == names[found].tolist()
    with pytest.raises(ValueError, match="y has the label 'd', which is not among the"):
        fitted(net, y=np.where(Y == 1, "d", names[Y]))


def test_numbers_of_the_classes_of_the_net_are_labels_too():
    net = classifier(classes=["c", "a", "b"], lr=0.5, max_epochs=20)
    lc = fitted(net, y=Y)
    assert lc.classes_.tolist() == [0, 1, 2]
    assert np.array_equal(lc.predict(X), lc.predict_proba(X).argmax(1))


def test_numbers_of_classes_that_are_missing_keep_their_columns():
    some = Y != 1
    lc = fitted(classifier(classes=[0, 1, 2]), X[some], Y[some])
    assert lc.classes_.tolist() == [0, 1, 2]
    assert set(lc.predict(X)) <= {0, 1, 2}
    assert np.array_equal(lc.predict(X), lc.predict_proba(X).argmax(1))


@pytest.mark.parametrize("n_out", [2, 4])
def test_classes_without_outputs_and_outputs_without_classes_are_refused(n_out):
    with pytest.raises(
        ValueError,
        match=f"y has 3 classes, from 'a' to 'c', but the net has {n_out} outputs: giv",
    ):
        fitted(classifier(module=module(n_out=n_out)), y=NAMES[Y])


class Ordinal(NeuralNetClassifier):
    """One output fewer than there are classes, each a threshold."""

    def get_loss(self, y_pred, y_true, *args, **kwargs):
        above = (y_true[:, None] > torch.arange(2)).float()
        return nn.functional.binary_cross_entropy_with_logits(y_pred, above)

    def predict(self, X):
        return (self.forward(X) > 0).sum(1).numpy()


@pytest.mark.parametrize("labels", [[0, 1, 2], ["a", "b", "c"]])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_loss_of_ones_own_may_have_fewer_outputs(frozen, labels):
    net = classifier(Ordinal, module=module(n_out=2), lr=0.5, max_epochs=20)
    numbers = np.digitize(NUMBERS, [-2, 2])
    if frozen:
        net = FrozenEstimator(net.fit(X, numbers))
        if labels[0] == "a":
            net.estimator.set_params(classes=labels)
    y = np.array(labels)[numbers]
    lc = fitted(net, y=y)
    assert lc.classes_.tolist() == labels
    assert lc.score(X, y) == (lc.predict(X) == y).mean() > 0.8


# ---- shapes of targets ----


def regressor(kind=NeuralNetRegressor, **options):
    torch.manual_seed(0)
    settings = {"criterion": nn.MSELoss, "lr": 0.05, "max_epochs": 40, "verbose": 0}
    settings["module"] = nn.Sequential(nn.Flatten(), nn.Linear(5, 1))
    return kind(
        **{**settings, **options},
        batch_size=10,
        iterator_train__shuffle=True,
        train_split=None,
    )


FORMS = {
    "table": lambda X: X,
    "images": lambda X: X.reshape(-1, 1, 5, 1),
    "tensor": torch.as_tensor,
    "doubles": lambda X: X.reshape(-1, 1, 5, 1).astype("float64"),
}


@pytest.mark.parametrize(
    ("form", "dtype"),
    [*((form, "float32") for form in FORMS), ("table", "float64")],
)
def test_targets_fit_the_outputs_and_come_back_as_they_were(form, dtype):
    given = FORMS[form](X)
    y = NUMBERS.astype(dtype)
    lc = fitted(regressor(), given, torch.as_tensor(y) if form == "tensor" else y)
    assert lc.predict(given).shape == (60,)
    assert lc.score(given, y) > 0.99


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@pytest.mark.parametrize(
    ("form", "flat"), [*((form, False) for form in FORMS), ("images", True)]
)
def test_columns_of_one_number_stay_columns(form, flat):
    layers = [nn.Flatten(), nn.Linear(5, 1)] + flat * [nn.Flatten(0)]
    given, y = FORMS[form](X), NUMBERS[:, None]
    lc = fitted(regressor(module=nn.Sequential(*layers)), given, y)
    assert lc.predict(given).shape == (60, 1)
    assert lc.score(given, y) > 0.99


def test_an_embedding_is_a_regression_as_any_other():
    rows = np.arange(120).reshape(60, 2) % 7
    layers = nn.Embedding(7, 4), nn.Flatten(), nn.Linear(8, 1)
    net = regressor(module=nn.Sequential(*layers), lr=0.1, max_epochs=60)
    y = (rows[:, 0] - rows[:, 1]).astype("float32")
    lc = fitted(net, rows, y)
    assert lc.score(rows, y) > 0.95
    assert lc.predict(rows).shape == (60,)


@pytest.mark.parametrize(
    "wrap", [lambda X, y: (X, y), lambda *d: (TensorDataset(*d), None)]
)
def test_what_would_be_broadcast_is_an_error(wrap):
    net = regressor(module=nn.Linear(5, 2))
    pair = wrap(torch.as_tensor(X), torch.as_tensor(NUMBERS))
    with pytest.raises(
        ValueError, match=r"y has rows of shape \(\), but the net outpu"
    ):
        fitted(net, *pair)


def test_binary_nets_take_labels_of_any_kind_for_images():
    net = NeuralNetBinaryClassifier(
        nn.Sequential(nn.Flatten(), nn.Linear(5, 1)), train_split=None, verbose=0
    ).set_params(iterator_train__shuffle=True, lr=0.5, max_epochs=30)
    images, y = X.reshape(-1, 1, 5), np.array(["no", "yes"])[(NUMBERS > 0).astype(int)]
    lc = fitted(net, images, y)
    assert lc.score(images, y) > 0.9
    assert lc.classes_.tolist() == ["no", "yes"]


# ---- dtypes ----


class OneHot(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(14, 3)

    def forward(self, x):
        return self.fc(nn.functional.one_hot(x, 7).flatten(1).float())


class DoubleFirst(nn.Module):
    """Its first parameter is in double precision, and the others are not."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.fc = nn.Linear(2, 3)

    def forward(self, x):
        return self.fc(x) * self.scale.float()


class Both(nn.Module):
    """Words and numbers by name."""

    def __init__(self):
        super().__init__()
        self.words, self.fc = nn.Embedding(7, 4), nn.Linear(2, 3)
        self.out = nn.Linear(4, 3)

    def forward(self, words, counts):
        return self.out(self.words(words).mean(1)) + self.fc(counts)


ROWS = np.arange(120).reshape(60, 2) % 7


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float64", "float32"])
@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        (lambda: nn.Sequential(nn.EmbeddingBag(7, 4), nn.Linear(4, 3)), "int64"),
        (OneHot, "int64"),
        (lambda: nn.Linear(2, 3), "float32"),
        (lambda: nn.Linear(2, 3).double(), "float64"),
        (DoubleFirst, "float32"),
    ],
)
def test_a_net_gets_the_dtype_that_it_takes(inner, expected, dtype):
    if expected == "int64" and dtype.startswith("float"):
        pytest.skip("no integers")
    rows = ROWS.astype(dtype)
    lc = fitted(inner(), rows, Y)
    assert lc.predict(rows).shape == (60,)
    expected = lc.predict_proba(ROWS.astype(expected))
    assert np.array_equal(lc.predict_proba(rows), expected)


def test_parts_may_have_different_dtypes():
    parts = {"words": ROWS, "counts": ROWS}
    lc = fitted(Both(), parts, Y)
    assert lc.predict(parts).shape == (60,)
    frame = {"words": ROWS.astype("int32"), "counts": ROWS.astype("float64")}
    assert np.array_equal(lc.predict_proba(frame), lc.predict_proba(parts))


@pytest.mark.parametrize(
    ("inner", "rows", "message"),
    [
        (nn.Linear(9, 3), X, "mat1 and mat2 shapes cannot be multiplied"),
        (nn.Linear(9, 3), ROWS, "mat1 and mat2 shapes cannot be multiplied"),
        (nn.Sequential(nn.EmbeddingBag(3, 3)), ROWS, "[Ii]ndex"),
    ],
)
def test_an_error_of_the_net_is_the_one_that_tells_why(inner, rows, message):
    with pytest.raises(ValueError, match=f"The net cannot be evaluated .*{message}"):
        fitted(inner, rows)


# ---- images, lists and frames ----

IMAGES = np.abs(X * 40).astype("uint8").reshape(-1, 1, 5, 1)


def convolution():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, (2, 1)), nn.Flatten(), nn.Linear(16, 3))


@pytest.mark.parametrize("name", ["uint8", "float64", "int64", "lists", "read-only"])
def test_images_are_made_right(name):
    images, expected = IMAGES, IMAGES.astype("float32")
    if name == "lists":
        images = images.tolist()
    elif name == "read-only":
        images = expected.copy()
        images.flags.writeable = False
    else:
        images = images.astype(name)
    lc = fitted(convolution(), images)
    if name == "read-only":  # skorch predicts from such with a warning
        images = expected
    assert np.array_equal(lc.predict_proba(expected), lc.predict_proba(images))


@pytest.mark.parametrize(
    "y",
    [Y.astype(float), Y.astype("int32"), Y.tolist(), torch.as_tensor(Y).float()],
    ids=["float", "int32", "list", "tensor"],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_labels_of_images_are_made_right(y, frozen):
    images = IMAGES.astype("float32") / 40
    net = classifier(module=convolution())
    if frozen:
        net = FrozenEstimator(net.fit(images, Y))
    expected = fitted(net, images)
    lc = fitted(net, images, y)
    assert np.array_equal(lc.predict_proba(images), expected.predict_proba(images))
    assert lc.score(images, y) == expected.score(images, Y)


def test_names_of_classes_of_images_come_back():
    lc = fitted(classifier(module=convolution()), IMAGES, NAMES[Y])
    assert set(lc.predict(IMAGES)) <= {"a", "b", "c"}
    assert lc.classes_.tolist() == ["a", "b", "c"]


def with_nan(images):
    images = images.astype("float32")
    images[3, 0, 2] = np.nan
    return images


BAD = {
    "empty": (IMAGES[:0], Y[:0], r"Found array with 0 sample\(s\)"),
    "empty tensor": (torch.zeros(0, 1, 5, 1), torch.zeros(0), r"with 0 sample\(s\)"),
    "NaN": (with_nan(IMAGES), Y, "Input X contains NaN or infinity"),
    "NaN tensor": (torch.as_tensor(with_nan(IMAGES)), Y, "Input X contains NaN"),
    "NaN in y": (IMAGES, np.full(60, np.nan), "Input y contains NaN"),
    "a label too few": (IMAGES, Y[1:], "numbers of samples: X has 60, y has 59"),
    "halves": (IMAGES, Y + 0.5, "Unknown label type: continuous"),
    "one-hot": (IMAGES, np.eye(3, dtype=int)[Y], r"pass y\.argmax\(1\), or probabil"),
    "one-hot table": (X, np.eye(3, dtype=int)[Y], r"pass y\.argmax\(1\), or probab"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_are_refused_before_any_training(name):
    images, y, message = BAD[name]
    trained = []

    class Watched(NeuralNetClassifier):
        def train_step(self, *args, **kwargs):
            trained.append(args)

    inner = module() if "table" in name else convolution()
    with pytest.raises(ValueError, match=message):
        fitted(classifier(Watched, module=inner), images, y)
    assert not trained


def test_parts_of_different_lengths_are_named():
    parts = {"words": ROWS, "counts": ROWS[1:]}
    with pytest.raises(ValueError, match=r"X\['words'\] has 60, X\['counts'\] has 59"):
        fitted(Both(), parts, Y)


def test_rows_of_probabilities_are_targets():
    soft = np.full((60, 3), 0.1)
    soft[np.arange(60), Y] = 0.8
    loss = started(classifier(), X, soft).loss()
    output = module()(torch.as_tensor(X))
    expected = nn.functional.cross_entropy(output, torch.as_tensor(soft).float())
    assert loss == pytest.approx(expected.item(), rel=1e-5)


class Product(nn.Module):
    """A recommender: users and items, by name."""

    def __init__(self):
        super().__init__()
        self.users, self.items = nn.Embedding(6, 4), nn.Embedding(5, 4)

    def forward(self, users, items):
        found = (self.users(users) * self.items(items)).sum(-1)
        return found.reshape(len(users), -1)


USERS, ITEMS = np.arange(60) % 6, np.arange(60) % 5
RATINGS = ((USERS - 2.5) * (ITEMS - 2)).astype("float32")
INPUTS = {
    "arrays": [USERS, ITEMS],
    "tensors": (torch.as_tensor(USERS), torch.as_tensor(ITEMS)),
    "lists": [USERS.tolist(), ITEMS.tolist()],
    "dict": {"users": USERS, "items": ITEMS},
    "columns": pd.DataFrame({"users": USERS, "items": ITEMS}),
}


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_by_name_come_in_any_form(name):
    net = regressor(module=Product(), lr=0.3, max_epochs=60)
    lc = fitted(net, INPUTS[name], RATINGS)
    assert lc.score(INPUTS[name], RATINGS) > 0.8
    assert lc.predict(INPUTS[name]).shape == (60,)
    if name == "columns":
        assert lc.feature_names_in_.tolist() == ["users", "items"]
        with pytest.raises(ValueError, match="feature names should match"):
            lc.predict(INPUTS[name][["items", "users"]])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            pd.DataFrame({"users": USERS, "what": ITEMS}),
            r"columns of X are \['users', ",
        ),
        (np.stack([USERS, ITEMS], 1), "takes users, items: pass X as a dict of arrays"),
        ([USERS, ITEMS, ITEMS], "takes users, items: pass X as a dict of arrays with"),
        (
            pd.DataFrame({"users": USERS, "items": ["x"] * 60}),
            "column 'items' of X has n",
        ),
    ],
)
def test_inputs_that_do_not_fit_the_module_are_told(given, message):
    with pytest.raises(ValueError, match=message):
        fitted(regressor(module=Product()), given, RATINGS)


def test_a_list_of_inputs_for_a_module_of_one_argument_stays_a_list():
    class Listed(Product):
        def forward(self, pair):
            return super().forward(*pair)

    net = regressor(module=Listed(), lr=0.3, max_epochs=60)
    lc = fitted(net, [USERS, ITEMS], RATINGS)
    assert lc.score([USERS, ITEMS], RATINGS) > 0.8


def test_rows_may_come_as_a_list_of_arrays():
    lc = fitted(classifier(), list(X))
    assert np.array_equal(lc.predict(list(X)), lc.predict(X))


def test_what_needs_no_change_is_not_copied():
    images = torch.as_tensor(IMAGES).float()
    learner = learner_of(convolution(), images, torch.as_tensor(Y))
    assert learner.data[0] is images
    assert learner.translation.samples(images) is images


@pytest.mark.parametrize("other", [lambda x: x[::-1][:], lambda x: x.astype(">f4")])
def test_arrays_may_go_backwards_or_have_swapped_bytes(other):
    """torch takes neither."""
    X = np.random.default_rng(0).standard_normal((20, 6)).astype("float32")
    y = np.arange(20) % 3
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 3))
    lc = LCCompressor(module, AdaptiveQuantization(k=3), max_iter=0).fit(other(X), y)
    expected = lc.predict_proba(np.array(other(X), dtype="float32"))
    np.testing.assert_array_equal(lc.predict_proba(other(X)), expected)
