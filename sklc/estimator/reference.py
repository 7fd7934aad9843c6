"""Trained references, kept in a cache: a search over schemes trains each but once."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from sklearn.utils.validation import check_memory

from sklc.exceptions import warn
from sklc.lstep.base import Learner


def cached_training(
    learner: Learner,
    memory: Any,
    key: dict[str, Any],
    unseen: Sequence[str],
    *,
    generators: bool,
) -> Callable[[], None]:
    """Return what trains the reference of a learner, or takes it from a cache.

    Parameters
    ----------
    learner : Learner
        Not trained yet.
    memory : str, path or joblib.Memory
    key : dict
        What its training depends on.
    unseen : sequence of str
        What the key does not cover; if there is anything, nothing is cached.
    generators : bool
        Whether random generators go on as if it had been trained here.

    Raises
    ------
    ValueError
        If the folder cannot be used.
    """
    if unseen:
        msg = (
            "memory caches references that are trained on arrays, tensors or frames; "
            f"what is in {', '.join(unseen)} may change unseen, so this one is "
            "trained anew."
        )
        warn(msg)
        return learner.train_reference
    if isinstance(memory, str | os.PathLike):
        memory = os.path.expanduser(os.fspath(memory))
    try:
        cached = check_memory(memory).cache(_state, ignore=["train"])
    except OSError as error:
        msg = f"memory={memory!r} cannot be used ({error}): give a folder to write to."
        raise ValueError(msg) from error

    def train_or_take() -> None:
        fresh = False

        def train() -> dict[str, Any]:
            nonlocal fresh
            fresh = True
            learner.train_reference()
            return learner.state_dict()

        found = cached(key, train)
        if not fresh:
            learner.load_state_dict(found, generators=generators)

    return train_or_take


def _state(key: dict[str, Any], train: Callable[[], Any]) -> Any:
    return train()
