"""What concerns Θ as a whole: a dict of codes by weight, which may share tensors."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklc.codes import dtypes, streams
from sklc.codes.base import Code, descendants
from sklc.codes.streams import Stream
from sklc.ops.backend import numbers

#: Compressed weights: a code for each, by name.
Theta = dict[str, Code]


def decompress(theta: Mapping[str, Code]) -> dict[str, Tensor]:
    """Return Δ(Θ), the weights that the codes stand for."""
    return {name: code.dense() for name, code in theta.items()}


def nbits(theta: Mapping[str, Code]) -> int:
    """Return the bits of Θ, before entropy coding; shared tensors count once."""
    return sum(nbits_by_weight(theta).values())


def nbits_by_weight(theta: Mapping[str, Code]) -> dict[str, int]:
    """Return the bits of each weight in Θ, before entropy coding, by its name.

    A tensor that several share counts for the first of them. All that depends on the
    values of tensors leaves their device at once.
    """
    owners: list[str] = []
    sizes: list[int | Tensor] = []
    counted: set[int] = set()
    for name, code in theta.items():
        for stream in code.streams().values():
            if id(stream.tensor) not in counted:
                counted.add(id(stream.tensor))
                owners.append(name)
                sizes.append(stream.nbits)
    found = dict.fromkeys(theta, 0)
    for name, size in zip(owners, numbers(sizes), strict=True):
        found[name] += size
    return found


def to(theta: Mapping[str, Code], device: str | torch.device) -> Theta:
    """Return Θ on another device; what was shared stays shared."""
    return mapped(theta, lambda tensor: tensor.to(device))


def mapped(theta: Mapping[str, Code], function: Callable[[Tensor], Tensor]) -> Theta:
    """Apply a function to each tensor of Θ, once; what was shared stays shared."""
    done: dict[int, Tensor] = {}

    def apply(tensor: Tensor) -> Tensor:
        if id(tensor) not in done:
            done[id(tensor)] = function(tensor)
        return done[id(tensor)]

    return {name: code.map(apply) for name, code in theta.items()}


def trainable(theta: Mapping[str, Code]) -> Theta:
    """Return a copy of Θ whose degrees of freedom take gradients."""
    return mapped(
        theta,
        lambda tensor: (
            tensor.detach().clone().requires_grad_(tensor.is_floating_point())
        ),
    )


def degrees_of_freedom(theta: Mapping[str, Code]) -> list[Tensor]:
    """Return the distinct floating-point tensors of Θ: all that can be trained."""
    tensors = [tensor for code in theta.values() for tensor in code.tensors()]
    free = {id(tensor): tensor for tensor in tensors if tensor.is_floating_point()}
    return list(free.values())


def structure(theta: Mapping[str, Code]) -> bytes:
    """Return what is equal for all Θ that differ in their degrees of freedom alone."""
    found = hashlib.sha256()
    for name, code in theta.items():
        found.update(f"{name} {type(code).__name__}".encode())
        for tensor in code.tensors():
            found.update(str(tuple(tensor.shape)).encode())
            if not tensor.is_floating_point():
                found.update(tensor.cpu().numpy().tobytes())
    return found.digest()


def multiplicities(theta: Mapping[str, Code]) -> list[tuple[Tensor, Tensor]]:
    """Return which tensors of Θ stand for many weights, and for how many.

    Returns
    -------
    list of (tensor, number)
        Each tensor once; the numbers have its shape.
    """
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for code in theta.values():
        for tensor, number in code.multiplicities():
            before = found.get(id(tensor), (tensor, torch.zeros_like(number)))[1]
            found[id(tensor)] = tensor, before + number
    return list(found.values())


def pack(theta: Mapping[str, Code]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Pack Θ into bytes: ``nbits(theta)`` of them, each stream rounded up to bytes.

    Returns
    -------
    header : dict
        JSON-compatible: kinds, settings and shapes of the codes, and which stream holds
        each of their tensors.
    arrays : dict of str to ndarray of uint8
        The streams; a tensor that several codes share is one of them.
    """
    names: dict[int, str] = {}
    arrays: dict[str, np.ndarray] = {}
    headers: dict[str, Any] = {}

    def store(name: str, stream: Stream) -> str:
        key = id(stream.tensor)
        if key not in names:
            while name in headers:  # a weight "a.b" beside a term "b" of a weight "a"
                name += "'"
            names[key] = name
            headers[name], arrays[name] = stream.pack()
        return names[key]

    codes = {name: describe(code, name, store) for name, code in theta.items()}
    return {"codes": codes, "streams": headers}, arrays


def describe(
    code: Code, name: str, store: Callable[[str, Stream], Any]
) -> dict[str, Any]:
    """Return what rebuilds a code, but for its streams.

    Parameters
    ----------
    code : Code
    name : str
        Of its weight.
    store : callable
        Puts a stream away, given its name, and returns what finds it again.

    Returns
    -------
    dict
        JSON-compatible, if what `store` returns is. Order matters in lists only.
    """
    entry: dict[str, Any] = {"kind": type(code).__name__}
    own = code.streams()
    for field in dataclasses.fields(code):  # type: ignore[arg-type]
        value = getattr(code, field.name)
        if field.name in own:
            found = store(f"{name}.{field.name}", own[field.name])
            entry[field.name] = {"stream": found}
        elif isinstance(value, Tensor):  # fixed, and so small that it is a setting
            dtype = dtypes.name_of(value.dtype)
            entry[field.name] = {"tensor": value.tolist(), "dtype": dtype}
        elif isinstance(value, dict):
            entry[field.name] = {
                "codes": [
                    [part, describe(inner, f"{name}.{part}", store)]
                    for part, inner in value.items()
                ]
            }
        else:
            entry[field.name] = value
    return entry


def unpack(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Theta:
    """Rebuild, on the CPU, the Θ that :func:`pack` packed."""
    tensors = {
        name: streams.unpack(entry, arrays[name])
        for name, entry in header["streams"].items()
    }
    return {
        name: rebuild(entry, name, lambda _, stream: tensors[stream])
        for name, entry in header["codes"].items()
    }


def rebuild(
    entry: Mapping[str, Any], name: str, fetch: Callable[[str, Any], Tensor]
) -> Code:
    """Rebuild a code that :func:`describe` described, and validate it.

    Parameters
    ----------
    entry : dict
    name : str
        Of its weight.
    fetch : callable
        From the name of a stream, and what `store` returned for it, to its tensor.

    Raises
    ------
    ValueError
        If the entry describes no code, or one of an unknown kind.
    """
    kinds = {kind.__name__: kind for kind in descendants(Code)}
    if entry["kind"] not in kinds:
        msg = (
            f"Unknown kind of code {entry['kind']!r}: import the module that "
            f"defines it first, or upgrade sklc. Known are {', '.join(sorted(kinds))}."
        )
        raise ValueError(msg)
    kind = kinds[entry["kind"]]
    own = {field.name for field in dataclasses.fields(kind)}
    if own != entry.keys() - {"kind"}:
        msg = f"A {entry['kind']} has the fields {', '.join(sorted(own))}."
        raise ValueError(msg)

    def field(part: str, value: Any) -> Any:
        match value:
            case {"stream": found}:
                return fetch(f"{name}.{part}", found)
            case {"tensor": content, "dtype": dtype}:
                return torch.tensor(content, dtype=dtypes.dtype_of(dtype))
            case {"codes": parts}:  # pairs, or a dict where order was kept
                return {
                    inner: rebuild(described, f"{name}.{inner}", fetch)
                    for inner, described in dict(parts).items()
                }
            case list():
                return tuple(value)
        return value

    code: Code = kind(
        **{part: field(part, value) for part, value in entry.items() if part != "kind"}
    )
    code.validate()
    return code
