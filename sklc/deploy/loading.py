"""Models out of files: nets that predict, linear models, and modules to fill."""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sklc.deploy import linear
from sklc.deploy.predictor import Activation, Predictor
from sklc.deploy.reading import Contents, read, unbelieved
from sklc.exceptions import ModelFileError

_SPARE = 16  # times the bytes of a module that its codes may take
_COUNTS = "num_batches_tracked"  # of batch norms, which only training uses
MAX_DENSE_BYTES = 1 << 30


def load(
    path: str | os.PathLike[str],
    module: nn.Module | Callable[[], nn.Module] | None = None,
    *,
    device: str | torch.device = "cpu",
    activation: Activation | None = None,
    max_dense_bytes: int = MAX_DENSE_BYTES,
) -> Any:
    """Load a model that :meth:`sklc.LCCompressor.save` has written.

    Nothing in the file is executed, and nothing in it is believed: see the page on the
    format.

    Parameters
    ----------
    path : str or Path
    module : nn.Module or callable, default=None
        The architecture of a net: a module, which is copied and left as it is, or what
        makes one. Linear models need none.
    device : str or torch.device, default="cpu"
        Where a net is to predict.
    activation : callable, default=None
        From the output of a net to probabilities, if it was a function of the user's.
    max_dense_bytes : int, default=2**30
        What the tensors of the file may take. A net may take what its module does,
        if that is more.

    Returns
    -------
    Predictor or linear model of scikit-learn
        With ``predict``, ``score``, and, of classifiers, ``predict_proba`` and
        ``classes_``. A net needs neither scikit-learn nor skorch.

    Raises
    ------
    ModelFileError
        If the file is damaged, hostile, too new, or of another module.
    TypeError
        If a net comes without its module.
    """
    with _of(path) as content:
        if module is None:
            contents = read(content, max_dense_bytes)
            if contents.model["kind"] != "net":
                with unbelieved():
                    return linear.rebuild(contents.model, contents.weights())
            msg = f"{path} holds a net: give load(..., module=...) its architecture."
            raise TypeError(msg)
        net = copy.deepcopy(module) if isinstance(module, nn.Module) else module()
        if not isinstance(net, nn.Module):
            msg = f"module must be a module, or make one, got {net!r}."
            raise TypeError(msg)
        contents = _read_into(net, content, max_dense_bytes)
        own = {**dict(net.named_parameters()), **dict(net.named_buffers())}
        for name, tensor in contents.weights().items():
            own[name].data = tensor.to(own[name].device)  # in the dtype of the file
        net.to(device).eval()
        return Predictor(net, contents.signature, activation)


def load_into(module: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Fill a module with the weights of a file, all of them or none.

    Parameters
    ----------
    module : nn.Module
        Of the architecture that was compressed. It keeps its dtypes, its device and its
        mode; what the file does not need, such as counts of batches, stays as it is.
    path : str or Path

    Returns
    -------
    nn.Module
        The module itself.

    Raises
    ------
    ModelFileError
        If the file is damaged, hostile, too new, or of another module; the message
        lists what differs.
    """
    with _of(path) as content:
        weights = _read_into(module, content, MAX_DENSE_BYTES).weights()
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)
    return module


@contextmanager
def _of(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Lend the content of a file, whose name is in what is raised."""
    try:
        yield Path(path).expanduser().read_bytes()
    except ModelFileError as error:
        msg = f"{path} {error}"
        raise ModelFileError(msg) from error.__cause__


def _read_into(module: nn.Module, content: bytes, max_dense_bytes: int) -> Contents:
    """Return what a file holds, if it is for a module."""
    own: dict[str, Tensor] = dict(module.named_parameters())
    for name, tensor in own.items():
        if tensor.is_meta or nn.parameter.is_lazy(tensor):
            msg = (
                f"{name} has no memory yet: call the module once, or its "
                "to_empty(device='cpu')."
            )
            raise ValueError(msg)
    needed = [*own]
    for name, tensor in module.named_buffers():
        own[name] = tensor
        path, _, last = name.rpartition(".")
        kept = last not in module.get_submodule(path)._non_persistent_buffers_set
        if kept and last != _COUNTS:
            needed.append(name)
    room = _SPARE * sum(tensor.nbytes for tensor in own.values())
    return read(content, max(max_dense_bytes, room), own, needed)
