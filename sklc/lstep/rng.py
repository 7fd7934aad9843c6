"""The random generators that training may draw from, of the whole process."""

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_lock = threading.RLock()


def _free() -> None:
    """Begin with a free lock in a forked process, which has this thread only."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free)


def state() -> dict[str, Any]:
    """Return tensors and JSON-compatible values by name."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    found = {
        "torch": torch.get_rng_state(),
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
        "python": random.getstate(),
    }
    if torch.cuda.is_available():
        for number, generator in enumerate(torch.cuda.get_rng_state_all()):
            found[f"cuda.{number}"] = generator
    return found


def restore(state: dict[str, Any]) -> None:
    """Go on from a state of the generators."""
    torch.set_rng_state(state["torch"].cpu())
    np.random.set_state(tuple(state["numpy"]))
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    for number in range(torch.cuda.device_count()):
        if f"cuda.{number}" in state:  # as many as there are here
            torch.cuda.set_rng_state(state[f"cuda.{number}"].cpu(), number)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed all generators for a while, and leave them as they were.

    They belong to the whole process: of several threads, one at a time is seeded, so
    that each draws what it would draw alone.
    """
    with _lock:
        before = state()
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            restore(before)
