"""A compressed model, apart from the tools that made it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklc.codes import Theta
from sklc.layers import LayerInfo
from sklc.signature import Signature


@dataclass(frozen=True, eq=False)
class CompressedModel:
    """What is taken away: modules, files, graphs and reports are made of it alone.

    Attributes
    ----------
    model : nn.Module or estimator
        A module, or a linear model of scikit-learn, that holds Δ(Θ). Nobody's to write
        to.
    theta : dict of str to Code
        The compressed weights, by parameter name.
    rest : dict of str to Tensor
        What else is needed to predict, by name: parameters that are not compressed,
        and buffers.
    layers : dict of str to LayerInfo
        What is known of the layers of the weights.
    signature : Signature
    """

    model: Any
    theta: Theta
    rest: dict[str, Tensor]
    layers: Mapping[str, LayerInfo]
    signature: Signature

    @property
    def is_net(self) -> bool:
        """Whether the model is a module."""
        return isinstance(self.model, nn.Module)

    @classmethod
    def of(
        cls,
        estimator: Any,
        theta: Theta,
        rest: Iterable[str],
        layers: Mapping[str, LayerInfo],
        signature: Signature,
    ) -> "CompressedModel":
        """Take a compressed model out of a fitted estimator.

        Parameters
        ----------
        estimator : skorch net or linear model
            Holds Δ(Θ).
        theta : dict of str to Code
        rest : iterable of str
            Names of what else is needed to predict.
        layers : dict of str to LayerInfo
        signature : Signature
        """
        model = getattr(estimator, "module_", estimator)
        model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
        if isinstance(model, nn.Module):
            own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
            found = {name: own[name].detach() for name in rest}
        else:
            found = {
                name: torch.as_tensor(np.asarray(getattr(model, name), dtype=float))
                for name in rest
            }
        return cls(model, theta, found, layers, signature)
