"""Tensors as the kernels want them: the dtype to compute in, and NumPy's view."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x` in a dtype that kernels know: float32 for half precision, or as is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def sum_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype to sum `x` in: double precision where its device has that."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def numpy_view(x: Tensor) -> Any:
    """Return a CPU tensor as a NumPy array on its memory, and any other as it is.

    Code for one is code for both where they share operators. NumPy's stay in one
    thread: waking others, and waiting for them where the machine is busy, takes longer
    than they save.
    """
    return x.detach().numpy() if x.is_cpu else x


def host_copies(tensors: Sequence[Tensor]) -> list[NDArray[Any]]:
    """Return tensors as arrays of NumPy; those of a device wait for it once a dtype."""
    found: list[Any] = [tensor.detach() for tensor in tensors]
    away = [at for at, tensor in enumerate(found) if not tensor.is_cpu]
    for dtype in {found[at].dtype for at in away}:
        own = [at for at in away if found[at].dtype == dtype]
        flat = torch.cat([found[at].reshape(-1) for at in own]).cpu()
        parts = flat.split([found[at].numel() for at in own])
        for at, part in zip(own, parts, strict=True):
            found[at] = part.view(found[at].shape)
    return [tensor.numpy() for tensor in found]


def numbers(values: Iterable[Any]) -> list[Any]:
    """Return numbers as they are, and scalar tensors as numbers.

    Those leave their device all at once: the host waits for it once.
    """
    listed = list(values)
    scalars = [value for value in listed if isinstance(value, Tensor)]
    if not scalars:
        return listed
    home = scalars[0].device
    found = iter(torch.stack([scalar.to(home) for scalar in scalars]).tolist())
    return [next(found) if isinstance(value, Tensor) else value for value in listed]
