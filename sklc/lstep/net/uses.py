"""What a net tells of its layers: kinds, groups, and how often a weight is used."""

from typing import Any

from skorch import NeuralNet
from skorch.dataset import get_len, unpack_data
from torch import Tensor, nn

from sklc.layers import LayerInfo


def layer_infos(net: NeuralNet, module: nn.Module, batch: Any) -> dict[str, LayerInfo]:
    """Return what is known of the layer of each parameter of a module."""
    uses = _uses(net, module, batch)
    return {
        f"{name}.{parameter}" if name else parameter: LayerInfo(
            kind=type(layer).__name__,
            groups=getattr(layer, "groups", 1),
            output_axis=int(getattr(layer, "transposed", False)),
            uses=uses.get(_key(layer), 1.0),
        )
        for name, layer in module.named_modules()
        for parameter, _ in layer.named_parameters(recurse=False)
    }


def _key(layer: nn.Module) -> int:
    """Return what layers have in common that share a weight."""
    return id(layer._parameters.get("weight", layer))


def _uses(net: NeuralNet, module: nn.Module, batch: Any) -> dict[int, float]:
    """Count how often linear and convolutional layers use a weight per sample."""
    n_samples = get_len(unpack_data(batch)[0])
    uses: dict[int, float] = {}

    def count(channels: int, transposed: bool) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            positions = (inputs[0] if transposed else output).numel() / channels
            key = _key(layer)
            uses[key] = uses.get(key, 0.0) + positions / n_samples

        return hook

    handles = []
    for layer in module.modules():
        transposed = bool(getattr(layer, "transposed", False))
        side = "in" if transposed else "out"
        for unit in "features", "channels":
            channels = getattr(layer, f"{side}_{unit}", None)
            if isinstance(channels, int) and hasattr(layer, "weight"):
                hook = count(channels, transposed)
                handles.append(layer.register_forward_hook(hook))
    try:
        net.evaluation_step(batch, training=False)
    finally:
        for handle in handles:
            handle.remove()
    return uses
