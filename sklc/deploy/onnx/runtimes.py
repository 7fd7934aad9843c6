"""What onnxruntime cannot run of graphs that torch writes."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from sklc.exceptions import warn

_TRANSPOSED = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d


def warn_of_onnxruntime(module: nn.Module) -> None:
    """Warn of layers whose graph is right, and still fails in onnxruntime.

    Known are those of versions up to 1.32.
    """
    found = [
        f"{name or type(layer).__name__} ({what})"
        for name, layer in module.named_modules()
        for what in _fails(layer)
    ]
    if found:
        msg = (
            f"onnxruntime cannot run all of this graph on a CPU: {', '.join(found)}. "
            "Change those layers, or take another runtime."
        )
        warn(msg)


def _fails(layer: Any) -> Iterator[str]:
    if isinstance(layer, nn.LSTM) and layer.proj_size:
        yield "LSTM with proj_size"
    if isinstance(layer, nn.EmbeddingBag) and layer.mode == "mean":
        yield "EmbeddingBag of mode 'mean', which crashes it"
    if isinstance(layer, _TRANSPOSED) and any(
        added >= stride
        for added, stride in zip(layer.output_padding, layer.stride, strict=True)
    ):
        yield "output_padding that is not below stride"
    own = layer.parameters(recurse=False)
    if any(held.dtype == torch.bfloat16 for held in own):
        yield "bfloat16"
