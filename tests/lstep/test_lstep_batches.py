"""The batches of an L step: fast for plain arrays, the user's own for all else."""

import warnings

import numpy as np
import pytest
import torch
from nets import classifier, compressor, data, flat, module, started
from scipy import sparse
from skorch import NeuralNet, NeuralNetClassifier
from skorch.dataset import Dataset, ValidSplit
from torch import nn
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
)

from sklc.lstep.net.batches import Batches, batches, measuring_batches

N = 23


def arrays(dtype="float32"):
    X = (np.arange(N * 3).reshape(N, 3) % 2).astype(dtype)
    return X, np.arange(N) % 4


X, Y = arrays()
DATA = {
    "arrays": Dataset(X, Y),
    "tensors": Dataset(torch.as_tensor(X), torch.as_tensor(Y)),
    "an array and a tensor": Dataset(X, torch.as_tensor(Y)),
    "a dict": Dataset({"a": X, "b": torch.as_tensor(X[:, 0])}, Y),
    "no targets": Dataset(X),
    "a subset": Subset(Dataset(X, Y), [4, 2, 2, 7, 1, 22, 0, 9, 9, 11, 3, 5]),
    "a subset by an array": Subset(Dataset(X, Y), np.arange(3, 20)),
    "a subset by a range": Subset(Dataset(X, Y), range(11)),
    "a subset of a subset": Subset(Subset(Dataset(X, Y), range(4, 20)), [3, 1, 0]),
    "a subset without targets": Subset(Dataset({"a": X}), [5, 6, 7]),
    "columns": Dataset(X[:, ::2], Y[::-1]),
    "vectors": Dataset(X[:, 0], X[:, 1]),
    "images": Dataset(X.reshape(N, 1, 3, 1), X),
    **{
        str(dtype): Dataset(X.astype(dtype), Y.astype(dtype))
        for dtype in ("float64", "float16", "int64", "int32", "int8", "uint8", "bool")
    },
}
OPTIONS = {
    "default": {},
    "drop_last": {"drop_last": True},
    "full batch": {"batch_size": -1},
    "one by one": {"batch_size": 1},
    "larger than the data": {"batch_size": 100},
}


def loader(dataset, training=True, **options):
    """Return our batches, and those of skorch."""
    prefix = "iterator_train" if training else "iterator_valid"
    given = {f"{prefix}__{name}": value for name, value in options.items()}
    net = NeuralNet(nn.Linear(3, 4), nn.MSELoss, batch_size=5, **given).initialize()
    return (
        batches(net, dataset, training=training),
        net.get_iterator(dataset, training=training),
    )


def assert_equal(ours, theirs):
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert list(ours) == list(theirs)
        for name, value in ours.items():
            assert_equal(value, theirs[name])
    elif isinstance(ours, list):
        for pair in zip(ours, theirs, strict=True):
            assert_equal(*pair)
    else:
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


@pytest.mark.filterwarnings("ignore:In future, it will be an error:DeprecationWarning")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, "default") for name in DATA), *(("a dict", name) for name in OPTIONS)],
)
def test_fast_batches_equal_those_of_the_data_loader(name, options, training):
    ours, theirs = loader(DATA[name], training, **OPTIONS[options])
    assert isinstance(ours, Batches)
    assert isinstance(theirs, DataLoader)
    assert len(ours) == len(theirs)
    for _ in range(2):
        for (x, y), (x_, y_) in zip(ours, theirs, strict=True):
            assert_equal(x, x_)
            assert_equal(y, y_)


@pytest.mark.parametrize("drop_last", [False, True])
def test_shuffled_batches_hold_each_sample_once(drop_last):
    x = torch.arange(N)
    shuffled = Batches({"x": x}, x, 5, shuffle=True, drop_last=drop_last)
    orders = []
    for _ in range(2):
        found = list(shuffled)
        for batch, y in found:
            assert torch.equal(batch["x"], y)
        order = torch.cat([y for _, y in found]).tolist()
        assert len(set(order)) == len(order) == (20 if drop_last else N)
        orders.append(order)
    assert orders[0] != orders[1] != sorted(orders[1])


@pytest.mark.parametrize("shuffle", [True, False, None])
def test_shuffling_is_as_the_net_says(shuffle):
    ours, _ = loader(Dataset(X, np.arange(N)), shuffle=shuffle)
    assert isinstance(ours, Batches)
    order = torch.cat([y for _, y in ours]).tolist()
    assert (order != list(range(N))) == bool(shuffle)


def test_the_data_are_not_copied_as_a_whole():
    ours, _ = loader(Dataset(X, torch.as_tensor(Y)))
    assert ours.X.data_ptr() == X.ctypes.data
    assert ours.y.data_ptr() == Y.ctypes.data


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_lie_where_kernels_round_alike_in_every_process(shuffle):
    memory = torch.zeros(100)
    for start in range(4):  # as the arrays of a user lie anywhere
        part = memory[start : start + 90].view(30, 3)
        for x, y in Batches(part, part[:, 0], 7, shuffle=shuffle):
            assert x.data_ptr() % 64 == y.data_ptr() % 64 == 0


def test_read_only_arrays_are_fine(tmp_path):
    np.save(tmp_path / "X.npy", X)
    memmap = np.load(tmp_path / "X.npy", mmap_mode="r")
    y = Y.copy()
    y.setflags(write=False)
    ours, _ = loader(Dataset(memmap, y))
    assert isinstance(ours, Batches)
    assert torch.equal(torch.cat([x for x, _ in ours]), torch.as_tensor(X))


def test_a_net_without_device_places_its_batches_itself():
    net = NeuralNet(nn.Linear(3, 4), nn.MSELoss, device=None).initialize()
    ours = batches(net, DATA["arrays"], training=True)
    assert isinstance(ours, Batches)
    assert ours.X.data_ptr() == X.ctypes.data


# ---- what is the user's own ----


class Doubled(DataLoader):
    def __iter__(self):
        for x, y in super().__iter__():
            yield 2 * x, y


class Shifted(Dataset):
    def transform(self, X, y):
        return X + 1, y


class Noisy(Subset):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + 1, y

    def __getitems__(self, indices):
        return [self[index] for index in indices]


class Streamed(IterableDataset):
    def __iter__(self):
        yield from zip(torch.as_tensor(X), torch.as_tensor(Y), strict=True)


class OwnIterator(NeuralNet):
    def get_iterator(self, dataset, training=False):
        return [(torch.zeros(2, 3), torch.zeros(2))]


def collated(samples):
    return torch.stack([torch.as_tensor(x) for x, _ in samples]), torch.zeros(5)


@pytest.mark.parametrize(
    "dataset",
    [
        Shifted(X, Y),
        Subset(Shifted(X, Y), range(9)),
        Noisy(Dataset(X, Y), range(9)),
        Subset(Noisy(Dataset(X, Y), range(9)), range(4)),
        TensorDataset(torch.as_tensor(X), torch.as_tensor(Y)),
        Dataset([X, X], Y),
        Dataset(sparse.csr_matrix(X), Y),
        Subset(Dataset(sparse.csr_matrix(X), Y), range(9)),
        Dataset(X, Y, length=7),
        Streamed(),
        list(zip(X, Y, strict=True)),
    ],
    ids=lambda dataset: type(dataset).__name__,
)
def test_other_datasets_come_as_they_are(dataset):
    ours, theirs = loader(dataset)
    assert type(ours) is DataLoader
    for (x, y), (x_, y_) in zip(ours, theirs, strict=True):
        assert_equal(y, y_)
        assert_equal(x, x_)


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": RandomSampler(range(N))},
        {"batch_sampler": [[0, 1], [2]], "batch_size": 1},
        {"collate_fn": collated, "drop_last": True},
        {"generator": torch.Generator()},
        {"batch_size": None},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_the_data_loader_come_as_they_are(options):
    ours, _ = loader(DATA["arrays"], **options)
    assert type(ours) is DataLoader
    for name in options.keys() & {"sampler", "collate_fn", "generator", "batch_size"}:
        if "batch_sampler" not in options:
            assert getattr(ours, name) is options[name]


@pytest.mark.parametrize("size", [0, -2, 2.5])
def test_an_invalid_batch_size_is_refused_as_torch_does(size):
    net = NeuralNet(nn.Linear(3, 4), nn.MSELoss, batch_size=size).initialize()
    with pytest.raises(ValueError, match="batch_size should be a positive integer"):
        batches(net, DATA["arrays"], training=True)


def test_an_iterator_class_of_the_user_is_used():
    net = NeuralNet(nn.Linear(3, 4), nn.MSELoss, iterator_train=Doubled, batch_size=N)
    ((x, _),) = batches(net.initialize(), DATA["arrays"], training=True)
    assert torch.equal(x, 2 * torch.as_tensor(X))
    ((x, _),) = batches(net.initialize(), DATA["arrays"], training=False)
    assert torch.equal(x, torch.as_tensor(X))


def test_a_net_that_makes_its_own_iterators_is_asked():
    net = OwnIterator(nn.Linear(3, 4), nn.MSELoss).initialize()
    ((x, _),) = batches(net, DATA["arrays"], training=True)
    assert torch.equal(x, torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (Dataset(*data()), None),
        (TensorDataset(*map(torch.as_tensor, data())), None),
        (Shifted(*data()), None),
        (Dataset(*data()), data()[1]),
    ],
)
@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_datasets_are_compressed_on(X, y):
    lc = compressor().fit(X, y)
    assert lc.n_iter_ == 3


def test_a_net_without_targets_is_compressed():
    class Autoencoder(NeuralNet):
        def get_loss(self, y_pred, y_true, X=None, training=False):
            return super().get_loss(y_pred, X, X, training)

    net = classifier(Autoencoder, module=nn.Linear(5, 5), criterion=nn.MSELoss)
    lc = compressor(net, max_iter=0).fit(data()[0])
    output = lc.estimator_.predict(data()[0])
    loss = np.mean((output - data()[0]) ** 2)
    assert lc.history_[0]["loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_a_dict_of_arrays_is_compressed_on():
    class TwoInputs(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 3), nn.Linear(3, 3)

        def forward(self, left, right):
            return self.a(left) + self.b(right)

    X, y = data()
    parts = {"left": X[:, :2], "right": X[:, 2:]}
    lc = compressor(classifier(module=TwoInputs)).fit(parts, y)
    assert lc.predict(parts).shape == (40,)


# ---- the warning about the order ----


def unshuffled(**options):
    settings = {"module": module(), "criterion": nn.CrossEntropyLoss, "batch_size": 10}
    return NeuralNetClassifier(**{**settings, **options}, train_split=None, verbose=0)


WARNING = (
    r"The net trains on its batches in the order of the data, which slows stochastic "
    r"training down or misleads it: set iterator_train__shuffle=True \(or False, to "
    r"say that you mean it\)\."
)


def test_training_in_the_order_of_the_data_is_warned_about():
    with pytest.warns(UserWarning, match=WARNING) as record:
        compressor(unshuffled(), max_iter=0).fit(*data())
    assert [warning.filename for warning in record] == [__file__]


def test_a_batch_size_of_the_iterator_counts():
    with pytest.warns(UserWarning, match=WARNING):
        started(unshuffled(batch_size=-1, iterator_train__batch_size=3))


@pytest.mark.parametrize(
    ("options", "dataset"),
    [
        ({"batch_size": -1}, None),
        ({"batch_size": 40}, None),
        ({"iterator_train": Doubled}, None),
        ({"iterator_train__sampler": SequentialSampler(range(40))}, None),
        ({"batch_size": None}, TensorDataset(*map(torch.as_tensor, data()))),
        ({}, Streamed()),
    ],
)
def test_there_is_no_warning_where_there_is_no_danger(options, dataset):
    if options.get("batch_size", 1) is None or isinstance(dataset, Streamed):
        options = {"module": nn.Linear(len(next(iter(dataset))[0]), 4), **options}
    net = unshuffled(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        started(net, *([dataset, None] if dataset else data()))


# ---- splits and samples ----


def random_split(dataset, y=None, **kwargs):
    order = torch.randperm(len(dataset))
    return Subset(dataset, order[:30]), Subset(dataset, order[30:])


@pytest.mark.parametrize("split", [random_split, ValidSplit(4)])
def test_one_split_serves_the_whole_fit(split):
    X, y = data()
    X = X.copy()
    X[:, 0] = np.arange(40) / 40
    seen = []

    class Spied(type(classifier())):
        def train_step(self, batch, **fit_params):
            seen.append(batch[0][:, 0])
            return super().train_step(batch, **fit_params)

        def validation_step(self, batch, **fit_params):
            held_out.update(batch[0][:, 0].tolist())
            return super().validation_step(batch, **fit_params)

    held_out = set()
    learner = started(classifier(Spied, train_split=split), X, y)
    learner.train_reference()
    learner.learn({}, 1.0, 1)
    learner.learn({}, 1.0, 2)
    used = {value for values in seen for value in values.tolist()}
    assert (len(used), len(held_out), len(used | held_out)) == (30, 10, 40)


def test_the_loss_is_that_of_evenly_spaced_samples():
    X, y = data()
    learner = started(X=X, y=y, loss_samples=4)
    index = [0, 13, 26, 39]
    output = learner.estimator.module_(torch.as_tensor(X[index]))
    expected = nn.functional.cross_entropy(output, torch.as_tensor(y[index])).item()
    assert learner.loss() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("n", [9, 10, 11, 19, 101])
@pytest.mark.parametrize("iterator", [DataLoader, Doubled])
def test_what_is_measured_are_some_samples_in_a_fixed_order(n, iterator):
    net = classifier(iterator_valid=iterator, iterator_valid__batch_size=1)
    dataset = Dataset(np.arange(n, dtype="float32")[:, None], np.arange(n))
    train = batches(net.initialize(), dataset, training=True)
    found = measuring_batches(net, dataset, train, 10, larger=False)
    orders = [torch.cat([y for _, y in found]).tolist() for _ in range(2)]
    assert orders[0] == orders[1] != sorted(orders[0])
    assert len(set(orders[0])) == len(orders[0]) == min(n, 10)
    assert {0, n - 1} <= set(orders[0])
    assert len(found) == 1  # batches are as large as those of the training


@pytest.mark.parametrize("samples", [0, 2.5, True, "all"])
def test_an_invalid_number_of_samples_is_refused(samples):
    with pytest.raises(ValueError, match="loss_samples must be an int of at least 1"):
        started(loss_samples=samples)


def test_fast_batches_train_as_those_of_the_data_loader():
    class Plain(DataLoader):
        """Not torch's own, so it is used as it is."""

    fast, slow = started(), started(classifier(iterator_train=Plain))
    assert isinstance(fast._train_batches, Batches)
    assert isinstance(slow._train_batches, Plain)
    for learner in fast, slow:
        learner.learn({}, 1.0, 1)
    assert torch.equal(flat(fast), flat(slow))
