"""What a net tells of its layers: how often a weight is used, or that none knows."""

import pytest
import torch
from skorch import NeuralNet, NeuralNetClassifier
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from sklc import LCCompressor
from sklc.layers import LayerInfo
from sklc.lstep import NetLStep
from sklc.lstep.net.uses import layer_infos
from sklc.schemes import LowRank, Mixed, RankSelection

N, LENGTH, WIDTH = 3, 5, 8


def told(module, X=None):
    """Return what a net of this module tells of its layers."""
    X = torch.randn(N, LENGTH, WIDTH) if X is None else X
    net = NeuralNet(module, criterion=nn.MSELoss).initialize()
    return layer_infos(net, net.module_, (X, X))


def uses(module, X=None):
    return {name: info.uses for name, info in told(module, X).items()}


class Calls(nn.Module):
    """A module that calls a layer in a way of its own."""

    def __init__(self, layer, call):
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, X):
        return self.call(self.layer, X)


class WithState(nn.Linear):
    """A layer that returns more than its output."""

    def forward(self, input, scale=1.0):
        return super().forward(input) * scale, {"scale": scale}


@pytest.mark.parametrize(
    "call",
    [
        lambda layer, X: layer(X)[0],
        lambda layer, X: layer(input=X)[0],
        lambda layer, X: layer(scale=2.0, input=X)[0],
    ],
)
def test_layers_may_be_called_by_keyword_and_return_tuples(call):
    assert uses(Calls(WithState(WIDTH, 4), call))["layer.weight"] == LENGTH


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_use_their_weights_at_every_step(kind, batch_first):
    def call(layer, X):
        return layer(X if batch_first else X.transpose(0, 1))[0]

    layer = kind(WIDTH, 4, num_layers=2, bidirectional=True, batch_first=batch_first)
    found = uses(Calls(layer, call))
    matrices = {name for name, p in layer.named_parameters() if p.ndim == 2}
    assert len(matrices) == 8
    for name, times in found.items():
        known = name.removeprefix("layer.") in matrices
        assert times == (LENGTH if known else None)


def test_steps_of_packed_sequences_are_those_that_there_are():
    def call(layer, X):
        packed = pack_padded_sequence(X, torch.tensor([5, 3, 1]), batch_first=True)
        return layer(packed)[0].data

    found = uses(Calls(nn.LSTM(WIDTH, 4, proj_size=2), call))
    assert found["layer.weight_ih_l0"] == found["layer.weight_hr_l0"] == (5 + 3 + 1) / N


def test_a_cell_is_used_once_a_call():
    def call(cell, X):
        state = None
        for step in X.unbind(1):
            state = cell(step, state)
        return state

    found = uses(Calls(nn.GRUCell(WIDTH, 4), call))
    assert found["layer.weight_ih"] == found["layer.weight_hh"] == LENGTH


def test_attention_to_oneself_is_known():
    layer = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
    found = uses(Calls(layer, lambda layer, X: layer(X, value=X, key=X)[0]))
    assert found["layer.in_proj_weight"] == found["layer.out_proj.weight"] == LENGTH


def test_attention_to_others_is_known_if_each_has_a_matrix_of_its_own():
    def call(layer, X):
        return layer(X[:, :2], X, X)[0]

    one = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
    found = uses(Calls(one, call))
    assert found["layer.in_proj_weight"] is None
    assert found["layer.out_proj.weight"] == 2
    # the sizes of keys and values differ, so the matrices do
    three = nn.MultiheadAttention(WIDTH, 2, kdim=6, vdim=4, batch_first=True)
    found = uses(
        Calls(three, lambda layer, X: layer(X[:, :2], X[..., :6], X[..., :4])[0])
    )
    assert found["layer.q_proj_weight"] == found["layer.out_proj.weight"] == 2
    assert found["layer.k_proj_weight"] == found["layer.v_proj_weight"] == LENGTH


def test_the_layers_of_a_transformer_are_counted():
    encoder = nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True)
    found = uses(nn.TransformerEncoder(encoder, 2, enable_nested_tensor=False))
    matrices = [name for name in found if "proj_weight" in name or ".linear" in name]
    assert {found[name] for name in matrices if "bias" not in name} == {LENGTH}


def test_a_convolution_within_a_sequence_of_images_is_counted():
    def call(layer, X):  # of shape (samples, images, 1, 4, 6)
        return layer(X.flatten(0, 1))

    layer = nn.Conv2d(1, 2, 3, stride=(1, 2), padding=1)
    info = told(Calls(layer, call), torch.randn(N, LENGTH, 1, 4, 6))["layer.weight"]
    assert info.uses == LENGTH * 4 * 3
    (grid,) = info.grids
    assert (grid.input, grid.output, grid.times) == ((4, 6), (4, 3), LENGTH)


class Shared(nn.Module):
    """A table of words whose weights make the output, too."""

    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(7, WIDTH), nn.Linear(WIDTH, 7)
        self.out.weight = self.table.weight
        self.free = nn.Parameter(torch.ones(WIDTH, WIDTH))
        self.unused = nn.Linear(2, 2)
        self.inner = nn.Linear(WIDTH, WIDTH)

    def forward(self, X):
        X = nn.functional.linear(self.table(X), self.inner.weight)
        return self.out(X @ self.free)


def test_what_is_not_known_is_not_guessed():
    found = uses(Shared(), torch.zeros(N, LENGTH, dtype=int))
    assert all(found[name] is None for name in found)


class Bends(nn.Linear):
    """A layer that is none, whatever it is derived from."""

    def forward(self, X):
        return X.sum((1, 2), keepdim=True) * self.weight.sum()


def test_a_layer_that_does_not_do_what_its_kind_does_is_not_known():
    assert uses(Bends(WIDTH, 4))["weight"] is None


def test_a_net_of_such_layers_is_compressed_by_storage_and_refused_by_flops():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(7, WIDTH)
            self.reads = nn.LSTM(WIDTH, 6, batch_first=True)
            self.tells = WithState(6, 3)

        def forward(self, X):
            return self.tells(input=self.reads(self.table(X))[0][:, -1])[0]

    trained = []

    class Counted(NeuralNetClassifier):
        def train_step(self, batch, **params):
            trained.append(1)
            return super().train_step(batch, **params)

    net = Counted(
        Net, criterion=nn.CrossEntropyLoss, max_epochs=1, train_split=None, verbose=0
    )
    torch.manual_seed(0)
    X, y = torch.randint(7, (12, LENGTH)), torch.arange(12) % 3
    flops = RankSelection(1e-9, "flops")
    lc = LCCompressor(net, flops, max_iter=0, mu_init=1.0, l_step=NetLStep())
    with pytest.raises(ValueError, match=r"cannot price \['table.weight'\]") as info:
        lc.fit(X, y)
    assert "how often its layer, of Embedding, uses it was not counted" in str(
        info.value
    )
    assert not trained, "it is refused before any training"
    parts = [("table", LowRank(2), "table"), ("rest", flops, ["reads*", "tells"])]
    lc.set_params(scheme=Mixed(parts)).fit(X, y)
    assert "reads.weight_hh_l0" in lc.theta_
    assert lc.scheme.cost(lc.theta_, layers=told(lc.estimator_.module_, X)) > 0


def test_infos_of_layers_leave_room_for_what_is_coupled():
    assert LayerInfo().coupled == ()
