"""How strong the pull towards the compressed weights is, and how it grows."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sklc.codes import decompress
from sklc.loop import Iterate, direct_compression

if TYPE_CHECKING:
    from sklc.lstep.base import Learner
    from sklc.schemes.base import Scheme

#: The automatic first pull, as a fraction of the curvature of the loss.
START = 0.3


def exponential(mu_init: float, mu_factor: float) -> Callable[[Iterate], float]:
    """Return the schedule that begins with `mu_init` and grows by `mu_factor`."""
    return lambda iterate: mu_init * mu_factor**iterate.step


def automatic_mu(learner: "Learner", scheme: "Scheme") -> float:
    r"""Return a first penalty parameter that suits the loss and the compression.

    The pull must be weak at first, compared with the curvature of the loss along the
    compression: then training decides where the weights go. That curvature is measured
    by direct compression, :math:`2\,(L(\Delta) - L(w)) / \|w - \Delta\|^2`, and the
    first pull is 0.3 of it. Multiplying the loss by a constant multiplies it alike.

    Schemes with a penalty compress as `mu` tells them, so that is set first by the
    curvature towards zero weights.
    """
    names = scheme.covers(learner.weights())
    weights = {name: learner.weights()[name].detach().clone() for name in names}
    loss, state = learner.loss(), learner.snapshot()

    def curvature(compressed: Mapping[str, Tensor]) -> float:
        square = sum(
            float((weight - compressed[name]).double().square().sum())
            for name, weight in weights.items()
        )
        learner.substitute(compressed)
        rise = learner.loss() - loss
        learner.restore(state)
        return 2 * rise / square if square > 0 else 0.0

    rough = curvature({name: torch.zeros_like(w) for name, w in weights.items()})
    if not 0 < rough < math.inf:
        rough = 1.0
    direct = direct_compression(learner, scheme, START * rough)
    fine = curvature(decompress(direct.theta))
    return START * (fine if 0 < fine < math.inf else rough)
