"""A compressed net as a module of its own does what the estimator does."""

import copy
import io
import pickle
import shutil
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cases import COMPOSITIONS, SETTINGS, SMALL, draw, name_of, uses
from deployed import assert_equal, fitted, put, stored_bytes
from nets import classifier, compressor, data
from sklearn.linear_model import Ridge
from torch import nn

from sklc import LCCompressor
from sklc.codes import Code, Factored, nbits
from sklc.codes.streams import Floats, Indices, Positions
from sklc.deploy import to_module
from sklc.deploy.modules.factors import Pair, factorize
from sklc.deploy.modules.streams import packed, unpacked
from sklc.layers import LayerInfo
from sklc.ops import bits
from sklc.ops.tensors import matrix_shape
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    BinaryQuantization,
    ConstraintL0Pruning,
    LowRank,
)

ZERO = AdaptiveQuantization(k=3, zero=True, kappa=0.1, granularity="joint")
SPARSE = ConstraintL0Pruning(kappa=0.1)
SUM = Additive(
    [("a", LowRank(rank=1)), ("b", AdaptiveQuantization()), ("c", SPARSE)], max_sweeps=2
)


# ---- packed numbers ----


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 100])
@pytest.mark.parametrize("width", range(33))
def test_numbers_are_unpacked(width, n):
    numbers = np.random.default_rng(width).integers(2**width, size=n, dtype=np.int64)
    numbers[: n // 2] = 2**width - 1
    stored = torch.from_numpy(bits.pack(numbers, width))
    longer = torch.cat([stored, torch.full((3,), 255, dtype=torch.uint8)])
    assert unpacked(stored, width, n).tolist() == numbers.tolist()
    assert unpacked(longer, width, n).tolist() == numbers.tolist()


@pytest.mark.parametrize("kept", [0, 1, 3, 60, 300, 1000])
def test_supports_are_unpacked(kept):
    """With gaps that take several symbols, as a mask, and with nothing kept."""
    places = np.random.default_rng(0).choice(1000, kept, replace=False)
    positions = torch.from_numpy(np.sort(places))
    stored, read = packed(Positions(positions, 1000), positions)
    assert read(stored).tolist() == positions.tolist()
    index = torch.zeros(1000, dtype=torch.uint8).index_fill(0, positions, 2)
    index[:1] = 1
    stream = Indices(index.view(10, 100), 4, zero=0)
    stored, read = packed(stream, stream.tensor)
    assert torch.equal(read(stored), stream.tensor)
    assert len(stored) <= stream.nbits / 8 + 2


# ---- every scheme ----


class TwoWeights(nn.Module):
    """The weights that all tests of schemes share."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 2, 2), nn.Linear(6, 2)

    def forward(self, x, y):
        return self.conv(x), self.fc(y)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("scheme", [*SETTINGS, *COMPOSITIONS], ids=name_of)
def test_the_outputs_of_every_scheme(scheme, dtype):
    weights = draw(SMALL, dtype)
    layers = uses(weights)
    theta = scheme.compress(weights, mu=1.0, layers=layers)
    model = put(TwoWeights().to(dtype), theta, layers)
    x, y = draw({"x": (2, 3, 5, 5), "y": (4, 6)}, dtype).values()
    eps = torch.finfo(dtype).eps
    for materialize in (False, True):
        module = to_module(model, materialize=materialize)
        assert_equal(module, model.model, x, y, rtol=20 * eps, atol=40 * eps)


@pytest.mark.parametrize("scheme", [ZERO, SPARSE, SUM, BinaryQuantization()])
def test_what_is_packed_takes_the_bytes_that_are_counted(scheme):
    weights = draw({"0.weight": (60, 50), "2.weight": (40, 60)})
    theta = scheme.compress(weights, mu=1.0)
    net = nn.Sequential(nn.Linear(50, 60), nn.Tanh(), nn.Linear(60, 40))
    module = to_module(put(net, theta))
    biases = 4 * (60 + 40)
    n_streams = sum(len(code.streams()) for code in theta.values())
    fixed = 16  # scales that are settings, and no degrees of freedom
    assert stored_bytes(module) <= biases + nbits(theta) / 8 + n_streams + fixed
    assert stored_bytes(to_module(put(net, theta), materialize=True)) == stored_bytes(
        net
    )
    assert_equal(module, net, torch.randn(3, 50))


@dataclass(frozen=True, eq=False)
class Doubled(Code):
    """A code of the user's: half of the rows, each of which is there twice."""

    half: torch.Tensor

    @property
    def shape(self):
        return torch.Size([2 * len(self.half), self.half.shape[1]])

    def dense(self):
        return torch.cat([self.half, self.half])

    def streams(self):
        return {"half": Floats(self.half)}


def test_a_code_of_the_users():
    net = nn.Sequential(nn.Linear(5, 8))
    model = put(net, {"0.weight": Doubled(torch.randn(4, 5))})
    module = to_module(model)
    assert module.state_dict()["0.weight_half"].shape == (4, 5)
    assert_equal(module, net, torch.randn(3, 5))


def test_a_code_that_saves_nothing_is_decoded_for_good():
    net = nn.Sequential(nn.Linear(1, 2))
    theta = AdaptiveQuantization(k=2).compress({"0.weight": torch.randn(2, 1)}, mu=1.0)
    module = to_module(put(net, theta))
    assert type(module[0]) is nn.Linear
    assert_equal(module, net, torch.randn(3, 1))


# ---- low-rank layers ----

CONVOLUTIONS = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}


def convolutions():
    """Yield layers of four input channels with any settings."""
    for n, (plain, transposed) in CONVOLUTIONS.items():
        kernel, stride, dilation = (3, 2, 3)[:n], (2, 1, 3)[:n], (2, 1, 1)[:n]
        for groups in (1, 2):
            options = {"dilation": dilation, "groups": groups, "dtype": torch.float64}
            yield transposed(
                *(4, 6, kernel, stride, (1, 1, 0)[:n], (1, 0, 2)[:n]), **options
            )
            odd = (3, 5, 1)[:n]
            yield plain(4, 6, odd, padding="same", bias=False, **options)
            for mode in ("zeros", "reflect", "circular", "replicate"):
                options["padding_mode"] = mode
                yield plain(4, 6, kernel, stride, (1, 2, 0)[:n], **options)


def factored(layer, rank, view):
    """Return a pair, and a layer of the same weight."""
    m, n = matrix_shape(layer.weight.shape, view)
    left, right = torch.randn(m, rank), torch.randn(rank, n)
    code = Factored(left.double(), right.double(), tuple(layer.weight.shape), view)
    dense = layer.requires_grad_(False)
    dense.weight.copy_(code.dense())
    pair = copy.deepcopy(dense)
    factorize(pair, code)
    return pair, dense


@pytest.mark.parametrize("view", ["scheme_1", "scheme_2"])
@pytest.mark.parametrize("layer", list(convolutions()), ids=name_of)
def test_two_convolutions_are_one(layer, view):
    pair, dense = factored(layer, 2, view)
    x = torch.randn(3, 4, *(7, 8, 9)[: len(layer.kernel_size)], dtype=torch.float64)
    assert_equal(pair, dense, x, rtol=1e-10, atol=1e-12)
    assert_equal(pair, dense, x[0], rtol=1e-10, atol=1e-12)  # without a batch
    torch.testing.assert_close(pair.weight, dense.weight)
    assert pair.bias is pair[1].bias
    assert pair.stride == dense.stride
    if view == "scheme_2":
        kernels = [part.kernel_size for part in pair]
        assert sorted(np.prod(kernels, axis=0)) == sorted(dense.kernel_size)
        assert 1 in kernels[0][:1] + kernels[1][:1]


@pytest.mark.parametrize("view", ["scheme_1", "scheme_2"])
def test_the_size_of_a_transposed_convolution_may_be_chosen(view):
    layer = nn.ConvTranspose2d(4, 6, 3, stride=(2, 3), padding=1, dtype=torch.float64)
    pair, dense = factored(layer, 2, view)
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    for size in [(9, 13), (10, 13), (9, 15), (10, 14)]:
        found = pair(x, output_size=size)
        torch.testing.assert_close(found, dense(x, output_size=size))


def of_rank(rank, size=(12, 10), **info):
    layers = {"0.weight": LayerInfo(**info)}
    theta = {
        "0.weight": Factored(
            torch.randn(size[0], rank), torch.randn(rank, size[1]), size
        )
    }
    return put(nn.Sequential(nn.Linear(*size[::-1])), theta, layers)


def test_a_low_rank_layer_is_two_ordinary_ones():
    model = of_rank(2)
    module = to_module(model)
    assert isinstance(module[0], nn.Sequential)
    assert [type(part) for part in module[0]] == [nn.Linear, nn.Linear]
    shapes = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    assert shapes == {
        "0.0.weight": (2, 10),
        "0.1.weight": (12, 2),
        "0.1.bias": (12,),
    }
    assert module[0].in_features == 10
    assert_equal(module, model.model, torch.randn(3, 10))
    with torch.no_grad():  # nothing of it is Θ itself
        module[0][0].weight.zero_()
    assert_equal(to_module(model), model.model, torch.randn(3, 10))


def test_rank_zero_is_one_that_is_zero():
    model = of_rank(0)
    module = to_module(model, materialize=True)
    assert module[0][0].weight.shape == (1, 10)
    assert_equal(module, model.model, torch.randn(3, 10))


def test_ranks_that_cost_more_than_the_dense_layer_are_multiplied_out():
    few, many = to_module(of_rank(5)), to_module(of_rank(6))
    assert type(few[0]) is Pair  # 5 * 22 < 120 multiplications
    assert type(many[0]) is nn.Linear


def test_uses_that_are_not_known_leave_the_layer_in_one():
    model = of_rank(2, uses=None)
    module = to_module(model)
    assert set(module.state_dict()) == {
        *("0.weight_left", "0.weight_right", "0.weight_layout", "0.weight_like"),
        "0.bias",
    }
    assert_equal(module, model.model, torch.randn(3, 10))


def test_a_layer_with_hooks_stays_one():
    model = of_rank(2)
    model.model[0].register_forward_hook(lambda layer, args, out: 2 * out)
    module = to_module(model)
    assert isinstance(module[0], nn.Linear)
    assert_equal(module, model.model, torch.randn(3, 10))


# ---- any module ----


class Attention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.sizes = options

    def forward(self, x):
        kv = x[..., : self.sizes.get("kdim", 8)], x[..., : self.sizes.get("vdim", 8)]
        return self.attention(x, *kv)[0]


class First(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        return self.part(x)[0]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 6), nn.Linear(6, 11)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.embedding(x)).mean(1)


class Reading(nn.Module):
    """Weights that are used without their layer, or besides."""

    def __init__(self):
        super().__init__()
        self.f, self.g, self.h = (nn.Linear(9, 9) for _ in "fgh")

    def forward(self, x):
        x = F.linear(x, self.f.weight, self.f.bias)
        return F.linear(x, self.g.weight.t()) + self.g(x) + self.h(x)


class Listed(nn.Module):
    """Layers that are called by other ways than their names."""

    def __init__(self):
        super().__init__()
        self.f, self.g = nn.Linear(9, 9), nn.Linear(9, 9)
        self.steps = [self.f, self.g.forward]

    def forward(self, x):
        for step in self.steps:
            x = torch.tanh(step(x))
        return x


class Loose(nn.Sequential):
    """A parameter beside the layers of a sequence."""

    def __init__(self):
        super().__init__(nn.Linear(9, 9), nn.Tanh())
        self.own = nn.Parameter(torch.randn(9, 9))

    def forward(self, x):
        return super().forward(x) @ self.own


class Containers(nn.Module):
    def __init__(self):
        super().__init__()
        self.listed = nn.ParameterList([nn.Parameter(torch.randn(9, 9))] * 1)
        self.named = nn.ParameterDict({"a": nn.Parameter(torch.randn(9, 9))})

    def forward(self, x):
        for weight in self.listed:
            x = x @ weight
        return x @ self.named["a"]


class OwnForward(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x) + self.weight.sum()


class Pooling(nn.Conv2d):
    """A convolution that changes its weight, and whose output has no positions."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias).mean((2, 3))


KNOWN = []


class Registered(nn.Module):
    """A base class that wants to know of its subclasses."""

    def __init_subclass__(cls, key, **kwargs):
        KNOWN.append(key)


class Known(Registered, key="known"):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(9, 9))

    def forward(self, x):
        return x @ self.weight


def encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)


NETS = {
    "lstm": (
        lambda: First(nn.LSTM(7, 9, 2, bidirectional=True)),
        (2, 5, 7),
    ),
    "gru": (lambda: First(nn.GRU(7, 9, batch_first=True)), (2, 5, 7)),
    "cell": (lambda: nn.RNNCell(7, 9), (2, 7)),
    "attention": (Attention, (2, 5, 8)),
    "attention of sizes": (lambda: Attention(kdim=5, vdim=6), (2, 5, 8)),
    "encoder": (encoder, (2, 5, 8)),
    "tied": (Tied, None),
    "bag": (lambda: nn.Sequential(nn.EmbeddingBag(11, 6), nn.Linear(6, 3)), None),
    "reading": (Reading, (3, 9)),
    "listed": (Listed, (3, 9)),
    "loose": (Loose, (3, 9)),
    "containers": (Containers, (3, 9)),
    "own forward": (lambda: OwnForward(9, 9), (3, 9)),
    "pooling": (lambda: Pooling(3, 6, 3), (2, 3, 5, 5)),
    "norm": (lambda: nn.Sequential(nn.LayerNorm((4, 5)), nn.Flatten()), (3, 4, 5)),
    "registered": (Known, (3, 9)),
}


@pytest.mark.parametrize("scheme", [LowRank(rank=1), ZERO, SUM], ids=["rank", "0", "+"])
@pytest.mark.parametrize("name", NETS)
def test_any_module(name, scheme):
    make, shape = NETS[name]
    x = torch.randint(11, (2, 5)) if shape is None else torch.randn(shape)
    model = fitted(make(), x, scheme)
    module = to_module(model)
    assert_equal(module, model.model, x)
    for other in copies(module):
        assert_equal(other, model.model, x)
    if name != "registered" and scheme is ZERO:
        assert stored_bytes(module) < stored_bytes(model.model)
    assert KNOWN == ["known"]
    double = copy.deepcopy(module).double()
    wide = x.double() if x.is_floating_point() else x
    assert_equal(double, copy.deepcopy(model.model).double(), wide)


def copies(module):
    yield copy.deepcopy(module)
    if not isinstance(module, Listed):  # a method is pickled with its owner's name
        yield pickle.loads(pickle.dumps(module))
    other = copy.deepcopy(module)
    for tensor in [*other.parameters(), *other.buffers()]:
        tensor.data.zero_()
    other.load_state_dict(module.state_dict())
    yield other


# ---- what a module can do ----


@pytest.fixture(scope="module")
def lc():
    X, y = data()
    scheme = AdaptiveQuantization(k=2, granularity="joint")
    return compressor(scheme=scheme).fit(X, y)


@pytest.fixture
def x():
    return torch.from_numpy(data()[0])


def test_it_is_the_estimators(lc, x):
    before = {n: t.clone() for n, t in lc.estimator_.module_.state_dict().items()}
    module = lc.to_module()
    assert_equal(module, lc.estimator_.module_.eval(), x, atol=0, rtol=0)
    assert not any(layer.training for layer in module.modules())
    assert not any(p.requires_grad for p in module.parameters())
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.zero_()
    for name, tensor in lc.estimator_.module_.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert_equal(lc.to_module(), lc.estimator_.module_, x, atol=0, rtol=0)


def test_a_shared_codebook_stays_one_tensor(lc, x):
    module = lc.to_module()
    for other in [
        module,
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        copy.deepcopy(module).half(),
        copy.deepcopy(module).to(torch.float64),
    ]:
        assert other[0].weight_codebook is other[2].weight_codebook
    with torch.no_grad():
        module[0].weight_codebook.zero_()
    assert not module[2].weight.any()


def test_the_floats_of_codes_may_be_trained(lc, x):
    module = lc.to_module().requires_grad_()
    module(x).square().sum().backward()
    assert module[0].weight_codebook.grad.abs().min() > 0


def test_half_converts_floats_only(lc, x):
    module = lc.to_module()
    half = copy.deepcopy(module).half()
    assert half[0].weight.dtype == half(x.half()).dtype == torch.float16
    assert torch.equal(half[0].weight_index, module[0].weight_index)
    torch.testing.assert_close(half(x.half()).float(), module(x), rtol=0, atol=5e-3)


def test_levels_follow_the_dtype_too():
    """Codes may have no number that floats."""
    theta = BinaryQuantization().compress({"0.weight": torch.randn(9, 9)}, mu=1.0)
    module = to_module(put(nn.Sequential(nn.Linear(9, 9)), theta))
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert copy.deepcopy(module).to(dtype)[0].weight.dtype == dtype
    assert module[0].weight.abs().unique().tolist() == [1.0]


def test_the_names_of_what_it_holds(lc):
    parts = ("bias", "weight_codebook", "weight_index", "weight_layout", "weight_like")
    assert set(lc.to_module().state_dict()) == {
        f"{layer}.{part}" for layer in (0, 2) for part in parts
    }
    assert set(lc.to_module(materialize=True).state_dict()) == set(
        lc.estimator_.module_.state_dict()
    )


def test_names_that_are_taken():
    net = nn.Sequential(nn.Linear(9, 9))
    net[0].weight_index = nn.Parameter(torch.ones(1))
    net[0].weight_layout, net[0].weight_packings = nn.Parameter(torch.ones(1)), "mine"
    theta = ZERO.compress({"0.weight": torch.randn(9, 9)}, mu=1.0)
    module = to_module(put(net, theta))
    assert module[0].weight_index.item() == module[0].weight_layout.item() == 1.0
    assert module[0].weight_packings == "mine"
    module.load_state_dict(copy.deepcopy(module).state_dict())
    assert_equal(module, net, torch.randn(3, 9))


def modules_of(scheme, n):
    """Return modules of one net, each with other weights, compressed."""
    for seed in range(n):
        weights = draw({"0.weight": (8, 6), "2.weight": (3, 8)}, seed=seed)
        net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        yield to_module(put(net, scheme.compress(weights, mu=1.0)))


@pytest.mark.parametrize(
    "scheme",
    [
        ConstraintL0Pruning(kappa=0.05),
        AdaptiveQuantization(k=3, zero=True, kappa=0.1),
        AdaptiveQuantization(k=3),
        SUM,
    ],
)
def test_a_state_is_loaded_as_it_was_packed_or_not_at_all(scheme):
    made, loaded = list(modules_of(scheme, 8)), 0
    x = torch.randn(5, 6)
    for source in made:
        file = io.BytesIO()
        torch.save(source.state_dict(), file)
        for target in map(copy.deepcopy, made):
            before = target(x)
            file.seek(0)
            try:
                target.load_state_dict(torch.load(file, weights_only=True))
            except RuntimeError as error:
                assert "packed in another way" in str(error)  # noqa: PT017
                if "0.weight is" in str(error) and "2.weight is" in str(error):
                    assert torch.equal(target(x), before)
            else:
                loaded += 1
                assert torch.equal(target(x), source(x))
    assert loaded >= 8  # each its own


def test_a_state_whose_weights_share_numbers_is_another():
    alone, _ = modules_of(AdaptiveQuantization(k=2), 2)
    joint, other = modules_of(AdaptiveQuantization(k=2, granularity="joint"), 2)
    with pytest.raises(RuntimeError, match=r"2\.weight is packed in another way"):
        joint.load_state_dict(alone.state_dict())
    with pytest.raises(RuntimeError, match=r"2\.weight is packed in another way"):
        alone.load_state_dict(joint.state_dict())
    joint.load_state_dict(other.state_dict())
    assert_equal(joint, other, torch.randn(3, 6), rtol=0, atol=0)


def test_a_state_without_its_layout_is_refused():
    module, _ = modules_of(ZERO, 2)
    state = module.state_dict()
    del state["0.weight_layout"]
    with pytest.raises(RuntimeError, match=r"0\.weight is packed in another way"):
        module.load_state_dict(state, strict=False)
    some = {name: held for name, held in state.items() if "0.weight" not in name}
    assert "0.weight_index" in module.load_state_dict(some, strict=False).missing_keys


class Counting(nn.Linear):
    """A layer with a state of its own."""

    def get_extra_state(self):
        return torch.tensor(self.count)

    def set_extra_state(self, state):
        self.count = int(state)


def test_a_layer_keeps_the_state_that_is_its_own():
    net = nn.Sequential(Counting(9, 9))
    net[0].count = 5
    theta = ZERO.compress({"0.weight": torch.randn(9, 9)}, mu=1.0)
    module = to_module(put(net, theta))
    other = copy.deepcopy(module)
    other[0].count = 0
    other.load_state_dict(module.state_dict())
    assert other[0].count == 5


def test_there_is_a_parameter_that_has_the_dtype():
    """Nets ask for it: ``next(self.parameters()).dtype``."""
    theta = BinaryQuantization().compress({"0.weight": torch.randn(9, 9)}, mu=1.0)
    module = to_module(put(nn.Sequential(nn.Linear(9, 9, bias=False)), theta))
    for dtype in (torch.float16, torch.float64):
        assert next(module.to(dtype).parameters()).dtype == dtype
    assert not sum(tensor.numel() for tensor in module.parameters())
    program = torch.export.export(module, (torch.randn(3, 9).double(),), strict=False)
    x = torch.randn(3, 9).double()
    assert_equal(program.module(), module, x)


def test_weights_decode_on_another_device():
    """A weight of which nothing but the device is known."""
    theta = SUM.compress({"0.weight": torch.randn(40, 30)}, mu=1.0)
    module = to_module(put(nn.Sequential(nn.Linear(30, 40)), theta)).to("meta")
    assert module[0].weight.is_meta
    assert module(torch.randn(2, 30, device="meta")).shape == (2, 40)


@pytest.mark.parametrize("scheme", [LowRank(rank=1), ZERO, SUM], ids=["rank", "0", "+"])
def test_it_is_exported(scheme):
    weights = draw({"0.weight": (60, 50), "2.weight": (40, 60)})
    net = nn.Sequential(nn.Linear(50, 60), nn.Tanh(), nn.Linear(60, 40))
    theta = scheme.compress(weights, mu=1.0)
    model = put(net, theta, dict.fromkeys(theta, LayerInfo()))
    module, x = to_module(model), torch.randn(3, 50)
    shapes = ({0: torch.export.Dim("n", min=2)},)
    program = torch.export.export(module, (x,), dynamic_shapes=shapes, strict=False)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    assert_equal(torch.export.load(file).module(), net, torch.randn(5, 50))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a compiler")
@pytest.mark.parametrize("scheme", [LowRank(rank=1), SUM], ids=["rank", "+"])
def test_it_is_compiled_in_one_graph(scheme):
    weights = draw({"0.weight": (60, 50), "2.weight": (40, 60)})
    net = nn.Sequential(nn.Linear(50, 60), nn.Tanh(), nn.Linear(60, 40))
    theta = scheme.compress(weights, mu=1.0)
    model = put(net, theta, dict.fromkeys(theta, LayerInfo()))
    compiled = torch.compile(to_module(model), fullgraph=True)
    assert_equal(compiled, net, torch.randn(3, 50))


def test_a_compiled_net_becomes_a_module_that_is_not(x):
    X, y = data()
    net = classifier(compile=True, compile__backend="eager")
    with torch.compiler.set_stance("force_eager"):
        lc = compressor(net).fit(X, y)
        module = lc.to_module()
    assert type(module) is nn.Sequential
    with torch.no_grad():
        found = module(x).softmax(-1)
    with torch.compiler.set_stance("force_eager"):
        np.testing.assert_allclose(found, lc.predict_proba(X), atol=1e-6)


def test_it_runs_without_scikit_learn_and_skorch(lc, x, tmp_path):
    module = lc.to_module()
    path = tmp_path / "module.pt"
    torch.save((module, x, module(x)), path)
    code = (
        "import sys, torch\n"
        f"module, x, y = torch.load({str(path)!r}, weights_only=False)\n"
        "assert torch.equal(module(x), y)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not {"sklearn", "skorch", "scipy"} & set(done.stdout.split())


def test_linear_models_are_no_modules():
    X, y = np.random.default_rng(0).standard_normal((2, 30, 4))
    lc = LCCompressor(Ridge(), AdaptiveQuantization(k=2), max_iter=0).fit(X, y[:, 0])
    with pytest.raises(TypeError, match="to_module is for nets, got a Ridge"):
        lc.to_module()
