"""Modules and nets that are copied with care, or refused before any training."""

import threading

import numpy as np
import pytest
import torch
from nets import classifier, compressor, data, module, started
from sklearn.frozen import FrozenEstimator
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from sklc import LCCompressor
from sklc.lstep import NetLStep
from sklc.schemes import AdaptiveQuantization, BinaryQuantization

X, Y = data()
WORDS = np.arange(80).reshape(40, 2) % 9


class Layered(nn.Module):
    """A module around one layer that is out of the ordinary."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.out = layer, nn.Linear(5, 3)

    def forward(self, x):
        return self.out(self.layer(x).reshape(len(x), -1)[:, :5])


def pruned():
    layer = nn.Linear(5, 5)
    prune.l1_unstructured(layer, "weight", 0.5)
    return layer


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
@pytest.mark.parametrize("form", ["module", "net", "class", "frozen"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: parametrizations.orthogonal(nn.Linear(5, 5)),
            r"a parametrization \(_Orthogonal\), .*remove_parametrizations\(module\.la",
        ),
        (
            lambda: parametrizations.weight_norm(nn.Linear(5, 5)),
            r"a parametrization \(_WeightNorm\), .*remove_parametrizations\(module\.la",
        ),
        (
            lambda: parametrizations.spectral_norm(nn.Linear(5, 5)),
            r"a parametrization \(_SpectralNorm\), ",
        ),
        (
            lambda: nn.utils.weight_norm(nn.Linear(5, 5)),
            r"weight from weight_g and weight_v, .*remove_weight_norm\(module\.layer",
        ),
        (
            lambda: nn.utils.spectral_norm(nn.Linear(5, 5)),
            r"weight from weight_orig, .*remove_spectral_norm\(module\.layer, 'weight'",
        ),
        (
            pruned,
            r"weight from weight_orig, .*prune\.remove\(module\.layer, 'weight'\)",
        ),
        (
            lambda: nn.Embedding(9, 5, max_norm=1.0),
            r"by module\.layer\.max_norm = None",
        ),
        (lambda: nn.EmbeddingBag(9, 5, max_norm=1.0), r"layer\.max_norm = None"),
    ],
    ids=[
        *["orthogonal", "weight_norm", "spectral_norm", "old weight_norm"],
        *["old spectral_norm", "prune", "embedding", "bag"],
    ],
)
def test_weights_that_are_not_the_parameters_are_refused(make, message, form):
    inner = Layered(make())
    x = WORDS if "max_norm" in message else X
    inner(torch.as_tensor(x)).sum().backward()  # leaves tensors with a graph
    net = classifier(module=inner)
    if form == "frozen":
        net = FrozenEstimator(net.initialize())
    estimator = {
        "module": inner,
        "class": classifier(module=Layered, module__layer=make()),
    }.get(form, net)
    with pytest.raises(ValueError, match=f"The layer 'layer' .*{message}"):
        compressor(estimator).fit(x, Y)


def test_they_are_compressed_when_that_is_undone():
    inner = Layered(parametrizations.orthogonal(nn.Linear(5, 5)))
    parametrize.remove_parametrizations(inner.layer, "weight")
    lc = compressor(inner, max_iter=0).fit(X, Y)
    assert lc.estimator_.module_.layer.weight.unique().numel() == 2


def inference():
    with torch.inference_mode():
        return module()


@pytest.mark.filterwarnings("ignore")  # torch has newer ways
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.Linear(5, 3, device="meta"),
            "the parameter 'weight' on the meta d",
        ),
        (
            lambda: torch.jit.script(module()),
            "is compiled by TorchScript: pass the mod",
        ),
        (lambda: torch.jit.trace(module(), torch.zeros(2, 5)), "compiled by TorchScri"),
        (lambda: nn.Flatten(), "has no parameters: there is nothing to compress"),
        (inference, r"the parameter '0\.weight' made in torch\.inference_mode\(\)"),
        (
            lambda: torch.ao.quantization.quantize_dynamic(module(), {nn.Linear}),
            "The layer '0' .* is quantized already, and cannot be trained",
        ),
        (
            lambda: nn.Sequential(
                torch.ao.nn.qat.Linear(
                    5, 3, qconfig=torch.ao.quantization.get_default_qat_qconfig()
                )
            ),
            "The layer '0' .* rounds its weight when it is used",
        ),
    ],
    ids=["meta", "script", "trace", "empty", "inference", "quantized", "aware"],
)
def test_modules_that_cannot_be_trained_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        compressor(make()).fit(X, Y)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_to_fit_without_gradients_is_an_error(mode):
    with (
        mode(),
        pytest.raises(ValueError, match=f"call it outside of torch.{mode.__name__}"),
    ):
        compressor(module()).fit(X, Y)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
@pytest.mark.parametrize(
    ("net", "options"),
    [(classifier(device="cuda"), {}), (classifier(), {"device": "cuda"})],
)
def test_a_device_that_there_is_not_is_told(net, options):
    with pytest.raises(
        ValueError, match=r"device='cuda' cannot be used here \(.*\): ch"
    ):
        started(net, **options)


# ---- copies ----


class Odd(nn.Module):
    """What cannot be pickled, and tensors that a forward pass has left."""

    def __init__(self):
        super().__init__()
        self.inner = module()
        self.activation = lambda x: 2 * x

    def forward(self, x):
        self.last = self.inner(x)
        self.kept = {"outputs": [self.last]}
        return self.activation(self.last)


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
@pytest.mark.parametrize("form", ["module", "net", "frozen"])
def test_what_cannot_be_pickled_is_copied_all_the_same(form):
    class Local(Odd):
        pass

    net = classifier(module=Local).fit(X, Y)
    net.module_.train()
    net.infer(torch.as_tensor(X)).sum().backward()
    before = {n: t.clone() for n, t in net.module_.state_dict().items()}
    estimator = {
        "module": net.module_,
        "net": classifier(module=net.module_),
        "frozen": FrozenEstimator(net),
    }[form]
    lc = compressor(estimator, finetune=1).fit(X, Y)
    assert lc.estimator_.module_ is not net.module_
    assert lc.predict(X).shape == (40,)
    after = net.module_.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_cannot_be_copied_is_told():
    inner = module()
    inner.lock = threading.Lock()
    with pytest.raises(
        ValueError, match=r"The model cannot be copied \(.*lock.*\), and"
    ):
        compressor(inner).fit(X, Y)


# ---- nothing to train ----


def test_a_module_of_which_nothing_is_trained_is_compressed_at_once_only():
    inner = module().requires_grad_(False)
    with pytest.raises(
        ValueError,
        match="No parameter of Sequential requires a gradient, so there is nothing to "
        r"train: call requires_grad_\(True\) on what may adapt, or .* max_iter=0",
    ):
        compressor(inner).fit(X, Y)
    with pytest.raises(ValueError, match="No parameter of Sequential requires a grad"):
        compressor(classifier(module=inner), max_iter=0).fit(X, Y)
    lc = compressor(inner, max_iter=0).fit(X, Y)
    assert lc.estimator_.module_[0].weight.unique().numel() == 2


@pytest.mark.filterwarnings("ignore:Fine-tuning did not improve")
def test_nothing_to_fine_tune_is_said():
    inner = nn.Sequential(nn.Linear(5, 8, bias=False), nn.Linear(8, 3, bias=False))
    lc = LCCompressor(
        classifier(module=inner),
        BinaryQuantization(),
        l_step=NetLStep(epochs=1),
        max_iter=0,
        finetune=2,
    )
    with pytest.warns(
        UserWarning, match="There is nothing to fine-tune: Θ has no degr"
    ):
        lc.fit(X, Y)
    assert lc.history_[-1]["loss"] == lc.history_[0]["loss"]


def test_frozen_weights_are_compressed_and_the_rest_is_fine_tuned():
    inner = module()
    inner[0].weight.requires_grad_(False)
    inner[2].weight.requires_grad_(False)
    learner = started(inner, epochs=1)
    weights = {n: w.clone() for n, w in learner.weights().items() if w.ndim > 1}
    theta = AdaptiveQuantization(k=2).compress(weights, 1.0)
    bias = learner.weights()["0.bias"].clone()
    found = learner.finetune(theta, 2)
    assert not torch.equal(learner.weights()["0.bias"], bias)
    for name, code in theta.items():
        assert torch.equal(found[name].codebook, code.codebook)
        assert torch.equal(learner.weights()[name], code.dense())


# ---- sparse gradients ----


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(9, 3, sparse=True)

    def forward(self, x):
        return self.words(x).mean(1)


@pytest.mark.parametrize("name", ["SGD", "SparseAdam"])
@pytest.mark.parametrize("pull", ["gradient", "auto"])
def test_sparse_gradients_are_pulled_as_dense_ones(name, pull):
    """All rows are pulled, those too that a batch does not use."""
    found = []
    for sparse in True, False:
        torch.manual_seed(0)
        inner = Words()
        inner.words.sparse = sparse
        optimizer = name if sparse else name.replace("Sparse", "")
        net = classifier(module=inner, optimizer=getattr(torch.optim, optimizer))
        learner = started(net, WORDS, Y, pull=pull, clip_lr=False)
        target = {"words.weight": torch.full((9, 3), 0.3)}
        learner.learn(target, 0.7, 1)
        found.append(learner.weights()["words.weight"].clone())
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", ["SGD", "SparseAdam"])
def test_sparse_gradients_fine_tune(name):
    torch.manual_seed(0)
    net = classifier(module=Words, optimizer=getattr(torch.optim, name), lr=0.3)
    learner = started(net, WORDS, Y)
    weights = {n: w.clone() for n, w in learner.weights().items()}
    theta = AdaptiveQuantization(k=4).compress(weights, 1.0)
    learner.substitute({n: code.dense() for n, code in theta.items()})
    before = learner.loss()
    learner.finetune(theta, 5)
    assert learner.loss() < before
    assert learner.estimator.optimizer is getattr(torch.optim, name)
    assert type(learner.estimator.optimizer_) is getattr(torch.optim, name)
