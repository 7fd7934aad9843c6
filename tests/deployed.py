"""Compressed models, and what their modules are compared by."""

import torch
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetRegressor

from sklc import LCCompressor
from sklc.codes import decompress
from sklc.deploy import CompressedModel
from sklc.signature import Signature


def put(module, theta, layers=None):
    """Return a compressed model made of a module that gets Δ(Θ)."""
    with torch.no_grad():
        for name, weight in decompress(theta).items():
            module.get_parameter(name).copy_(weight)
    return CompressedModel(module.eval(), theta, {}, layers or {}, Signature())


def fitted(module, x, scheme):
    """Return a compressed model, as direct compression makes it."""
    net = NeuralNetRegressor(module, train_split=None, verbose=0).initialize()
    with torch.no_grad():
        y = torch.zeros_like(net.module_.eval()(x)).numpy()
    lc = LCCompressor(FrozenEstimator(net), scheme, max_iter=0)
    return lc.fit(x.numpy(), y)._compressed_model()


@torch.no_grad()
def assert_equal(module, other, *x, rtol=1e-5, atol=1e-5):
    torch.testing.assert_close(module(*x), other(*x), rtol=rtol, atol=atol)


def stored_bytes(module):
    tensors = {id(t): t for t in [*module.parameters(), *module.buffers()]}
    return sum(tensor.nbytes for tensor in tensors.values())
