"""From the content of a file, which nobody is to believe, to codes and tensors."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sklc.codes import Theta, decompress
from sklc.codes.theta import rebuild
from sklc.deploy import coding, labels
from sklc.deploy.container import damaged, parse
from sklc.exceptions import ModelFileError
from sklc.ops.bits import Bytes
from sklc.signature import Signature

Likes = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Contents:
    """What a file holds.

    Attributes
    ----------
    model : dict
        What kind of model it is: JSON values.
    theta : dict of str to Code
    rest : dict of str to Tensor
    signature : Signature
    libraries : dict of str to str
        Versions that wrote it.
    """

    model: dict[str, Any]
    theta: Theta
    rest: dict[str, Tensor]
    signature: Signature
    libraries: dict[str, str]

    def weights(self) -> dict[str, Tensor]:
        """Return all tensors of the model: Δ(Θ) and the rest."""
        return decompress(self.theta) | self.rest


def read(
    content: bytes,
    max_bytes: int,
    like: Likes | None = None,
    needed: Collection[str] = (),
) -> Contents:
    """Return what a file holds.

    Parameters
    ----------
    content : bytes
    max_bytes : int
        What its tensors may take in all: codes, and (where shapes are not known) what
        they stand for.
    like : dict of str to Tensor, default=None
        The tensors that a module has, whose shapes those of the file must have. None
        if nothing is known of them.
    needed : collection of str
        Which of them must be in the file.

    Raises
    ------
    ModelFileError
        If it is no such file. Memory is taken for what fits only.
    """
    header, arrays = parse(content)
    with unbelieved():
        return _Reader(arrays, max_bytes, like, needed).contents(header)


@contextmanager
def unbelieved() -> Iterator[None]:
    """Turn what goes wrong with parts of a file into the one error of files."""
    try:
        yield
    except (ModelFileError, ImportError):
        raise
    except Exception as error:  # whatever a file may hold that somebody else wrote
        msg = f"cannot be used: {error!r:.400}."
        raise ModelFileError(msg) from error


class _Reader:
    def __init__(
        self,
        arrays: dict[str, Bytes],
        max_bytes: int,
        like: Likes | None,
        needed: Collection[str],
    ) -> None:
        self._arrays, self._left = arrays, max_bytes
        self._like, self._needed = like, needed
        self._tensors: dict[str, Tensor] = {}

    def contents(self, header: dict[str, Any]) -> Contents:
        """Return what the header tells of."""
        codes, rest, model = header.pop("codes"), header.pop("rest"), header["model"]
        if self._like is not None and model != {"kind": "net"}:
            msg = f"holds no net, but a {model['kind']}: load it without a module."
            raise ModelFileError(msg)
        names = [name for name, _ in codes]
        twice = len({*names, *rest}) < len(names) + len(rest)
        if twice or not all(type(name) is str for name in names):
            damaged("a weight has no name of its own")
        self._check_names({*names, *rest})
        for name, entry in rest.items():
            self._check_fit(name, entry["shape"], coding.dtype_of(entry))
        theta = {name: rebuild(entry, name, self._fetch) for name, entry in codes}
        for name, code in theta.items():
            self._check_fit(name, code.shape, torch.float64)
            if self._like is None:
                self._take(code.shape.numel() * torch.float64.itemsize)
        tensors = {name: self._fetch(name, entry) for name, entry in rest.items()}
        if self._tensors.keys() != self._arrays.keys():
            damaged("it has bytes that nothing refers to")
        texts = [model["kind"], *header["libraries"].values()]
        if not all(type(text) is str for text in texts):
            damaged("its kind and its versions are no texts")
        header["signature"] = labels.rebuild_signature(header["signature"])
        return Contents(theta=theta, rest=tensors, **header)

    def _fetch(self, name: str, entry: Any) -> Tensor:
        """Return the tensor of a stream, or of one that is shared."""
        if isinstance(entry, str):
            return self._tensors[entry]
        name = entry.get("name", name)
        if name in self._tensors:
            damaged(f"two streams are {name}")
        self._take(coding.n_bytes(entry))
        tensor = coding.decode(entry, self._arrays[name])
        found = list(tensor.shape), tensor.dtype
        if found != (entry["shape"], coding.dtype_of(entry)):
            damaged(f"{name} is another tensor than it says")
        self._tensors[name] = tensor
        return tensor

    def _take(self, n_bytes: int) -> None:
        self._left -= n_bytes
        if self._left < 0:
            msg = (
                "takes more memory than max_dense_bytes allows: raise that, if you "
                "trust the file."
            )
            raise ModelFileError(msg)

    def _check_names(self, names: set[str]) -> None:
        if self._like is None:
            return
        lacking = sorted(set(self._needed) - names)
        unknown = sorted(names - self._like.keys())
        if lacking or unknown:
            msg = "does not fit the module:"
            if lacking:
                msg += f" the file lacks {', '.join(lacking)};"
            if unknown:
                msg += f" the module lacks {', '.join(unknown)};"
            msg += " give the architecture that was compressed."
            raise ModelFileError(msg)

    def _check_fit(self, name: str, shape: Sequence[int], dtype: torch.dtype) -> None:
        """Raise unless the module has such a tensor, whatever its precision."""
        if self._like is None:
            return
        own = self._like[name]
        real = own.is_floating_point() and dtype.is_floating_point
        if tuple(shape) != tuple(own.shape):
            which = f"{name} is {tuple(shape)}, and {tuple(own.shape)} in the module"
        elif own.dtype != dtype and not real:
            which = f"{name} is of {dtype}, and of {own.dtype} in the module"
        else:
            return
        msg = (
            f"does not fit the module: {which}. Give the architecture that was "
            "compressed."
        )
        raise ModelFileError(msg)
