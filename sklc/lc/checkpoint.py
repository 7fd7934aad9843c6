"""Runs that can be killed: their state in a file, after every step."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

from sklc.exceptions import CheckpointError, warn
from sklc.files import File, Locked
from sklc.lc.observers import Observer
from sklc.lc.savefile import from_bytes, to_bytes
from sklc.lc.state import State


class Checkpoint(Observer):
    """Saves the state of a run after every step, and has what was saved before.

    Parameters
    ----------
    path : str or Path
        See :class:`~sklc.files.File`. Held until :meth:`close`.
    identity : dict
        JSON-compatible: what must be equal to go on from the file, such as the scheme
        and the data.
    unseen : sequence of str
        Names of what the identity does not cover, though it may change the result.

    Attributes
    ----------
    state : State or None
        What the file holds.

    Raises
    ------
    CheckpointError
        If the path cannot be used, or the file in it is damaged, of another run, or in
        use.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        identity: Mapping[str, Any],
        unseen: Sequence[str] = (),
    ) -> None:
        self._name = f"checkpoint={os.fspath(path)!r}"
        self._identity = json.loads(json.dumps(identity))
        try:
            self._file = File(path)
        except Locked as error:
            msg = (
                f"{self._name} is in use by another run that is going on: wait for "
                "its end, or give every run a path of its own."
            )
            raise CheckpointError(msg) from error
        except (OSError, ValueError) as error:
            msg = (
                f"{self._name} cannot be used ({error}): give the path of a file in "
                "a folder that you may write to."
            )
            raise CheckpointError(msg) from error
        try:
            self.state = self._load()
        except BaseException:
            self.close()
            raise
        if self.state and unseen:
            msg = (
                f"Going on from {self._name}, but whether {', '.join(unseen)} is what "
                "it was is beyond what is checked: make sure that it is, or begin anew."
            )
            warn(msg)

    def _load(self) -> State | None:
        try:
            content = self._file.read()
            return None if content is None else from_bytes(content, self._identity)
        except CheckpointError as error:
            msg = f"{self._name} {error}"
            raise CheckpointError(msg) from error
        except OSError as error:
            msg = f"{self._name} cannot be read ({error}): give another path."
            raise CheckpointError(msg) from error

    def on_step(self, state: State, end: str) -> bool:
        if self.state is not None and self.state.iterate.step == state.iterate.step:
            return False  # that is what it has
        content = to_bytes(state, self._identity)
        try:
            self._file.write(content)
        except OSError as error:
            msg = (
                f"{self._name} could not be written ({error}), and is what it was "
                f"before step {state.iterate.step}: make room, and fit again to go on "
                "from there."
            )
            raise CheckpointError(msg) from error
        self.state = state
        return False

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
