"""Runs that can be killed: their state on disk after every step."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sklc.codes import Code, pack, to, unpack
from sklc.lc.loop import Iterate, Layout
from sklc.lc.record import Kept, Record

_FORMAT = 1


class Checkpoint:
    """The state of a run in one file: safetensors, with a JSON header.

    The file is replaced as a whole, so that a process that is killed leaves either the
    old one or the new one.

    Parameters
    ----------
    path : str or Path
    identity : dict
        JSON-compatible: what must be equal to go on from the file, such as the scheme
        and the data.
    """

    def __init__(self, path: str | os.PathLike[str], identity: dict[str, Any]) -> None:
        self.path = Path(path)
        self.identity = json.loads(json.dumps(identity))

    def save(
        self,
        iterate: Iterate,
        record: Record,
        mu_init: float,
        mu_factor: float,
        reference_loss: float,
    ) -> None:
        """Write the state after a step, the learner being at its weights."""
        tensors: dict[str, Tensor] = {"multipliers": iterate.multipliers}

        def store(prefix: str, items: Mapping[str, Any]) -> dict[str, Any]:
            """Keep the tensors; return the rest, for the header."""
            rest = {}
            for name, value in items.items():
                if isinstance(value, Tensor):
                    tensors[prefix + name] = value
                else:
                    rest[name] = value
            return rest

        def store_theta(prefix: str, theta: Mapping[str, Code]) -> dict[str, Any]:
            header, arrays = pack(theta)
            store(prefix, {n: torch.from_numpy(a) for n, a in arrays.items()})
            return header

        kept = record.kept
        header = {
            "format": _FORMAT,
            "identity": self.identity,
            "step": iterate.step,
            "mu": iterate.mu,
            "gap": iterate.gap,
            "mu_init": mu_init,
            "mu_factor": mu_factor,
            "reference_loss": reference_loss,
            "history": record.history,
            "theta": store_theta("theta/", iterate.theta),
            "kept": {"step": kept.step, "objective": kept.objective},
            "kept_theta": store_theta("kept_theta/", kept.theta),
            "learner": store("learner/", record.learner.state_dict()),
        }
        header["kept_rest"] = store("kept/", kept.snapshot)
        copies = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        _replace(self.path, save(copies, {"sklc": json.dumps(header, default=_plain)}))

    def load(self, record: Record) -> tuple[Iterate, float, float, float] | None:
        """Go on from the file, if there is one.

        Returns
        -------
        iterate, mu_init, mu_factor, reference_loss
            Or None. The record, and the learner in it, are brought to that state.

        Raises
        ------
        ValueError
            If the file is damaged, or is that of another run.
        """
        if not self.path.exists():
            return None
        header, tensors = self._read()
        learner = record.learner

        def below(prefix: str) -> dict[str, Tensor]:
            return {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }

        def theta(name: str) -> dict[str, Code]:
            arrays = {n: t.numpy() for n, t in below(f"{name}/").items()}
            return to(unpack(header[name], arrays), device)

        learner.load_state_dict(header["learner"] | below("learner/"))
        weights = learner.weights()
        device = next(iter(weights.values())).device
        current = theta("theta")
        layout = Layout.of({name: weights[name] for name in current})
        iterate = Iterate(
            step=header["step"],
            mu=header["mu"],
            weights=layout.flatten(weights),
            multipliers=tensors["multipliers"].to(device),
            theta=current,
            gap=header["gap"],
        )
        loss, size = header["kept"]["objective"]
        snapshot = {name: t.to(device) for name, t in below("kept/").items()}
        snapshot |= header["kept_rest"]
        record.kept = Kept(
            header["kept"]["step"], (loss, size), theta("kept_theta"), snapshot
        )
        record.go_on(header["history"])
        schedule = header["mu_init"], header["mu_factor"]
        return iterate, *schedule, header["reference_loss"]

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        try:
            with safe_open(self.path, "pt") as file:
                header = json.loads((file.metadata() or {})["sklc"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            identity, version = header["identity"], header["format"]
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            msg = (
                f"checkpoint={str(self.path)!r} is damaged, or no checkpoint of sklc "
                f"({error}): delete it to begin anew, or give another path."
            )
            raise ValueError(msg) from error
        if version != _FORMAT:
            msg = (
                f"checkpoint={str(self.path)!r} has format {version}, and this version "
                f"of sklc reads format {_FORMAT}: go on with the version that wrote "
                "it, or delete it to begin anew."
            )
            raise ValueError(msg)
        names = identity.keys() | self.identity.keys()
        other = sorted(n for n in names if identity.get(n) != self.identity.get(n))
        if other:
            msg = (
                f"checkpoint={str(self.path)!r} belongs to another run: "
                f"{', '.join(other)} differ. Delete it to begin anew, or give every "
                "run a path of its own."
            )
            raise ValueError(msg)
        return header, tensors


def _replace(path: Path, content: bytes) -> None:
    """Replace a file by another content, at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")  # maybe left by a process that was killed
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _plain(value: Any) -> Any:
    """Return numbers and arrays of NumPy as those of Python."""
    if not hasattr(value, "tolist"):
        msg = f"checkpoint holds JSON values, and no {value!r} of the net's history."
        raise TypeError(msg)
    return value.tolist()
