"""What a net, its callbacks and its module may do behind the back of an L step."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from nets import classifier, compressor, data, flat, module, started, targets
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_score
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, Checkpoint
from torch import nn

from sklc.lstep import NetLStep
from sklc.lstep.net.batches import Batches
from sklc.lstep.net.copies import copied
from sklc.schemes import AdaptiveQuantization, ConstraintL0Pruning, Mixed

STEPS = NetLStep(epochs=1)


class Net(nn.Module):
    def __init__(self, n_in=5, n_hidden=4):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(n_in, n_hidden), nn.Linear(n_hidden, 3)

    def forward(self, x):
        return self.fc2(torch.tanh(self.fc1(x)))


class Wide(Net):
    def __init__(self, n_in=9, n_hidden=4):
        super().__init__(n_in, n_hidden)


class SetsShape(Callback):
    """Tell the module the shape of the data, as the skorch documentation has it."""

    def __init__(self, when="on_train_begin", n_hidden=None):
        self.when = when
        self.n_hidden = n_hidden

    def act(self, when, net, X):
        if when == self.when:
            hidden = (
                {} if self.n_hidden is None else {"module__n_hidden": self.n_hidden}
            )
            net.set_params(module__n_in=X.shape[1], **hidden)

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.act("on_train_begin", net, X)

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        self.act("on_epoch_end", net, dataset_train.X)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        self.act("on_train_end", net, X)


def with_setter(module=Net, **options):
    callbacks = [("shape", SetsShape(**options))]
    return classifier(module=module, callbacks=callbacks)


def test_a_shape_setter_does_not_cost_the_weights():
    torch.manual_seed(0)
    plain = classifier(module=Net).fit(*data())
    setting = with_setter().fit(*data())
    setting.module_.load_state_dict(plain.module_.state_dict())
    one, other = (started(FrozenEstimator(net)) for net in (plain, setting))
    for step in 1, 2:
        one.learn(targets(one), 0.5, step)
        other.learn(targets(other), 0.5, step)
        assert torch.equal(flat(one), flat(other))
    assert (
        other.weights()["fc1.weight"].data_ptr()
        == next(other.estimator.module_.parameters()).data_ptr()
    )


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_a_shape_setter_fits_from_the_start():
    lc = compressor(with_setter(), finetune=2).fit(*data())
    assert lc.n_iter_ == 3
    torch.manual_seed(0)
    assert lc.predict(data()[0]).shape == (40,)


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_a_callback_may_set_another_shape_before_any_training():
    net = with_setter(Wide)
    for estimator in net, FrozenEstimator(clone(net).fit(*data())):
        lc = compressor(estimator, finetune=2).fit(*data())
        assert lc.theta_["fc1.weight"].shape == (4, 5)


def test_a_net_of_another_shape_is_told():
    with pytest.raises(
        ValueError,
        match=r"The net cannot be evaluated on the data: mat1 and mat2 shapes cannot "
        r"be multiplied .* give the module that shape at once, or fit the net first ",
    ):
        compressor(classifier(module=Wide)).fit(*data())


def test_another_shape_in_the_middle_is_an_error():
    class Grows(SetsShape):
        def act(self, when, net, X):
            if when == "on_train_begin":
                net.set_params(module__n_hidden=self.n_hidden)
                self.n_hidden += 1

    net = classifier(module=Net, callbacks=[("shape", Grows(n_hidden=4))])
    lc = compressor(net)
    with pytest.raises(
        RuntimeError,
        match="A callback of the net made its module anew, and the weights no longer "
        "fit in: give the module the shape of the data at once, or fit the net first",
    ):
        lc.fit(*data())


@pytest.mark.parametrize("when", ["on_epoch_end", "on_train_end"])
def test_a_module_made_anew_while_it_trains_is_an_error(when):
    learner = started(FrozenEstimator(with_setter(when=when).fit(*data())))
    with pytest.raises(
        RuntimeError,
        match="A callback of the net made its module anew while it was training, and "
        "so lost its weights: do that in on_train_begin, or not at all",
    ):
        learner.learn(targets(learner), 0.5, 1)


def test_a_module_made_anew_while_the_reference_trains_is_an_error():
    with pytest.raises(RuntimeError, match="made its module anew while it was trai"):
        started(with_setter(when="on_epoch_end")).train_reference()


def test_a_checkpoint_of_the_best_weights_is_refused(tmp_path):
    net = classifier(
        callbacks=[("keep", Checkpoint(load_best=True, dirname=str(tmp_path)))]
    )
    with pytest.raises(
        ValueError,
        match=r"The callback 'keep', Checkpoint\(load_best=True\), would put old "
        r"weights back after each L step: set load_best=False; LCCompressor keeps the "
        r"best iterate by itself \(keep='best'\)\.",
    ):
        compressor(net).fit(*data())


def test_another_checkpoint_is_fine(tmp_path):
    keep = Checkpoint(monitor="train_loss_best", dirname=str(tmp_path))
    learner = started(classifier(callbacks=[("keep", keep)]))
    learner.learn(targets(learner), 0.5, 1)
    assert (tmp_path / "params.pt").exists()


# ---- fitted nets and instances ----


def test_a_fitted_net_that_is_not_frozen_is_warned_about():
    net = classifier().fit(*data())
    with pytest.warns(
        UserWarning,
        match=r"The net is fitted already, and is trained again from its "
        r"initialisation: pass FrozenEstimator\(net\) to start from its weights\.",
    ) as record:
        compressor(net, max_iter=0).fit(*data())
    assert [warning.filename for warning in record] == [__file__]


def test_there_is_no_warning_for_a_net_that_never_trained():
    for net in classifier(), classifier().initialize():
        compressor(net, max_iter=0).fit(*data())


def state(net_or_module):
    return copy.deepcopy(getattr(net_or_module, "module", net_or_module).state_dict())


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
@pytest.mark.parametrize("kind", ["net", "module", "frozen module", "frozen net"])
def test_nothing_leaks_from_one_fit_to_the_next(kind):
    inner = module(nn.BatchNorm1d(5))
    fitted = classifier(module=copy.deepcopy(inner)).fit(*data())
    estimator = {
        "net": classifier(module=inner),
        "module": inner,
        "frozen module": FrozenEstimator(inner),
        "frozen net": FrozenEstimator(fitted),
    }[kind]
    watched = fitted.module_ if kind == "frozen net" else inner
    before = state(watched)
    lc = compressor(estimator, finetune=1)
    first = lc.fit(*data())
    weights, losses = state(lc.estimator_.module_), losses_of(lc)
    assert same(before, state(watched))
    assert losses_of(first.fit(*data())) == losses
    assert same(weights, state(lc.estimator_.module_))
    assert losses_of(clone(lc).fit(*data())) == losses
    assert same(before, state(watched))


def losses_of(lc):
    return [entry["loss"] for entry in lc.history_]


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_nothing_leaks_between_folds():
    inner = module()
    before = state(inner)
    lc = compressor(classifier(module=inner))
    scores = cross_val_score(lc, *data(), cv=3, error_score="raise")
    assert scores.tolist() == cross_val_score(lc, *data(), cv=3).tolist()
    assert same(before, state(inner))
    assert not lc.estimator.initialized_


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
@pytest.mark.parametrize("options", [{}, {"l_step": NetLStep(epochs=1, pull="loss")}])
def test_the_model_comes_back_clean(options):
    net = classifier(module=module(nn.BatchNorm1d(5)))
    lc = compressor(net, finetune=2, **options).fit(*data())
    fresh = clone(net).fit(*data())
    assert vars(lc.estimator_).keys() == vars(fresh).keys()
    assert [name for name, _ in lc.estimator_.callbacks_] == [
        name for name, _ in fresh.callbacks_
    ]
    for layer in lc.estimator_.module_.modules():
        assert not layer._forward_hooks
        assert not layer._forward_pre_hooks
        assert not layer._backward_hooks
    for parameter in lc.estimator_.module_.parameters():
        assert not parameter._backward_hooks
        assert not parameter._post_accumulate_grad_hooks
        assert parameter.is_leaf
        assert parameter.requires_grad
    trained = {id(p) for p in lc.estimator_.module_.parameters()}
    groups = lc.estimator_.optimizer_.param_groups
    assert {id(p) for group in groups for p in group["params"]} == trained
    again = pickle.loads(pickle.dumps(lc.estimator_))
    assert np.array_equal(again.predict_proba(data()[0]), lc.predict_proba(data()[0]))
    again.partial_fit(*data())


# ---- modules out of the ordinary ----


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.mix = nn.Linear(5, 5), nn.Linear(5, 5, bias=False)
        self.out = nn.Linear(5, 3)
        self.mix.weight = self.encode.weight

    def forward(self, x):
        return self.out(torch.tanh(self.mix(torch.tanh(self.encode(x)))))


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
@pytest.mark.parametrize("options", [{}, {"finetune": 2, "keep": "last"}])
def test_tied_weights_are_one(options):
    lc = compressor(classifier(module=Tied), **options).fit(*data())
    inner = lc.estimator_.module_
    assert inner.mix.weight is inner.encode.weight
    assert list(lc.theta_) == ["encode.weight", "out.weight"]
    assert torch.equal(inner.mix.weight, lc.theta_["encode.weight"].dense())
    weights, biases = 25 + 15, 5 + 3
    assert lc.nbits_ == weights + 2 * 2 * 32 + biases * 32
    assert lc.compression_ratio_ == 32 * (weights + biases) / lc.nbits_


def test_tied_weights_are_used_as_often_as_both():
    layers = started(classifier(module=Tied)).layers()
    assert layers["encode.weight"].uses == 2.0
    assert layers["out.weight"].uses == 1.0


def compiled(**options):
    return classifier(module=Net, compile=True, compile__backend="eager", **options)


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor")  # torch's own
@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_a_compiled_module_learns_as_any_other():
    options = {"finetune": 3, "keep": "last", "mu_init": "auto"}
    torch.manual_seed(0)
    plain = compressor(classifier(module=Net), **options).fit(*data())
    lc = compressor(compiled(), **options).fit(*data())
    assert hasattr(lc.estimator_.module_, "_orig_mod")
    assert list(lc.theta_) == ["fc1.weight", "fc2.weight"]
    assert losses_of(lc) == pytest.approx(losses_of(plain), rel=1e-5)
    for name, code in lc.theta_.items():
        weight = dict(lc.estimator_.module_._orig_mod.named_parameters())[name]
        assert torch.equal(weight, code.dense())


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor")  # torch's own
def test_the_layers_of_a_compiled_module_are_counted():
    net = compiled().fit(*data())
    learner = started(FrozenEstimator(net))
    assert learner.layers()["fc1.weight"].uses == 1.0
    assert learner.layers()["fc1.weight"].uses == 1.0
    assert not any(layer._forward_hooks for layer in net.module_.modules())


def test_a_lazy_choice_of_layers_by_name_holds_for_all_modules():
    lc = compressor(
        classifier(module=Net),
        Mixed([("prune", ConstraintL0Pruning(0.5), "fc1")]),
        max_iter=0,
    ).fit(*data())
    assert list(lc.theta_) == ["fc1.weight"]


# ---- devices and types ----


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "auto", None])
@pytest.mark.parametrize("wrap", [lambda net: net, FrozenEstimator])
def test_the_device_can_be_chosen(device, wrap):
    net = wrap(classifier().fit(*data()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        learner = started(net, device=device)
    where = "cuda" if device == "auto" and torch.cuda.is_available() else "cpu"
    assert {w.device.type for w in learner.weights().values()} == {where}
    assert torch.device(learner.estimator.device).type == where
    assert isinstance(learner._train_batches, Batches)
    assert learner._train_batches.X.device.type == where
    learner.learn(targets(learner), 0.5, 1)


def test_a_device_moves_the_whole_net():
    net = FrozenEstimator(classifier(criterion__weight=torch.ones(3)).fit(*data()))
    learner = started(net)
    moved, _ = copied(net, "meta")
    assert {p.device.type for p in moved.module_.parameters()} == {"meta"}
    assert moved.criterion_.weight.device.type == "meta"
    assert {w.device.type for w in learner.weights().values()} == {"cpu"}
    module, _ = copied(Net(), "meta")
    assert {p.device.type for p in module.module_.parameters()} == {"meta"}


def test_numbers_of_numpy_are_numbers():
    options = {
        "epochs": np.int64(2),
        "first_epochs": np.int32(3),
        "lr": np.float32(0.1),
        "lr_decay": np.float64(0.5),
        "loss_samples": np.int64(20),
    }
    net = classifier(max_epochs=np.int64(2), lr=np.float64(0.1))
    learner = started(net, **options)
    learner.train_reference()
    learner.learn(targets(learner), np.float64(0.5), 1)
    assert len(learner.estimator.history) == 2 + 3


@pytest.mark.parametrize("wrap", [lambda value: value, FrozenEstimator])
def test_other_estimators_are_refused(wrap):
    with pytest.raises(
        TypeError, match=r"NetLStep trains skorch nets and torch modules, got Adaptiv"
    ):
        started(wrap(AdaptiveQuantization()))


def test_a_class_in_place_of_an_l_step_is_refused():
    with pytest.raises(TypeError, match=r"l_step must be a sklc\.lstep\.LStep, a fun"):
        compressor(l_step=NetLStep).fit(*data())


def test_a_net_of_several_modules_is_refused():
    class Two(NeuralNetClassifier):
        def initialize_module(self):
            super().initialize_module()
            self.other_ = nn.Linear(2, 2)
            return self

    net = Two(nn.Linear(3, 2), criterion=nn.CrossEntropyLoss, verbose=0)
    with pytest.raises(
        ValueError, match=r"several modules, \['module', 'other'\], and"
    ):
        NetLStep().start(net, torch.zeros(4, 3), torch.arange(4) % 2, n_steps=1)
