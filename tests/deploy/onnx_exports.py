"""Exports of nets, in a process of their own (of test_onnx_nets).

torch loads its exporter for seconds, and may abort the process that it runs in.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from skorch import (
    NeuralNetBinaryClassifier,
    NeuralNetClassifier,
)
from torch import nn

from sklc import LCCompressor
from sklc.codes import decompress
from sklc.deploy import to_onnx
from sklc.exceptions import UselessResultWarning
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    ConstraintL0Pruning,
    LowRank,
    Mixed,
    ScaledTernaryQuantization,
)


class Images(nn.Module):
    """Convolutions of all kinds."""

    def __init__(self):
        super().__init__()
        self.plain = nn.Conv2d(
            *(4, 12, (3, 5)), stride=(2, 1), padding=(1, 2), dilation=(1, 2)
        )
        self.norm = nn.BatchNorm2d(12)
        self.grouped = nn.Conv2d(12, 16, (3, 5), padding="same", groups=2)
        self.up = nn.ConvTranspose2d(
            *(16, 12, (4, 3)),
            stride=(2, 3),
            padding=(1, 0),
            output_padding=(1, 2),
            dilation=(2, 1),
            groups=2,
        )
        self.line = nn.Conv1d(12, 14, 5, stride=2, bias=False)
        self.upline = nn.ConvTranspose1d(14, 10, 4, stride=3)
        self.last = nn.Linear(10, 24)

    def forward(self, x):
        x = torch.relu(self.norm(self.plain(x)))
        x = self.up(torch.tanh(self.grouped(x)))
        x = torch.tanh(self.upline(self.line(x.mean(2))))
        return self.last(x.mean(2)), x  # the first of two outputs is meant


class Volumes(nn.Module):
    """A convolution in three dimensions, and a weight in a product of the user's."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 10, (2, 3, 3), stride=(1, 2, 1), padding=1)
        self.mixing = nn.Parameter(torch.randn(10, 30) / 5)
        self.unused = nn.Linear(20, 20)

    def forward(self, x):
        x = torch.relu(self.conv(x)).mean((2, 3, 4))
        return x @ self.mixing


class Words(nn.Module):
    """Several inputs, tied weights, recurrent and attentive layers."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(40, 12)
        self.lstm = nn.LSTM(12, 8, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(16, 12, batch_first=True)
        self.attention = nn.TransformerEncoderLayer(12, 2, 24, batch_first=True)
        self.out = nn.Linear(12, 40, bias=False)
        self.out.weight = self.embedding.weight
        self.scale = nn.Linear(3, 12)

    def forward(self, words, numbers, mask):
        x = self.embedding(words) + self.scale(numbers)[:, None]
        x, _ = self.gru(self.lstm(x)[0])
        x = torch.where(mask[:, :, None], self.attention(x), x)
        return self.out(x.mean(1))


class Pair(nn.Module):
    """A list of inputs, and a layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.shared, self.last = nn.Linear(20, 20), nn.Linear(20, 60)

    def forward(self, both):
        first, second = both
        return self.last(torch.tanh(self.shared(first)) * self.shared(second))


def mlp(n_in, n_out, hidden=40, *last):
    return nn.Sequential(
        nn.Linear(n_in, hidden), nn.Tanh(), nn.Linear(hidden, n_out), *last
    )


def rand(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


SUM = Additive(
    [("low", LowRank(rank=1)), ("few", ConstraintL0Pruning(kappa=0.05))], max_sweeps=1
)
IMAGES = {"x": rand(3, 4, 17, 15)}
WORDS = {
    "words": torch.arange(18).view(3, 6) * 2,
    "numbers": rand(3, 3),
    "mask": rand(3, 6) > 0,
}
#: By name: a module, its inputs, how it is called, a scheme.
MODULES = {
    "scheme_1": (Images, IMAGES, LowRank(rank=2)),
    "scheme_2": (Images, IMAGES, LowRank(rank=2, conv_scheme="scheme_2")),
    "volumes": (
        *(Volumes, {"x": rand(3, 3, 5, 6, 6)}),
        Mixed(
            [
                ("conv", LowRank(rank=2, conv_scheme="scheme_2"), "conv"),
                ("low", LowRank(rank=2), "mixing"),
                ("unused", AdaptiveQuantization(k=2), "unused"),
            ]
        ),
    ),
    "cubes": (
        lambda: nn.Sequential(nn.Conv3d(2, 4, 3, bias=False), nn.ReLU(), nn.Flatten()),
        *({"x": rand(3, 2, 4, 4, 4)}, AdaptiveQuantization(k=2)),
    ),
    "words": (
        *(Words, WORDS),
        Mixed(
            [
                ("sum", SUM, ["embedding", "gru*"]),
                ("few", ConstraintL0Pruning(kappa=0.1), "attention*"),
                ("low", LowRank(rank=2), "scale"),
                ("codes", ScaledTernaryQuantization(), "lstm*"),
            ]
        ),
    ),
    "pair": (
        *(lambda: Pair().double(), {"X0": rand(3, 20), "X1": rand(3, 20)}),
        Mixed(
            [
                ("low", LowRank(rank=2), "shared"),
                ("codes", AdaptiveQuantization(k=4, granularity="channel"), "last"),
            ]
        ),
    ),
}


def export_modules(folder, names):
    for name in sorted(MODULES.keys() & set(names)):
        kind, inputs, scheme = MODULES[name]
        torch.manual_seed(0)
        module = kind().eval()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2.0)
        weights = {n: p for n, p in module.named_parameters() if p.ndim > 1}
        theta = scheme.compress({n: p.detach() for n, p in weights.items()}, mu=1.0)
        module.load_state_dict(decompress(theta), strict=False)
        if name == "pair":
            inputs = {key: value.double() for key, value in inputs.items()}
        given = dict(inputs)
        if name == "pair":
            given = list(given.values())
            output = module(given)
        elif len(given) == 1:
            (given,) = given.values()
            inputs = {"X": given}
            output = module(given)
        else:
            output = module(**given)
        output = output[0] if isinstance(output, tuple) else output
        with warnings.catch_warnings():
            warnings.simplefilter("error" if name != "volumes" else "ignore")
            to_onnx(module, folder / f"{name}.onnx", given, theta=theta)
        arrays = {key: value.numpy() for key, value in inputs.items()}
        np.savez(folder / f"{name}.npz", variable=output.detach().numpy(), **arrays)


X = np.random.default_rng(0).standard_normal((30, 6)).astype("float32")
y = np.arange(30) % 3


class Both(nn.Module):
    """Inputs by name, of which one is unused; and weights called as outputs are."""

    def __init__(self):
        super().__init__()
        self.inner = mlp(9, 1)
        self.label = nn.Parameter(torch.randn(9, 9))

    def forward(self, table, image, unused):
        return self.inner(torch.cat([table, image.mean(1)], 1) @ self.label)


def export_estimators(folder):
    net = NeuralNetClassifier(
        mlp(6, 3),
        criterion=nn.CrossEntropyLoss,
        train_split=None,
        classes=["ä", "b", "c"],
    )
    labels = np.array(net.classes)[y]
    export_estimator(folder / "texts", net, X, labels, lambda X: {"X": X})
    both = {"image": np.stack([X[:, 3:]] * 4, 1), "unused": X, "table": X}
    net = NeuralNetBinaryClassifier(Both, train_split=None, threshold=0.45)
    targets = (y > 0).astype("float32")
    export_estimator(folder / "binary", net, both, targets, dict)
    tokens = np.abs(X * 3).astype("int16") % 9
    module = nn.Sequential(nn.Embedding(9, 8), nn.Flatten(), mlp(48, 3))
    net = NeuralNetClassifier(
        module, criterion=nn.CrossEntropyLoss, train_split=None, classes=[0, 1, 2]
    )
    export_estimator(folder / "integers", net, tokens, y, lambda X: {"X": X})


def export_estimator(path, net, X, y, inputs):
    torch.manual_seed(0)
    net.set_params(verbose=0).initialize()
    lc = LCCompressor(FrozenEstimator(net), AdaptiveQuantization(k=2), max_iter=0)
    lc.fit(X, y)
    lc.to_onnx(path.with_suffix(".onnx"), X if isinstance(X, dict) else None)
    outputs = {"label": lc.predict(X), "probabilities": lc.predict_proba(X)}
    np.savez(path.with_suffix(".npz"), **inputs(X), **outputs)


class Chooses(nn.Module):
    """What a graph cannot do."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


class Projected(nn.Module):
    """What torch writes as a graph that is wrong."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 7, 2, proj_size=5, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0]


def fail(folder):
    """Leave what a user reads if a net cannot be exported, and a file as it was."""
    path = folder / "kept.bin"
    path.write_bytes(b"precious")
    try:
        to_onnx(Chooses(), path, torch.zeros(2, 3))
    except ValueError as error:
        (folder / "error.txt").write_text(str(error), "utf-8")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that onnxruntime would fail at it
            to_onnx(Projected(), path, torch.zeros(2, 3, 5))
    except ValueError as error:
        (folder / "invalid.txt").write_text(str(error), "utf-8")


if __name__ == "__main__":
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", UselessResultWarning)
    folder, *names = sys.argv[1:]
    export_modules(Path(folder), names)
    if "others" in names:
        export_estimators(Path(folder))
        fail(Path(folder))
