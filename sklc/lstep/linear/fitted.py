"""What a fit of scikit-learn sets, as tensors and JSON values, and back again."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklc.lstep.linear.arrays import Array

_SHAPES = "shapes"  # that the model has its weights in, by their names


def attributes(model: Any) -> dict[str, Any]:
    """Return the fitted attributes of a model, but for the values of its weights.

    Arrays of numbers become tensors; those of labels and names, lists with a dtype.
    """
    found: dict[str, Any] = {_SHAPES: {}}
    for name, value in vars(model).items():
        if not name.endswith("_") or name.startswith("_"):
            continue
        if name in ("coef_", "intercept_"):
            found[_SHAPES][name] = list(np.shape(value))
        found[name] = _stored(value)
    return found


def restore(model: Any, state: Mapping[str, Any]) -> None:
    """Give a model the attributes of another one, and room for its weights."""
    for name, value in state.items():
        if name != _SHAPES:
            setattr(model, name, _loaded(value))
    for name, shape in state[_SHAPES].items():
        setattr(model, name, np.reshape(getattr(model, name), shape))


def put(model: Any, name: str, weight: Array) -> None:
    """Set the weights of a fitted model, in the shape that it has them in."""
    own = weight.reshape(np.shape(getattr(model, name)))
    setattr(model, name, own.copy() if own.ndim else own[()])


@contextmanager
def quiet(model: Any) -> Iterator[Any]:
    """Lend a model whose training draws nothing from the generators of the process.

    What it draws decides only in which order samples are seen, on the way to the only
    optimum.
    """
    before = getattr(model, "random_state", False)
    if before is None:
        model.random_state = 0
    try:
        yield model
    finally:
        if before is None:
            model.random_state = None


def _stored(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biuf":
            return torch.from_numpy(value.copy())
        return {"list": value.tolist(), "dtype": value.dtype.str}
    return value.item() if isinstance(value, np.generic) else value


def _loaded(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy().copy()
    if isinstance(value, dict):
        return np.array(value["list"], dtype=value["dtype"])
    return value
