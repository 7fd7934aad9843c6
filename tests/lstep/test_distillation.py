"""Nets that learn from their reference, with targets and without."""

import gc
import weakref

import numpy as np
import pytest
import torch
from nets import Accumulating, Scaling, classifier, data, flat, module
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetRegressor
from skorch.callbacks import EarlyStopping
from skorch.dataset import Dataset as ArrayDataset
from skorch.dataset import ValidSplit
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from sklc import LCCompressor
from sklc.lstep import NetLStep, PipelineLStep
from sklc.schemes import AdaptiveQuantization

X, Y = data()
T = torch.as_tensor(X)


def trained(**options):
    """Return a net that has learned its data."""
    options = {"max_epochs": 40, "lr": 0.5, **options}
    return classifier(**options).fit(X, Y)


def compressor(net, distill="auto", **options):
    settings = {"max_iter": 2, "random_state": 0, **options}
    step = NetLStep(epochs=1, distill=distill)
    return LCCompressor(net, AdaptiveQuantization(k=2), l_step=step, **settings)


def weights_of(model):
    module = getattr(model, "estimator_", model).module_
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def losses(lc):
    return [entry["loss"] for entry in lc.history_]


def same(one, other):
    assert losses(one) == losses(other)
    assert torch.equal(weights_of(one), weights_of(other))


# ---- without targets ----


@pytest.mark.parametrize("split", [None, ValidSplit(4), ValidSplit(4, stratified=True)])
def test_a_trained_net_needs_no_targets(split):
    net = FrozenEstimator(trained().set_params(train_split=split))
    lc = compressor(net).fit(X)
    assert {entry["trained_on"] for entry in lc.history_} == {"reference"}
    assert lc.predict(X).shape == (40,)
    assert lc.score(X, Y) == (lc.predict(X) == Y).mean()
    np.testing.assert_array_equal(lc.classes_, [0, 1, 2])
    assert ("valid_loss" in lc.estimator_.history[-1]) == (split is not None)
    assert "valid_acc" not in lc.estimator_.history[-1]


def test_targets_change_nothing_where_the_reference_is_all_that_counts():
    net = FrozenEstimator(trained())
    wrong = compressor(net, 1.0).fit(X, Y[::-1])
    same(compressor(net).fit(X), wrong)
    assert losses(wrong) != losses(compressor(net, 0.5).fit(X, Y[::-1]))


def test_a_module_needs_no_targets():
    given = trained().module_
    before = weights_of(compressor(given).fit(X).fit(X))
    assert torch.equal(before, weights_of(compressor(given, 1.0).fit(X, Y)))


def test_a_regressor_needs_no_targets():
    net = classifier(NeuralNetRegressor, criterion=nn.MSELoss).initialize()
    lc = compressor(FrozenEstimator(net)).fit(X)
    assert lc.predict(X).shape == (40, 3)
    assert lc.reference_loss_ == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("classes", "expected"), [(list("abc"), list("abc")), (None, [0, 1, 2])]
)
def test_classes_are_those_of_the_net_or_the_numbers_of_its_outputs(classes, expected):
    net = classifier(classes=classes).initialize()
    lc = compressor(FrozenEstimator(net)).fit(X)
    assert list(lc.classes_) == expected
    assert set(lc.predict(X)) <= set(expected)


class Alone(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return T[i]


class Named(Alone):
    def __getitem__(self, i):
        return {"input": T[i]}


class Stream(IterableDataset):
    def __iter__(self):
        return iter(T)

    def __len__(self):
        return len(X)


class Labelled(Alone):
    def __getitem__(self, i):
        return T[i], int(Y[i])


@pytest.mark.parametrize(
    "dataset",
    [Alone(), Named(), Stream(), TensorDataset(T), ArrayDataset(X), Labelled()],
    ids=lambda dataset: type(dataset).__name__,
)
def test_a_trained_net_takes_datasets_without_targets(dataset):
    net = trained()
    expected = compressor(FrozenEstimator(net), 1.0).fit(X, Y)
    if isinstance(dataset, Stream):
        net = trained(iterator_train=Own)  # without shuffle=
    lc = compressor(FrozenEstimator(net), 1.0).fit(dataset)
    torch.testing.assert_close(weights_of(lc), weights_of(expected), atol=1e-4, rtol=0)
    np.testing.assert_allclose(losses(lc), losses(expected), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("unlabelled", [Alone(), ArrayDataset(X)])
def test_what_validates_needs_no_targets_either(unlabelled):
    net = classifier(
        train_split=predefined_split(unlabelled),
        callbacks=[("stop", EarlyStopping(patience=9))],
    ).initialize()
    options = {"mu_init": 1.0, "keep": "last"}
    lc = compressor(FrozenEstimator(net), **options).fit(unlabelled)
    last = lc.estimator_.history[-1]
    assert 0.1 < last["valid_loss"] / last["train_loss"] < 10
    assert "valid_acc" not in last


def test_datasets_with_targets_are_learned_from_as_arrays_are():
    net = FrozenEstimator(trained())
    lc = compressor(net).fit(Labelled())
    assert (
        lc.history_[0]["trained_on"]
        == compressor(net).fit(X, Y).history_[0]["trained_on"]
    )
    np.testing.assert_array_equal(lc.classes_, [0, 1, 2])


@pytest.mark.parametrize("distill", ["auto", 0.5, 1.0])
def test_a_net_that_is_to_be_trained_needs_targets(distill):
    with pytest.raises(ValueError, match="requires y to be passed"):
        compressor(classifier(), distill).fit(X)


@pytest.mark.parametrize("distill", [0.0, 0.5])
def test_targets_that_count_are_needed(distill):
    with pytest.raises(ValueError, match="requires y to be passed"):
        compressor(FrozenEstimator(trained()), distill).fit(X)


def test_a_linear_model_needs_targets():
    model = FrozenEstimator(LogisticRegression().fit(X, Y))
    with pytest.raises(ValueError, match="y"):
        LCCompressor(model, AdaptiveQuantization(k=2)).fit(X)


@pytest.mark.parametrize("distill", [-0.1, 1.1, np.nan, "often", None, True])
def test_a_share_that_is_none_is_refused(distill):
    with pytest.raises(ValueError, match=r"distill must be 'auto' or from 0\.0 to 1"):
        compressor(FrozenEstimator(trained()), distill).fit(X, Y)


@pytest.mark.parametrize("temperature", [0.0, -1, np.inf, None])
def test_a_temperature_that_is_none_is_refused(temperature):
    step = NetLStep(temperature=temperature)
    with pytest.raises(ValueError, match="temperature must be a finite number above"):
        step.start(FrozenEstimator(trained()), X, Y, n_steps=1)


# ---- what the reference is ----


class Own(DataLoader):
    """Batches that we do not cut."""


class Augmented(DataLoader):
    """Samples that are others each time."""

    def __iter__(self):
        for samples, y in super().__iter__():
            yield samples + torch.randn_like(samples), y


def test_batches_of_ones_own_are_learned_from_as_ours():
    ours = trained()
    theirs = trained(iterator_train=Own, iterator_valid=Own)
    weights = [
        weights_of(compressor(FrozenEstimator(net), 0.7).fit(X, Y))
        for net in (ours, theirs)
    ]
    torch.testing.assert_close(*weights, atol=1e-4, rtol=0)


def test_the_reference_sees_what_the_net_sees():
    net = trained(iterator_train=Augmented, lr=1e-9)
    step = NetLStep(epochs=1, distill=1.0)
    learner = step.start(FrozenEstimator(net), X, Y, n_steps=1)
    learner.learn({}, 1.0, 1)
    assert abs(learner.estimator.history[-1]["train_loss"]) < 1e-5


class Dropped(nn.Module):
    """A net with all that is another in training."""

    def __init__(self):
        super().__init__()
        self.fc, self.norm = nn.Linear(5, 8), nn.BatchNorm1d(8)
        self.drop, self.out = nn.Dropout(0.5), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.drop(torch.tanh(self.norm(self.fc(x)))))


@pytest.mark.parametrize("iterator", [DataLoader, Own])
def test_the_reference_is_in_evaluation_and_stays(iterator):
    torch.manual_seed(0)
    net = trained(module=Dropped, iterator_train=iterator, iterator_valid=iterator)
    step = NetLStep(epochs=2, distill=1.0)
    learner = step.start(FrozenEstimator(net), X, Y, n_steps=1)
    before = learner.state_dict()
    assert abs(learner.loss()) < 1e-6
    learner.learn({}, 1.0, 1)
    assert learner.loss() > 1e-3
    learner.load_state_dict(before)
    assert abs(learner.loss()) < 1e-6


def test_the_reference_is_what_fit_has_trained():
    net = classifier(max_epochs=30, lr=0.5)
    step = NetLStep(distill=1.0)
    learner = step.start(net, X, Y, n_steps=1)
    untrained = flat(learner)
    learner.train_reference()
    learner.begin()
    assert not torch.equal(flat(learner), untrained)
    assert learner.estimator.history[-1]["train_loss"] > 0.01  # of the targets
    assert abs(learner.loss()) < 1e-6


@pytest.mark.parametrize("kind", [Accumulating, Scaling])
def test_training_steps_of_ones_own_learn_from_the_reference(kind):
    net = classifier(kind, predict_nonlinearity=nn.Softmax(-1)).initialize()
    step = NetLStep(epochs=1, distill=1.0)
    learner = step.start(FrozenEstimator(net), X, Y, n_steps=1)
    with torch.no_grad():
        learner.begin()
        learner.estimator.module_[0].weight.zero_()
    before = learner.loss()
    learner.learn({}, 1.0, 1)
    assert learner.loss() < before


class Mixing(Scaling):
    """A training step that makes other samples of those of a batch."""

    def train_step_single(self, batch, **fit_params):
        samples, y = batch
        return super().train_step_single((samples + 1, y), **fit_params)


def test_the_reference_sees_what_a_training_step_makes_of_a_batch():
    net = classifier(Mixing, lr=1e-9).initialize()
    step = NetLStep(epochs=1, distill=1.0)
    learner = step.start(FrozenEstimator(net), X, Y, n_steps=1)
    learner.learn({}, 1.0, 1)
    assert abs(learner.estimator.history[-1]["train_loss"]) < 1e-5


alive = weakref.WeakSet()


class Counted(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        alive.add(self)

    def __deepcopy__(self, memo):
        copy = Counted(self.in_features, self.out_features)
        copy.load_state_dict(self.state_dict())
        return copy


@pytest.mark.parametrize(("iterator", "copies"), [(DataLoader, 0), (Own, 1)])
def test_of_the_reference_outputs_are_kept_and_no_copy(iterator, copies):
    net = classifier(
        module=Counted(5, 3), iterator_train=iterator, iterator_valid=iterator
    ).initialize()
    counts = []
    for distill in 0.0, 1.0:
        step = NetLStep(epochs=1, distill=distill)
        learner = step.start(FrozenEstimator(net), X, Y, n_steps=1)
        learner.begin()
        learner.learn({}, 1.0, 1)
        gc.collect()
        counts.append(len(alive))
        del learner
        gc.collect()
    assert counts[1] - counts[0] == copies


def test_outputs_that_take_more_memory_than_samples_are_not_kept():
    net = classifier(module=Counted(5, 1001)).initialize()
    step = NetLStep(epochs=1, distill=1.0)
    learner = step.start(FrozenEstimator(net), X, Y, n_steps=1)
    assert abs(learner.loss()) < 1e-5
    learner.learn({}, 1.0, 1)
    assert learner.loss() >= 0


def test_parameters_of_the_module_reach_the_reference():
    class Scaled(nn.Linear):
        def forward(self, x, scale=1.0):
            return super().forward(x) * scale

    torch.manual_seed(0)
    net = classifier(module=Scaled(5, 3), lr=1e-9).initialize()
    step = NetLStep(epochs=1, distill=1.0)
    learner = step.start(FrozenEstimator(net), X, Y, n_steps=1, scale=3.0)
    learner.learn({}, 1.0, 1)
    assert abs(learner.estimator.history[-1]["train_loss"]) < 1e-5


# ---- runs ----


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("iterator", [DataLoader, Augmented])
@pytest.mark.parametrize("distill", ["auto", 0.5, 1.0])
def test_a_run_goes_on_bit_for_bit(frozen, iterator, distill, tmp_path):
    options = {"module": Dropped, "iterator_train": iterator}
    torch.manual_seed(0)
    net = FrozenEstimator(trained(**options)) if frozen else classifier(**options)
    shared = {"finetune": 2, "mu_init": 0.01, "mu_factor": 2.0}
    whole = compressor(net, distill, **shared, max_iter=4).fit(X, Y)
    shared["checkpoint"] = tmp_path / "state"
    compressor(net, distill, **shared, max_iter=2).fit(X, Y)
    same(compressor(net, distill, **shared, max_iter=4).fit(X, Y), whole)
    assert not hasattr(whole, "reference_")


def test_a_run_with_another_share_is_another(tmp_path):
    net = FrozenEstimator(trained())
    path = tmp_path / "state"
    compressor(net, 0.5, checkpoint=path).fit(X, Y)
    with pytest.raises(ValueError, match=r"l_step\.distill differ"):
        compressor(net, 0.7, checkpoint=path).fit(X, Y)


def test_a_reference_from_the_cache_teaches_as_one_that_was_trained(tmp_path):
    expected = compressor(classifier(), 0.5).fit(X, Y)
    for _ in range(2):
        same(compressor(classifier(), 0.5, memory=tmp_path).fit(X, Y), expected)


def test_the_reference_can_be_kept():
    lc = compressor(classifier(), 1.0, keep_reference=True).fit(X, Y)
    expected = classifier()
    torch.manual_seed(0)
    assert not torch.equal(weights_of(lc.reference_), weights_of(lc))
    assert type(lc.reference_) is type(expected)
    assert lc.reference_loss_ == pytest.approx(0, abs=1e-6)


def test_fine_tuning_learns_from_the_reference():
    net = FrozenEstimator(trained())
    options = {"finetune": 5, "max_iter": 0}
    one = compressor(net, 1.0, **options).fit(X, Y[::-1])
    same(one, compressor(net, **options).fit(X))
    assert one.history_[1]["loss"] < one.history_[0]["loss"]
    assert one.history_[1]["trained_on"] == "reference"


def test_a_net_comes_back_with_its_own_loss():
    net = FrozenEstimator(trained())
    fitted = compressor(net, 0.5).fit(X, Y).estimator_
    assert "get_loss" not in vars(fitted)
    output = torch.zeros(2, 3)
    labels = torch.tensor([0, 1])
    assert float(fitted.get_loss(output, labels)) == pytest.approx(np.log(3))


def test_two_rows_are_no_pair():
    """A batch of two samples without targets is not taken for samples and targets."""
    net = trained().set_params(batch_size=2)
    lc = compressor(FrozenEstimator(net)).fit(Alone())
    assert lc.history_[0]["trained_on"] == "reference"


@pytest.mark.parametrize("frozen", [True, False])
def test_a_net_at_the_end_of_a_pipeline_learns_from_its_reference(frozen, tmp_path):
    last = classifier(module=Dropped, max_epochs=20, lr=0.3)
    pipeline = make_pipeline(StandardScaler(), last)
    torch.manual_seed(0)
    net = FrozenEstimator(pipeline.fit(X, Y)) if frozen else pipeline
    step = PipelineLStep(NetLStep(epochs=1, distill=1.0))
    options = {"random_state": 0, "mu_init": 0.01, "mu_factor": 2.0}
    target = None if frozen else Y
    fits = []
    for checkpoint, max_iter in ((None, 4), (tmp_path / "a", 2), (tmp_path / "a", 4)):
        lc = LCCompressor(net, AdaptiveQuantization(k=2), l_step=step, **options)
        lc.set_params(checkpoint=checkpoint, max_iter=max_iter)
        fits.append(lc.fit(X, target))
    assert fits[0].history_[0]["trained_on"] == "reference"
    assert losses(fits[0]) == losses(fits[2])


def test_a_loss_that_needs_no_targets_stays_as_it_is():
    class Autoencoder(NeuralNetRegressor):
        def get_loss(self, y_pred, y_true, X=None, training=False):
            return (y_pred - X).square().mean()

    net = classifier(Autoencoder, module=module(n_out=5), criterion=nn.MSELoss)
    lc = compressor(FrozenEstimator(net.fit(X, X)), 0.0).fit(X, X)
    assert lc.history_[0]["trained_on"] == "targets"
