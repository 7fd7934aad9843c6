"""Pickles of what was trained on a GPU, for machines that have none."""

import io
from typing import Any, cast

import torch


class PortableMixin:
    """An estimator that is pickled with its tensors wherever they can be put then."""

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = cast(Any, super().__getstate__())
        if not torch.accelerator.is_available():
            return state
        file = io.BytesIO()
        torch.save(state, file)
        return {"saved": file.getvalue()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "saved" in state:  # by a machine with an accelerator, that there may not be
            device = None if torch.accelerator.is_available() else "cpu"
            file = io.BytesIO(state["saved"])
            state = torch.load(file, map_location=device, weights_only=False)
        super().__setstate__(state)  # type: ignore[misc]
