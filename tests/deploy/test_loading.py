"""Nets out of files: copies that predict, and modules that are filled."""

import warnings

import numpy as np
import pytest
import torch
from compressed import SIGNATURE, model_of, values
from sklearn.linear_model import Ridge
from skorch import NeuralNetClassifier
from torch import nn

import sklc
from sklc.codes import Dense, Sparse, decompress
from sklc.deploy.model import CompressedModel
from sklc.deploy.reading import read
from sklc.deploy.saving import save
from sklc.exceptions import ModelFileError
from sklc.schemes import AdaptiveQuantization
from sklc.signature import Signature


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh())
        self.head = nn.Linear(6, 3)
        self.register_buffer("unit", torch.ones(3), persistent=False)

    def forward(self, X):
        return self.head(self.body(X)) * self.unit


def saved(path, net, signature=SIGNATURE):
    """Save a net with its matrices in two values; return the net so compressed."""
    weights = {n: p.detach() for n, p in net.named_parameters() if p.ndim > 1}
    theta = AdaptiveQuantization(k=2).compress(weights, mu=1.0)
    with torch.no_grad():
        for name, weight in decompress(theta).items():
            net.get_parameter(name).copy_(weight)
    own = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    rest = {
        name: tensor.detach()
        for name, tensor in own.items()
        if name not in theta and name != "unit" and "num_batches" not in name
    }
    save(CompressedModel(net, theta, rest, {}, signature), path)
    return net


def a_net():
    torch.manual_seed(0)
    net = Net()
    net(values(50, 4) * 3)  # statistics
    return net.eval()


@pytest.mark.parametrize("as_class", [False, True])
def test_a_net_is_loaded_into_a_copy_of_its_architecture(tmp_path, as_class):
    net, X = saved(tmp_path / "m", a_net()), values(300, 4, seed=1)
    fresh = Net()
    before = [tensor.clone() for tensor in fresh.state_dict().values()]
    found = sklc.load(tmp_path / "m", Net if as_class else fresh)
    after = list(fresh.state_dict().values())
    assert all(map(torch.equal, before, after))
    assert fresh.training
    assert not found.module_.training
    with torch.no_grad():
        expected = net(X).softmax(-1).numpy()
    np.testing.assert_allclose(found.predict_proba(X.numpy()), expected, rtol=1e-6)
    names = np.array(["no", "yes", "ünsure"])
    np.testing.assert_array_equal(found.predict(X), names[expected.argmax(1)])
    np.testing.assert_array_equal(found.classes_, names)
    y = names[expected.argmax(1)].copy()
    y[:30] = np.where(y[:30] == "no", "yes", "no")
    assert found.score(X, y) == pytest.approx(0.9)
    weight = np.r_[np.zeros(30), np.ones(270)]
    assert found.score(X, y, sample_weight=weight) == 1.0


def test_a_module_is_filled_in_place(tmp_path):
    net, X = saved(tmp_path / "m", a_net()), values(30, 4, seed=1)
    plain = Net()
    parameter = plain.head.weight
    assert sklc.load_into(plain, tmp_path / "m") is plain
    assert plain.head.weight is parameter
    assert plain.training
    assert plain.body[1].num_batches_tracked == 0  # only training uses it
    with torch.no_grad():
        assert torch.equal(plain.eval()(X), net(X))
    wide = Net().double()
    sklc.load_into(wide, tmp_path / "m")
    assert wide.head.weight.dtype == torch.float64
    assert torch.equal(wide.head.weight.float(), net.head.weight)


def test_a_net_of_other_floats_predicts_in_them(tmp_path):
    net = saved(tmp_path / "m", a_net().double())
    found = sklc.load(tmp_path / "m", Net())
    assert found.module_.head.weight.dtype == torch.float64
    assert torch.equal(found.module_.head.weight, net.head.weight)


class Other(Net):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, 3)
        self.more = nn.Linear(2, 2)
        del self.body[1]


def test_a_module_of_another_architecture_is_left_as_it_is(tmp_path):
    saved(tmp_path / "m", a_net())
    other = Other()
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ModelFileError) as caught:
        sklc.load_into(other, tmp_path / "m")
    message = str(caught.value)
    assert message.startswith(
        f"{tmp_path / 'm'} does not fit the module: the file lacks"
    )
    assert "more.bias, more.weight; the module lacks body.1.bias" in message
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, before[name])
    wide = Net()
    wide.head = nn.Linear(6, 4)
    with pytest.raises(
        ModelFileError, match=r"head.bias is \(3,\), and \(4,\) in the module"
    ):
        sklc.load(tmp_path / "m", wide)
    wide.head = nn.Linear(6, 3)
    wide.head.weight = nn.Parameter(torch.zeros(3, 6, 1))
    with pytest.raises(ModelFileError, match=r"head.weight is \(3, 6\), and \(3, 6, 1"):
        sklc.load(tmp_path / "m", wide)


def test_kinds_of_numbers_are_those_of_the_module(tmp_path):
    class Masked(Net):
        def __init__(self, dtype):
            super().__init__()
            self.register_buffer("mask", torch.ones(3).to(dtype))

    saved(tmp_path / "m", Masked(torch.complex64).eval())
    assert sklc.load(tmp_path / "m", Masked(torch.complex64)).module_.mask.is_complex()
    with pytest.raises(ModelFileError, match=r"mask is of torch\.complex64, and of"):
        sklc.load_into(Masked(torch.float32), tmp_path / "m")


def test_what_is_missing_is_said(tmp_path):
    saved(tmp_path / "m", a_net())
    with pytest.raises(TypeError, match="holds a net: give load"):
        sklc.load(tmp_path / "m")
    with pytest.raises(FileNotFoundError):
        sklc.load(tmp_path / "nothing", Net)
    with pytest.raises(ValueError, match="weight has no memory yet"):
        sklc.load(tmp_path / "m", Net().to("meta"))
    with pytest.raises(TypeError, match="a module of PyTorch, or make one, got 3"):
        sklc.load(tmp_path / "m", lambda: 3)
    lazy = Net()
    lazy.head = nn.LazyLinear(3)
    with pytest.raises(ValueError, match="weight has no memory yet"):
        sklc.load_into(lazy, tmp_path / "m")


def test_tied_weights_stay_tied(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
            self.two.weight = self.one.weight

        def forward(self, X):
            return self.two(self.one(X))

    net = saved(tmp_path / "m", Tied().eval())
    found = sklc.load(tmp_path / "m", Tied).module_
    assert found.two.weight is found.one.weight
    assert torch.equal(found.two.weight, net.one.weight)


# ---- what users hand over ----


@pytest.mark.parametrize("kind", ["meta", "cpu"])
def test_the_default_device_is_of_no_consequence(tmp_path, kind):
    net, X = saved(tmp_path / "m", a_net()), values(30, 4, seed=1)
    with torch.no_grad():
        expected = net(X).softmax(-1).numpy()
    plain = Net()
    weights = dict(net.named_parameters())
    theta = {"w": Sparse.of(values(40, 50), values(40, 50) > 1)}
    with torch.device(kind):
        found = sklc.load(tmp_path / "m", Net)
        np.testing.assert_array_equal(found.predict_proba(X.numpy()), expected)
        sklc.load_into(plain, tmp_path / "m")
        save(model_of(theta), tmp_path / "again")
    again = read((tmp_path / "again").read_bytes(), 1 << 20)
    for module in found.module_, plain:
        for name, parameter in module.named_parameters():
            assert torch.equal(parameter, weights[name])
    assert torch.equal(again.weights()["w"], theta["w"].dense())


def test_linear_models_too(tmp_path):
    coef = values(3, 6, dtype=torch.float64)
    model = Ridge().fit(np.eye(6), np.zeros((6, 3)))
    model.coef_ = coef.numpy()
    rest = {"intercept_": torch.zeros(3, dtype=torch.float64)}
    theta = {"coef_": Dense(coef)}
    save(CompressedModel(model, theta, rest, {}, Signature()), tmp_path / "m")
    with torch.device("meta"):
        found = sklc.load(tmp_path / "m")
    np.testing.assert_array_equal(found.predict(np.eye(6)), coef.numpy().T)


@pytest.mark.parametrize(
    ("module", "hint"),
    [
        (5, "got 5"),
        (Net().state_dict(), "a dict of weights has no architecture"),
        (
            NeuralNetClassifier(Net).initialize(),
            r"NeuralNetClassifier.*: give its module_",
        ),
        ("Net", "got 'Net'"),
    ],
    ids=range(4),
)
def test_what_is_no_module_is_told(tmp_path, module, hint):
    saved(tmp_path / "m", a_net())
    for use in (
        lambda: sklc.load(tmp_path / "m", module),
        lambda: sklc.load_into(module, tmp_path / "m"),
    ):
        with pytest.raises(TypeError, match=f"(?s)module must be a module.*{hint}"):
            use()


def test_arguments_in_the_other_order_are_told(tmp_path):
    saved(tmp_path / "m", a_net())
    with pytest.raises(TypeError, match="module must be a module of PyTorch, got"):
        sklc.load_into(tmp_path / "m", Net())


def test_what_torch_compiles_is_filled(tmp_path):
    net, X = saved(tmp_path / "m", a_net()), values(30, 4, seed=1)
    expected = net(X).detach()
    found = sklc.load(tmp_path / "m", torch.compile(Net(), backend="eager"))
    assert isinstance(found.module_, Net)
    assert torch.equal(found.module_(X), expected)
    found = sklc.load(tmp_path / "m", lambda: torch.compile(Net(), backend="eager"))
    assert torch.equal(found.module_(X), expected)
    compiled = torch.compile(Net(), backend="eager")
    assert sklc.load_into(compiled, tmp_path / "m") is compiled
    assert torch.equal(compiled._orig_mod.head.weight, net.head.weight)


def expanded(net):
    net.head.weight.data = torch.zeros(1, 6).expand(3, 6)


def sparse(net):
    net.head.weight = nn.Parameter(torch.ones(3, 6).to_sparse(), False)


def inference(net):
    with torch.inference_mode():
        net.head.weight = nn.Parameter(torch.ones(3, 6), False)


@pytest.mark.parametrize("spoil", [expanded, sparse, inference])
def test_a_module_is_filled_whole_or_not_at_all(tmp_path, spoil):
    saved(tmp_path / "m", a_net())
    plain = Net()
    spoil(plain)
    before = {n: t.detach().clone() for n, t in plain.state_dict().items()}
    with pytest.raises(ValueError, match=r"head.weight cannot be written in place"):
        sklc.load_into(plain, tmp_path / "m")
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor.to_dense(), before[name].to_dense())
    # a copy that is given new tensors takes them all the same
    if spoil is expanded:
        assert sklc.load(tmp_path / "m", plain).module_.head.weight.is_contiguous()


class Counting(Net):
    """Keeps something that is no tensor; the module in it says that it does not."""

    def __init__(self, state):
        super().__init__()
        self.state, self.body[2] = state, Silent()

    def get_extra_state(self):
        return self.state

    def set_extra_state(self, state):
        self.state = state


class Silent(nn.Tanh):
    def get_extra_state(self):
        return None


def test_extra_state_is_not_in_the_file_which_is_told(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        saved(tmp_path / "m", Counting(None).eval())
    inner = nn.Sequential(Counting(3), Silent()).eval()
    with pytest.warns(UserWarning, match=r"extra state .* of 0 \(Counting\): give"):
        saved(tmp_path / "m", inner)
    assert sklc.load(tmp_path / "m", inner).module_[0].state == 3
    with pytest.warns(UserWarning, match=r"of the module itself \(Counting\)"):
        saved(tmp_path / "m", Counting({"a": 1}).eval())
