"""The state of the random generators that training may draw from."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


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
    torch.set_rng_state(state["torch"])
    np.random.set_state(tuple(state["numpy"]))
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    for number in range(torch.cuda.device_count()):
        if f"cuda.{number}" in state:  # as many as there are here
            torch.cuda.set_rng_state(state[f"cuda.{number}"], number)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch for a while, and leave all generators as they were."""
    before = state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        restore(before)
