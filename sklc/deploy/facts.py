"""What can be said of a code: its form, its codebook, what it saves when it runs."""

from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor

from sklc.codes import Code, Dense, Factored, Quantized, Scaled, Sparse, Sum
from sklc.costs import Flops
from sklc.deploy.model import CompressedModel
from sklc.layers import LayerInfo

#: Layers that run as two thin ones where their weight has two factors.
SPLIT = frozenset({"Linear", "Conv1d", "Conv2d", "Conv3d"})


@dataclass(frozen=True)
class Work:
    """Multiplications for one sample.

    Attributes
    ----------
    dense : float
        With the dense weight.
    run : float
        In a usual runtime, which multiplies zeros, and decoded weights like any others.
    """

    dense: float
    run: float


def splits(code: Code, layer: LayerInfo | None) -> bool:
    """Whether a layer of a net is two thin ones with this code of its weight."""
    return isinstance(code, Factored) and (layer is None or layer.kind in SPLIT)


def work(code: Code, layer: LayerInfo | None, *, net: bool = True) -> Work | None:
    """Return what a layer multiplies; None if it is not known how often it is used.

    Linear models of scikit-learn (`net` is false) run as they are.
    """
    price, dense = Flops(), Dense(torch.empty(code.shape, device="meta"))
    if price.unknown(dense, layer) or price.unknown(code, layer):
        return None
    assert layer is not None
    before = price(dense, layer)
    if net and splits(code, layer):
        return Work(before, min(before, price(code, layer)))
    return Work(before, before)


def works(model: CompressedModel) -> dict[str, Work | None]:
    """Return what the layers of a model multiply, those with a dense weight included.

    By the names of the weights; None where it is not known.
    """
    rest = {
        name: Dense(weight)
        for name, weight in model.rest.items()
        if name in model.layers and weight.ndim > 1
    }
    return {
        name: work(code, model.layers.get(name), net=model.is_net)
        for name, code in (model.theta | rest).items()
    }


@singledispatch
def form(code: Code) -> str:
    """Return in a few words what a code is."""
    return type(code).__name__


@form.register
def _(code: Dense) -> str:
    return "dense"


@form.register
def _(code: Factored) -> str:
    return f"rank {code.rank}"


@form.register
def _(code: Sparse) -> str:
    return "sparse"


@form.register
def _(code: Quantized) -> str:
    return _of_each(f"{code.n_values} values", len(code.codebook))


@form.register
def _(code: Scaled) -> str:
    return _of_each(f"{len(code.levels)} values", len(code.scale))


@form.register
def _(code: Sum) -> str:
    return " + ".join(map(form, code.terms.values()))


def _of_each(text: str, rows: int) -> str:
    return text if rows == 1 else f"{text} per output"


@singledispatch
def codebook(code: Code) -> str | None:
    """Return the values that the weights of a code have, if they are few."""
    return None


@codebook.register
def _(code: Quantized) -> str | None:
    zero = [0.0] if code.zero else []
    return _listed([*code.codebook.flatten().tolist(), *zero], len(code.codebook))


@codebook.register
def _(code: Scaled) -> str | None:
    levels = code.scale.new_tensor(code.levels)
    values: Tensor = code.scale.unsqueeze(1) * levels
    return _listed(values.flatten().tolist(), len(code.scale))


@codebook.register
def _(code: Sum) -> str | None:
    found = [codebook(term) for term in code.terms.values()]
    return " + ".join(filter(None, found)) or None


def _listed(values: list[float], rows: int) -> str:
    if not values:
        return "0"  # a codebook without any, of weights that are all pruned
    if rows == 1 and len(values) <= 4:
        return ", ".join(f"{value + 0:.3g}" for value in sorted(values))
    return f"{min(values):.3g} to {max(values):.3g}"
