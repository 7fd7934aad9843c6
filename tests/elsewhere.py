"""A device that the CPU plays, so that any machine tests what runs on others.

Its tensors are in the memory of the CPU, but behave as those of a GPU: they say where
they are, do not mix with tensors of the CPU, and have no view in NumPy. What would make
the host wait for the device is counted.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class Device(str):
    """The name of the device, with what is asked of a ``torch.device``."""

    __slots__ = ()
    index = None

    @property
    def type(self):
        return str(self)


ELSEWHERE = Device("elsewhere")
DEVICES = ["cpu", ELSEWHERE, *(["cuda"] if torch.cuda.is_available() else [])]

# what is special about them, as of the tensors of a GPU: methods by their names
_VIEWS = {"numpy", "__array__"}
_MIXING = {"copy_", "to", "type_as", "__getitem__", "__setitem__"}
_LEAVING = {"cpu", "tolist"}


class Elsewhere(torch.Tensor):
    """A tensor that is elsewhere."""

    is_cpu = False
    device = ELSEWHERE
    __torch_function__ = torch._C._disabled_torch_function_impl

    def __deepcopy__(self, memo):
        copied = self.detach().clone().requires_grad_(self.requires_grad)
        return memo.setdefault(id(self), copied)


class Visible(TorchFunctionMode):
    """While it lasts, the device exists for all functions of torch."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        found = set()
        _places(args, found)
        if kwargs:
            _places(kwargs.values(), found)
        if not found & {"elsewhere", "to elsewhere"}:
            return func(*args, **kwargs)
        name = func.__name__
        if name in _VIEWS:
            msg = "can't convert a tensor that is elsewhere to numpy: use .cpu() first"
            raise TypeError(msg)
        if "here" in found and name not in _MIXING:
            msg = f"{name}: expected all tensors to be on the same device"
            raise RuntimeError(msg)
        if "to elsewhere" in found:
            args = ["cpu" if _is_elsewhere(x) else x for x in args]
            kwargs = {k: "cpu" if _is_elsewhere(x) else x for k, x in kwargs.items()}
        result = func(*args, **kwargs)
        if name in _LEAVING or (name == "to" and _leaves(args[0], found)):
            _count(name)
            if not isinstance(result, torch.Tensor):
                return result
            return result.clone().as_subclass(torch.Tensor)
        if name == "to" and result is args[0] and not isinstance(result, Elsewhere):
            result = result.clone()
        return args[0] if name == "copy_" else _wrapped(result)


def _is_elsewhere(value):
    return type(value) is Device or (type(value) is str and value == ELSEWHERE)


def _places(values, found):
    """Collect where tensors are, and what devices are named."""
    for value in values:
        kind = type(value)
        if kind is Elsewhere:
            found.add("elsewhere")
        elif kind is torch.Tensor or kind is torch.nn.Parameter:
            found.add("here" if value.ndim else "a scalar here")
        elif _is_elsewhere(value):
            found.add("to elsewhere")
        elif kind is torch.device or kind is str:
            found.add("to here")
        elif kind is list or kind is tuple:
            _places(value, found)


def _leaves(tensor, found):
    """Whether ``tensor.to(...)``, which found these places, is on the CPU."""
    return isinstance(tensor, Elsewhere) and bool(
        found & {"here", "a scalar here", "to here"}
    )


def _wrapped(result):
    if type(result) is torch.Tensor:
        return result.as_subclass(Elsewhere)
    if isinstance(result, list | tuple) and type(result) is not torch.Size:
        return type(result)(map(_wrapped, result))
    return result


# ---- waiting for a device ----

# operators, which in a composition of them have no other name
_WAITING = {
    *("_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select"),
    *("_unique2", "unique_consecutive", "unique_dim", "bincount", "repeat_interleave"),
    *("_linalg_svd", "_linalg_eigh", "linalg_qr", "geqrf"),  # which look for errors
}
_INDEXING = {"index", "index_put", "index_put_"}  # with a mask
_counters: list[list[str]] = []


def _count(name):
    for counter in _counters:
        counter.append(name)


class _Operators(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in _WAITING or (name in _INDEXING and _has_mask(args[1])):
            _count(name)
        return func(*args, **(kwargs or {}))


def _has_mask(indices):
    return any(index is not None and index.dtype == torch.bool for index in indices)


@contextmanager
def waiting() -> Iterator[list[str]]:
    """List what makes the host wait for the device, while it lasts."""
    counter: list[str] = []
    _counters.append(counter)
    try:
        with _Operators():
            yield counter
    finally:
        _counters.remove(counter)
