"""Deep copies of modules, and of what holds some."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn


def deepcopied(
    value: Any, modules: list[nn.Module] | None = None, memo: Any = None
) -> Any:
    """Return a deep copy of a module, or of what holds some.

    Tensors that a forward pass has left in a module, with a graph behind them, are
    copied without it.

    Parameters
    ----------
    value : object
    modules : list of Module, default=None
        Those in it; None if it is one itself.
    memo : dict, default=None
        Copies that there are already, as for :func:`copy.deepcopy`.

    Raises
    ------
    ValueError
        If it holds what cannot be copied.
    """
    memo = {} if memo is None else memo
    for module in [value] if modules is None else modules:
        for layer in module.modules():
            for tensor in _tensors(vars(layer)):
                if not tensor.is_leaf:
                    memo[id(tensor)] = tensor.detach().clone()
    try:
        return copy.deepcopy(value, memo)
    except (TypeError, RuntimeError) as error:
        msg = (
            f"The model cannot be copied ({error}), and what is passed in must stay "
            "as it is: take out what copy.deepcopy cannot copy, such as locks."
        )
        raise ValueError(msg) from error


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
