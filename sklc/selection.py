"""Which parameters: by pattern, list of patterns or callable; and the default."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import Tensor

Selector = str | Sequence[str] | Callable[[str, Tensor], bool]


def default(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the parameters of two or more dimensions."""
    return [name for name, weight in weights.items() if weight.ndim >= 2]


def select(
    selector: Selector, weights: Mapping[str, Tensor], *, strict: bool = True
) -> list[str]:
    """Return the names that a selector picks, in the order of `weights`.

    Parameters
    ----------
    selector : str, list of str or callable
        A shell pattern of module names (``"fc*"``, or ``"*"`` for all) picks the
        parameters of two or more dimensions of those modules: their weights. A pattern
        of full parameter names
        (``"fc1.bias"``) picks whatever it matches. A callable ``f(name, tensor)`` says
        whether it wants a parameter.
    weights : dict of str to Tensor
    strict : bool, default=True
        Whether to pick nothing is an error.

    Raises
    ------
    TypeError
        If the selector is none of these.
    ValueError
        If it, or one of the patterns of a list, picks nothing.
    """
    if callable(selector):
        picked = {name for name, weight in weights.items() if selector(name, weight)}
        if strict and not picked:
            msg = f"The layers callable {selector!r} picks none of {_listed(weights)}."
            raise ValueError(msg)
    else:
        patterns = [selector] if isinstance(selector, str) else selector
        if not isinstance(patterns, list | tuple) or not all(
            isinstance(pattern, str) for pattern in patterns
        ):
            msg = (
                "layers must be a pattern, a list of patterns or a callable "
                f"f(name, tensor), got {selector!r}."
            )
            raise TypeError(msg)
        if not patterns:
            msg = "layers is an empty list: name at least one layer."
            raise ValueError(msg)
        picked = {
            name for pattern in patterns for name in _match(pattern, weights, strict)
        }
    return [name for name in weights if name in picked]


def _match(pattern: str, weights: Mapping[str, Tensor], strict: bool) -> list[str]:
    modules = {name: name.rpartition(".")[0] for name in weights}
    picked = [
        name for name in default(weights) if fnmatchcase(modules[name], pattern)
    ] or [name for name in weights if fnmatchcase(name, pattern)]
    if strict and not picked:
        msg = (
            f"The layers pattern {pattern!r} matches no weight of a module and no "
            f"parameter. The parameters are {_listed(weights)}."
        )
        raise ValueError(msg)
    return picked


def _listed(weights: Mapping[str, Tensor]) -> str:
    return ", ".join(map(repr, weights)) or "none at all"
