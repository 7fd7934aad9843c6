"""Nested values as tensors and JSON values, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def flattened(value: Any, path: str) -> dict[str, Any]:
    """Return copies of a value's tensors, by path, and of all else, in JSON values.

    Parameters
    ----------
    value : object
        Tensors, arrays, numbers, texts and None, in dicts, lists and tuples.
    path : str
        Where all else is; tensors have longer paths.

    Raises
    ------
    TypeError
        If there is anything else in it.
    """
    tensors: dict[str, Tensor] = {}

    def skeleton(part: Any) -> Any:
        if isinstance(part, np.generic):
            part = part.item()
        if part is None or isinstance(part, bool | int | float | str):
            return part
        if isinstance(part, Tensor | np.ndarray):
            key = f"{path}/{len(tensors)}"
            kind = "tensor" if isinstance(part, Tensor) else "array"
            whole = torch.as_tensor(part).detach()
            tensors[key] = whole.clone(memory_format=torch.contiguous_format)
            return {kind: [key, str(whole.device)]}
        if isinstance(part, Mapping):
            return {"dict": [[skeleton(k), skeleton(v)] for k, v in part.items()]}
        if isinstance(part, list | tuple):
            kind = "tuple" if isinstance(part, tuple) else "list"
            return {kind: [skeleton(each) for each in part]}
        msg = f"a {type(part).__name__}, which is neither tensors nor plain values"
        raise TypeError(msg)

    return {path: skeleton(value), **tensors}


def restored(state: Mapping[str, Any], path: str) -> Any:
    """Return the value that was :func:`flattened`."""

    def value(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        ((kind, held),) = part.items()
        if kind == "tensor":
            return _placed(state[held[0]], held[1])
        if kind == "array":
            return state[held[0]].numpy(force=True).copy()
        if kind == "dict":
            return {_key(value(k)): value(v) for k, v in held}
        each = [value(v) for v in held]
        return tuple(each) if kind == "tuple" else each

    return value(state[path])


def _placed(tensor: Tensor, device: str) -> Tensor:
    """Return a copy of a tensor where it was, if there is such a device."""
    if device == "cpu" or torch.accelerator.is_available():
        return tensor.to(device, copy=True)
    return tensor.clone()


def _key(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key
