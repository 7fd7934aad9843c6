"""What a net takes and what it makes of it, found by trying."""

from collections.abc import Iterator
from itertools import islice, product
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from torch import Tensor, nn

from sklc.lstep.net.parts import Array, cast, dtype_name, few, is_floating, parts_of

_MOST = 16  # of the ways to try


def probed(
    net: NeuralNet, X: Any, *, table: bool
) -> tuple[dict[str, str], Tensor | None, Exception | None]:
    """Find the dtypes in which a net takes samples.

    Integers stay integers unless the net fails on them: an embedding needs them, and a
    linear layer cannot take them. Floating-point numbers come in a dtype that
    parameters of the net have, their own if it is one of these.

    Parameters
    ----------
    net : NeuralNet
    X : data
        Its arrays are looked at; other samples are left as they are.
    table : bool
        Whether it is a table, whose integers may be of any size.

    Returns
    -------
    dtypes : dict of str to str
        By name of the part of the samples. If nothing works, a guess.
    output : Tensor or None
        Of two samples, if it is a tensor, or the first of several.
    error : Exception or None
        Why nothing works.
    """
    parts = parts_of(X)
    if not parts:
        return {}, None, None
    n = len(next(iter(parts.values())))
    index = np.array([0, n - 1]) if n > 1 else np.array([0])
    samples = few(X, index)
    errors = []
    dtypes: dict[str, str] = {}
    for dtypes in islice(_ways(net, parts, table), _MOST):
        try:
            return dtypes, first_output(output_of(net, cast(samples, dtypes))), None
        except Exception as error:  # of whatever kind: the module is the user's
            errors.append(error)
    telling = [error for error in errors if not _is_about_dtypes(error)]
    return dtypes, None, (telling or errors)[-1]


def output_of(net: NeuralNet, samples: Any) -> Any:
    """Return what a net makes of samples, in evaluation."""
    net._set_training(False)
    with torch.no_grad():
        return net.infer(samples)


def first_output(output: Any) -> Tensor | None:
    """Return a tensor that was returned, alone or before others; or None."""
    if isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def _ways(
    net: NeuralNet, parts: dict[str, Array], table: bool
) -> Iterator[dict[str, str]]:
    """Yield ways to cast the parts, those that change the least first."""
    floats = _floating_dtypes(net.module_)
    own = {dtype_name(part) for part in parts.values() if is_floating(part)}
    for floating in sorted(floats, key=lambda name: name not in own):
        options = [
            _options(part, floating, table) if dtype_name(part) else [""]
            for part in parts.values()
        ]
        for chosen in sorted(product(*options), key=lambda way: way.count(floating)):
            ways = dict(zip(parts, chosen, strict=True))
            yield {name: dtype for name, dtype in ways.items() if dtype}


def _options(part: Array, floating: str, table: bool) -> list[str]:
    """Return the dtypes that a part may be cast to."""
    if is_floating(part):
        return [floating]
    whole = ["int64"] if table else [dtype_name(part), "int64"]
    return list(dict.fromkeys([*whole, floating]))


def _floating_dtypes(module: nn.Module) -> list[str]:
    """Return the floating-point dtypes of parameters, the most frequent first."""
    counts: dict[str, int] = {}
    for parameter in module.parameters():
        name = str(parameter.dtype).removeprefix("torch.")
        if parameter.is_floating_point():
            number = 0 if nn.parameter.is_lazy(parameter) else parameter.numel()
            counts[name] = counts.get(name, 0) + number
    return sorted(counts, key=lambda name: -counts[name]) or ["float32"]


def _is_about_dtypes(error: Exception) -> bool:
    words = "dtype", "scalar type", "not implemented for", "data type", "type torch."
    return any(word in str(error) for word in words)
