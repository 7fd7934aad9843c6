"""The state of a run as bytes: safetensors with a JSON header and a checksum."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from sklc.codes import Theta, pack, unpack
from sklc.exceptions import CheckpointError
from sklc.lc.loop import Iterate
from sklc.lc.state import Kept, State

_FORMAT = "4"
_BLANK = "0" * 64
# in the metadata of safetensors, where the quotes of our own JSON are escaped
_FORMAT_FIELD = re.compile(rb'"format":"(\w*)"')
_CHECKSUM_FIELD = re.compile(rb'"checksum":"([0-9a-f]{64})"')
_NUMBERS = "mu", "gap", "loss", "cost", "nbits", "compression_ratio", "seconds"


def to_bytes(state: State, identity: Mapping[str, Any]) -> bytes:
    """Return all of a state, and whose it is.

    Parameters
    ----------
    state : State
    identity : dict
        JSON-compatible: what must be equal to go on from it.

    Raises
    ------
    TypeError
        If the state of the learner holds what is neither tensor nor JSON.
    """
    tensors: dict[str, Tensor] = {}

    def store(prefix: str, items: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the tensors; return the rest, for the header."""
        found = {name: v for name, v in items.items() if isinstance(v, Tensor)}
        tensors.update({prefix + name: tensor for name, tensor in found.items()})
        return {name: value for name, value in items.items() if name not in found}

    def store_theta(prefix: str, theta: Theta) -> dict[str, Any]:
        header, arrays = pack(theta)
        store(prefix, {name: torch.from_numpy(a) for name, a in arrays.items()})
        return header

    def store_kept(name: str, kept: Kept) -> dict[str, Any]:
        return {
            "step": kept.step,
            "theta": store_theta(f"{name}/theta/", kept.theta),
            "learner": store(f"{name}/learner/", kept.learner),
        }

    iterate = state.iterate
    store("", {"weights": iterate.weights, "multipliers": iterate.multipliers})
    header = {
        "identity": identity,
        "step": iterate.step,
        "mu": iterate.mu,
        "gap": iterate.gap,
        "residual": state.residual,
        "mu_init": state.mu_init,
        "mu_factor": state.mu_factor,
        "reference_loss": state.reference_loss,
        "history": state.history,
        "theta": store_theta("theta/", iterate.theta),
        "learner": store("learner/", state.learner),
        "kept": store_kept("kept", state.kept),
        "direct": state.direct and store_kept("direct", state.direct),
        "visited": [
            store_kept(f"visited/{at}", kept) for at, kept in enumerate(state.visited)
        ],
        "reference": state.reference and store("reference/", state.reference),
    }
    text = json.dumps(header, default=_plain)
    content = save(
        _apart(tensors), {"format": _FORMAT, "checksum": _BLANK, "sklc": text}
    )
    found = _CHECKSUM_FIELD.search(content)
    assert found is not None
    start, end = found.span(1)
    return content[:start] + _checksum(content, start, end) + content[end:]


def from_bytes(content: bytes, identity: Mapping[str, Any]) -> State:
    """Return the state that :func:`to_bytes` has written, on the CPU.

    Parameters
    ----------
    content : bytes
    identity : dict
        Of the run that is to go on.

    Raises
    ------
    CheckpointError
        If a single bit is not what it was, or the identity is another one.
    """
    _check_whole(content)
    try:
        n_bytes = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + n_bytes])["__metadata__"]
        header = json.loads(metadata["sklc"])
        others = differences(header["identity"], identity)
        state = None if others else _state(header, load(content))
    except Exception as error:  # whatever a file may hold that somebody else wrote
        raise _damaged(repr(error)) from error
    if state is None:
        msg = (
            f"belongs to another run: {', '.join(others)} differ. Delete it to begin "
            "anew, or give every run a path of its own."
        )
        raise CheckpointError(msg)
    return state


def differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Return where two JSON values differ, by the names of their parts."""
    if one == other:
        return []
    dicts = isinstance(one, dict) and isinstance(other, dict)
    if not dicts or one.get("class") != other.get("class"):
        return [name]
    parts = [
        differences(one.get(key), other.get(key), f"{name}.{key}" if name else key)
        for key in sorted(one.keys() | other.keys())
    ]
    return [part for found in parts for part in found]


def _check_whole(content: bytes) -> None:
    """Raise a CheckpointError unless the checksum is right."""
    size = min(8 + int.from_bytes(content[:8], "little"), len(content))
    version = _FORMAT_FIELD.search(content, 8, size)
    found = _CHECKSUM_FIELD.search(content, 8, size)
    if version and version[1] != _FORMAT.encode():
        msg = (
            f"has format {version[1].decode()}, and this version of sklc reads format "
            f"{_FORMAT}: go on with the version that wrote it, or delete it to begin "
            "anew."
        )
        raise CheckpointError(msg)
    why = ""
    if not (version and found):
        why = "it has no checksum"
    elif found[1] != _checksum(content, *found.span(1)):
        why = "its checksum is wrong"
    if why:
        raise _damaged(why)


def _checksum(content: bytes, start: int, end: int) -> bytes:
    """Return the hash of all but the bytes that hold it."""
    view = memoryview(content)
    found = hashlib.sha256(view[:start])
    found.update(view[end:])
    return found.hexdigest().encode()


def _damaged(why: str) -> CheckpointError:
    return CheckpointError(
        f"is damaged, or no checkpoint of sklc ({why}): delete it to begin anew, or "
        "give another path."
    )


def _state(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> State:
    def below(prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }

    def theta(prefix: str, packed: Mapping[str, Any]) -> Theta:
        return unpack(packed, {n: t.numpy() for n, t in below(prefix).items()})

    def kept(name: str, found: Mapping[str, Any]) -> Kept:
        return Kept(
            step=range(step + 1)[found["step"]],
            theta=theta(f"{name}/theta/", found["theta"]),
            learner=found["learner"] | below(f"{name}/learner/"),
        )

    def number(
        name: str, good: Callable[[float], bool], within: Mapping[str, Any] = header
    ) -> float:
        value = within[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            msg = f"{name}={value!r} is no number"
            raise TypeError(msg)
        if not good(value):
            msg = f"{name}={value!r} is out of range"
            raise ValueError(msg)
        return value

    def positive(value: float) -> bool:
        return 0 < value < math.inf

    step, history, reference = (
        header[name] for name in ("step", "history", "reference")
    )
    if [entry["step"] for entry in history] != list(range(step + 1)):
        msg = f"the history is not that of {step} steps"
        raise ValueError(msg)
    for entry in history:
        for name in _NUMBERS:
            number(name, lambda value: True, entry)
    iterate = Iterate(
        step=step,
        mu=number("mu", positive),
        weights=tensors["weights"],
        multipliers=tensors["multipliers"],
        theta=theta("theta/", header["theta"]),
        gap=number("gap", lambda gap: gap >= 0),
    )
    return State(
        iterate=iterate,
        residual=number("residual", lambda residual: residual >= 0),
        history=history,
        kept=kept("kept", header["kept"]),
        direct=header["direct"] and kept("direct", header["direct"]),
        visited=tuple(
            kept(f"visited/{at}", found) for at, found in enumerate(header["visited"])
        ),
        mu_init=number("mu_init", positive),
        mu_factor=number("mu_factor", lambda factor: 1 <= factor < math.inf),
        reference_loss=number("reference_loss", lambda loss: True),
        learner=header["learner"] | below("learner/"),
        reference=None if reference is None else reference | below("reference/"),
    )


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors on the CPU, none of which shares memory with another."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        if own.untyped_storage().data_ptr() in seen:
            own = own.clone()
        seen.add(own.untyped_storage().data_ptr())
        found[name] = own
    return found


def _plain(value: Any) -> Any:
    """Return numbers and arrays of NumPy as those of Python."""
    if not hasattr(value, "tolist"):
        msg = f"checkpoint holds JSON values, and no {value!r} of the net's history."
        raise TypeError(msg)
    return value.tolist()
