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

# as for the tensors of a GPU: by their names in Python
_VIEWS = {"numpy", "__array__"}
_MIXING = {"copy_", "to", "type_as", "__getitem__", "__setitem__"}
_LEAVING = {"cpu", "tolist"}
# and as operators, which in a composition of them have no other name
_WAITING = {
    *("_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select"),
    *("_unique2", "unique_consecutive", "unique_dim", "bincount"),
    *("_linalg_svd", "_linalg_eigh", "linalg_qr", "geqrf"),  # which look for errors
}


def is_elsewhere(place):
    """Whether a device, by whatever it is given, is the one that the CPU plays."""
    return isinstance(place, str) and place == ELSEWHERE


def _is_here(place):
    return isinstance(place, str | torch.device) and not is_elsewhere(place)


def _flat(values):
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


class Elsewhere(torch.Tensor):
    """A tensor that is elsewhere."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.__name__
        if name == "__get__" and func == torch.Tensor.device.__get__:
            return ELSEWHERE
        if name == "__get__" and func == torch.Tensor.is_cpu.__get__:
            return False
        if name in _VIEWS:
            msg = "can't convert a tensor that is elsewhere to numpy: use .cpu() first"
            raise TypeError(msg)
        given = list(_flat([*args, *kwargs.values()]))
        here = [x for x in given if type(x) in (torch.Tensor, torch.nn.Parameter)]
        if name not in _MIXING and any(tensor.ndim for tensor in here):
            msg = f"{name}: expected all tensors to be on the same device"
            raise RuntimeError(msg)
        leaves = name in _LEAVING or (
            name == "to" and (here or any(map(_is_here, given)))
        )
        if leaves:
            _count(name)
        found = super().__torch_function__(func, types, args, kwargs)
        if leaves and isinstance(found, torch.Tensor):
            return found.clone().as_subclass(torch.Tensor)
        if name == "copy_":
            return args[0]
        return found

    def __deepcopy__(self, memo):
        copied = self.detach().clone().requires_grad_(self.requires_grad)
        return memo.setdefault(id(self), copied)


class Visible(TorchFunctionMode):
    """While it lasts, the device is known to all functions that take one."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not any(map(is_elsewhere, [*args, *kwargs.values()])):
            return func(*args, **kwargs)
        args = ["cpu" if is_elsewhere(x) else x for x in args]
        kwargs = {k: "cpu" if is_elsewhere(x) else x for k, x in kwargs.items()}
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*args, **kwargs)
        if isinstance(found, Elsewhere):
            return found
        moved = func is torch.Tensor.to and found is args[0]
        return (found.clone() if moved else found).as_subclass(Elsewhere)


# ---- waiting for a device ----

_counters: list[list[str]] = []


def _count(name):
    for counter in _counters:
        counter.append(name)


class _Operators(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in _WAITING or (name == "index" and _has_mask(args[1])):
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
