"""Whether the LC algorithm stands still, or only its pull is too strong to move."""

import math

from sklc.codes import decompress
from sklc.lc.loop import Iterate, Layout


def dual_residual(iterate: Iterate, previous: Iterate) -> float:
    r"""Return by how much the gradient of the loss misses the multipliers, relatively.

    After an exact L step :math:`\nabla L(w) = \lambda + \mu\,(\Delta(\Theta') -
    \Delta(\Theta))` where Θ' is the compression before. Where the gap is closed too, Θ
    is stationary if that is λ: if the residual

    .. math:: \frac{\mu\,\|\Delta(\Theta) - \Delta(\Theta')\|}{\|\lambda\|}

    is zero. A gap that is closed by a strong pull alone leaves it large.

    Parameters
    ----------
    iterate, previous : Iterate
        Of one step and the step before.

    Returns
    -------
    float
        0 if Θ did not move; relative to the pull itself if there are no multipliers.
    """
    now, before = decompress(iterate.theta), decompress(previous.theta)
    layout = Layout.of(now)
    delta = layout.flatten(now)
    change = iterate.mu * float((delta - layout.flatten(before)).norm())
    if change == 0:
        return 0.0
    force = iterate.multipliers
    if not force.any():
        force = iterate.mu * (iterate.weights - delta)
    scale = float(force.norm())
    return change / scale if scale else math.inf
