"""From a compressed model to the content of its file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklc import __version__
from sklc.codes import Code, Dense, Factored, Sum, Theta, decompress, dtypes
from sklc.codes.streams import Floats, Stream
from sklc.codes.theta import describe, mapped, to
from sklc.deploy import coding, labels, linear
from sklc.deploy.container import to_bytes
from sklc.deploy.model import CompressedModel
from sklc.exceptions import warn
from sklc.ops.bits import Bytes

_MUCH = 1e-2  # relative change of a weight that is warned of


@dataclass(frozen=True, eq=False)
class Written:
    """What a file holds, and who takes which part of it.

    Attributes
    ----------
    content : bytes
    theta : dict of str to Code
        As it will be read: values rounded, factors multiplied where that is smaller.
    n_bytes : dict of str to int
        Of the streams of each weight and of all else, by name; the first of those that
        share a stream has it.
    change : dict of str to float
        Relative change of each weight, in the Frobenius norm.
    """

    content: bytes
    theta: Theta
    n_bytes: dict[str, int]
    change: dict[str, float]


@torch.no_grad()
def write(model: CompressedModel, values: str | None = None) -> Written:
    """Return the content of a model's file.

    Parameters
    ----------
    model : CompressedModel
    values : {"float16", "bfloat16"} or None
        Dtype of the values of Θ in the file. None leaves them as they are.

    Raises
    ------
    ValueError
        If `values` is another, or cannot hold a value.
    TypeError
        If the model has what no file holds, such as labels that are dates, or buffers
        that are sparse.
    """
    if values is not None and values not in coding.VALUES:
        msg = f"values must be 'float16', 'bfloat16' or None, got {values!r}."
        raise ValueError(msg)
    dtype = None if values is None else coding.VALUES[values]
    theta = {name: smaller(code) for name, code in to(model.theta, "cpu").items()}
    rounded = theta if dtype is None else mapped(theta, lambda t: _rounded(t, dtype))
    change = {} if dtype is None else _change(theta, rounded, str(values))
    for name, tensor in model.rest.items():
        _check_dense(name, tensor)
    streams = _Streams(dtype)
    codes, rest, sizes = [], {}, {}
    for name, code in rounded.items():
        before = streams.n_bytes
        codes.append([name, describe(code, name, streams.store)])
        sizes[name] = streams.n_bytes - before
    for name, tensor in model.rest.items():
        before = streams.n_bytes
        rest[name] = streams.put(name, Floats(tensor), None)
        sizes[name] = streams.n_bytes - before
    header = {
        "codes": codes,
        "libraries": {
            "numpy": np.__version__,
            "sklc": __version__,
            "torch": str(torch.__version__),
        },
        "model": {"kind": "net"} if model.is_net else linear.describe(model.model),
        "rest": rest,
        "signature": labels.describe_signature(model.signature),
    }
    return Written(to_bytes(header, streams.arrays), rounded, sizes, change)


def _check_dense(name: str, tensor: Tensor) -> None:
    """Raise unless a file holds such tensors."""
    dtype = dtypes.name_of(tensor.dtype)
    if tensor.layout != torch.strided or dtype not in dtypes.NAMES:
        msg = (
            f"{name} cannot be saved: a file holds dense tensors of "
            f"{', '.join(dtypes.NAMES)}, and this is one of {dtype}, "
            f"{tensor.layout}. Convert it in the module, and fit again."
        )
        raise TypeError(msg)


class _Streams:
    """The arrays of a file.

    Parameters
    ----------
    values : torch.dtype or None
        Of floats that are wider.
    """

    def __init__(self, values: torch.dtype | None) -> None:
        self._values = values
        self._names: dict[int, tuple[str, Tensor]] = {}
        self.arrays: dict[str, Bytes] = {}
        self.n_bytes = 0

    def store(self, name: str, stream: Stream) -> Any:
        """Put a stream away; return what reads it, or the name of one that is there."""
        key = id(stream.tensor)
        if key in self._names:
            return self._names[key][0]
        entry = self.put(name, stream, self._values)
        self._names[key] = entry.get("name", name), stream.tensor
        return entry

    def put(self, name: str, stream: Stream, values: torch.dtype | None) -> Any:
        """Put a stream away, and return what reads it."""
        entry, packed = coding.encode(stream, values)
        unique = name
        while unique in self.arrays:  # a weight "a.b" beside a term "b" of a weight "a"
            unique += "'"
        self.arrays[unique] = packed
        self.n_bytes += len(packed)
        return entry if unique == name else {**entry, "name": unique}


def smaller(code: Code) -> Code:
    """Return a code with factors multiplied where the matrix takes less."""
    if isinstance(code, Sum):
        return replace(code, terms={n: smaller(term) for n, term in code.terms.items()})
    if isinstance(code, Factored):
        factors = code.left.numel() + code.right.numel()
        return Dense(code.dense()) if code.shape.numel() < factors else code
    return code


def _rounded(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor with values that a narrower dtype holds, in its own."""
    narrow = coding.narrows(tensor, dtype)
    return tensor.to(dtype).to(tensor.dtype) if narrow else tensor


def _change(
    theta: Mapping[str, Code], rounded: Mapping[str, Code], values: str
) -> dict[str, float]:
    """Return how much weights change by rounding; refuse to lose one, and warn."""
    before, after = decompress(theta), decompress(rounded)
    found = {}
    for name, weight in before.items():
        if bool((weight.isfinite() & ~after[name].isfinite()).any()):
            msg = (
                f"values={values!r} cannot hold a value of {name}, whose largest "
                f"weight is {float(weight.abs().max()):.3g}: use 'bfloat16' or None."
            )
            raise ValueError(msg)
        norm = float(torch.linalg.vector_norm(weight.double()))
        away = float(torch.linalg.vector_norm((after[name] - weight).double()))
        found[name] = away / norm if norm else 0.0
    much = [f"{name} by {share:.2%}" for name, share in found.items() if share > _MUCH]
    if much:
        msg = (
            f"values={values!r} changes {', '.join(much)}: its range does not suit "
            "these weights. Use another, or None, or score the model that is loaded."
        )
        warn(msg)
    return found
