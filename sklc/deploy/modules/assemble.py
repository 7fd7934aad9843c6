"""A compressed net as a module of its own."""

import torch
from torch import nn

from sklc.codes import Code, Dense, Factored, nbits_by_weight
from sklc.deploy.model import CompressedModel
from sklc.deploy.modules.batch_norm import fold, foldable
from sklc.deploy.modules.factors import can_be_factored, factorize, of_some_rank
from sklc.deploy.modules.packed import Shared, pack_weight
from sklc.exceptions import warn
from sklc.layers import LayerInfo
from sklc.ops.copies import deepcopied

#: The layers that hold a parameter, and its name there.
Owners = list[tuple[nn.Module, str]]


def to_module(
    model: CompressedModel, *, materialize: bool = False, fold_batch_norm: bool = False
) -> nn.Module:
    """Return a compressed net as a module: :meth:`sklc.LCCompressor.to_module`.

    Parameters
    ----------
    model : CompressedModel
        Of a net.
    materialize : bool, default=False
        Whether codes are decoded once, and dropped.
    fold_batch_norm : bool, default=False
        Whether batch normalisation goes into the layers before it.

    Raises
    ------
    TypeError
        If it is a linear model of scikit-learn.
    """
    if not model.is_net:
        msg = (
            f"to_module is for nets, got a {type(model.model).__name__}: its "
            "compressed weights are its coefficients already."
        )
        raise TypeError(msg)
    module: nn.Module = deepcopied(model.model).eval().requires_grad_(False)
    pairs: list[tuple[nn.Module, nn.Module]] = []
    if fold_batch_norm:
        pairs = _pairs(module, model)
    sizes, shared = nbits_by_weight(model.theta), Shared()
    with torch.no_grad():
        for name, code in model.theta.items():
            owners = _owners(module, name)
            weight = module.get_parameter(name)
            if pair := _as_pair(code, owners, model.layers.get(name)):
                factorize(owners[0][0], pair)
            elif not materialize and sizes[name] < 8 * weight.nbytes:
                for layer, own_name in owners:
                    pack_weight(layer, own_name, code, shared)
        for layer, norm in pairs:
            fold(layer, norm)
    return module


def _owners(module: nn.Module, name: str) -> Owners:
    """Return who holds a parameter: several, if it is tied."""
    weight = module.get_parameter(name)
    return [
        (layer, own_name)
        for layer in module.modules()
        for own_name, own in layer._parameters.items()
        if own is weight
    ]


def _as_pair(code: Code, owners: Owners, info: LayerInfo | None) -> Factored | None:
    """Return the factors of which a layer becomes a pair; None if it does not.

    It does if that takes fewer multiplications, and all that its layer does is known.
    """
    (layer, own_name), *others = owners
    if (
        not isinstance(code, Factored)
        or others
        or own_name != "weight"
        or not can_be_factored(layer)
    ):
        return None
    from sklc.costs import Flops  # loads scikit-learn

    price, code = Flops(), of_some_rank(code)
    if price.unknown(code, info):
        return None
    dense = Dense(torch.empty(code.shape, device="meta"))
    return code if price(code, info) < price(dense, info) else None


def _pairs(
    module: nn.Module, model: CompressedModel
) -> list[tuple[nn.Module, nn.Module]]:
    """Return layers and the normalisations to fold into them."""
    inputs = {each.name for each in model.signature.inputs} or None
    found, left = foldable(module, model.layers, model.theta, inputs)
    if left:
        msg = (
            f"Batch normalisation stays in {', '.join(left)}: there it does not follow "
            "directly, and alone, one linear or convolutional layer that nothing else "
            "uses, in a graph that torch.fx can trace."
        )
        warn(msg)
    own = dict(module.named_modules())
    return [(own[layer], own[norm]) for norm, layer in found.items()]
