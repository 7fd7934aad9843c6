"""Models out of files: nets that predict, linear models, and modules to fill."""

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
        If a net comes without its module, or with what is none.
    """
    with torch.device("cpu"), _of(path) as content:
        if module is None:
            contents = read(content, max_dense_bytes)
            if contents.model["kind"] != "net":
                with unbelieved():
                    return linear.rebuild(contents.model, contents.weights())
            msg = f"{path} holds a net: give load(..., module=...) its architecture."
            raise TypeError(msg)
        if isinstance(module, nn.Module):
            net = copy.deepcopy(_module(module))
        else:
            net = _module(module() if callable(module) else module, "or make one, ")
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
    ValueError
        If a tensor of the module cannot be written in place.
    TypeError
        If it is no module.
    """
    own_module = _module(module)
    with torch.device("cpu"), _of(path) as content:
        weights = _read_into(own_module, content, MAX_DENSE_BYTES).weights()
    own = {**dict(own_module.named_parameters()), **dict(own_module.named_buffers())}
    with torch.no_grad():
        _fill({name: (own[name], tensor) for name, tensor in weights.items()})
    return module


def _module(given: Any, also: str = "") -> nn.Module:
    """Return a module, without what torch.compile puts around it."""
    given = getattr(given, "_orig_mod", given)
    if isinstance(given, nn.Module):
        return given
    msg = f"module must be a module of PyTorch, {also}got {given!r:.100}"
    if isinstance(getattr(given, "module_", None), nn.Module):
        msg += ": give its module_"
    elif isinstance(given, Mapping):
        msg += ": a dict of weights has no architecture"
    raise TypeError(msg)


def _fill(pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Write tensors in place, all or none."""
    before: list[tuple[Tensor, Tensor]] = []
    try:
        for own, tensor in pairs.values():
            before.append((own, own.clone()))
            own.copy_(tensor)
    except BaseException as error:
        for own, tensor in reversed(before):
            with suppress(RuntimeError):  # which is the one that cannot be written
                own.copy_(tensor)
        if not isinstance(error, Exception):
            raise
        name = [*pairs][len(before) - 1]
        msg = (
            f"{name} cannot be written in place ({error}): give the module a plain "
            "tensor there, such as its clone(). The module is as it was."
        )
        raise ValueError(msg) from error


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
    room = _SPARE * sum(t.numel() * t.itemsize for t in own.values())
    return read(content, max(max_dense_bytes, room), own, needed)
