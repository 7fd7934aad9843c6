"""How strong the pull towards the compressed weights is, and how it grows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from sklc.codes import decompress
from sklc.lc.loop import Iterate, direct_compression
from sklc.lc.probe import Probe, Spot
from sklc.lc.state import State
from sklc.lstep.base import Learner
from sklc.schemes.base import Scheme

# START and BALANCE come from trials on the nets of examples/lenet300.py and digits.py.
# GROWTH is 1.1^40: with faster growth per step codes freeze before training has found
# good ones. What they give is shown by examples/lenet300.py --schedule default.
#: The first pull of a scheme with a constraint, as a fraction of the curvature.
START = 0.15
#: The last pull, in units of the first one of a scheme with a constraint.
GROWTH = 45.0
#: The first pull of a scheme with a cost, as a fraction of where it balances.
BALANCE = 0.5
#: The first and the last pull of a scheme with a constraint on a stochastic learner, in
#: units of the one that would bring weights nearer by a factor of e in a part.
CLOSED = 0.02, 0.5
#: The same, where the scheme decides nothing: its pull may be strong from the start.
SMOOTH = 0.2, 2.0
# by so much of what the weights are worth does the first pull raise the loss, if that
# curves alike in all directions and they are pulled to zero
_FELT = (START / (1 + START)) ** 2
_STRONG = 1e9  # times the curvature: so strong a pull pays every price


#: No pull grows beyond this: single precision ends at 3e38.
LARGEST = 1e30

#: The penalty parameter of the next step, as a function of the state of the run.
Schedule = Callable[[State], float]


def exponential(state: State) -> float:
    """Return the next pull of one that grows by a factor: the first at step 1."""
    try:
        mu = state.mu_init * state.mu_factor**state.iterate.step
    except OverflowError:
        mu = math.inf
    return min(mu, max(state.mu_init, LARGEST))


def listed(mus: Sequence[float]) -> Schedule:
    """Return the schedule of the pulls of step 0, 1, ...; it stays at the last."""
    return lambda state: mus[min(state.iterate.step + 1, len(mus) - 1)]


def growth_factor(first: float, last: float, n_steps: int) -> float:
    """Return what takes the pull from the first to the last in so many steps."""
    return max(1.0, float((last / first) ** (1 / max(n_steps, 1))))


def automatic_mu(learner: Learner, scheme: Scheme) -> tuple[Iterate, float]:
    r"""Return step 0 at a pull that suits loss and compression, and the last pull.

    The pull must be weak at first, compared with the curvature of the loss: then
    training decides where the weights go. In the end it must be strong, so that the
    weights are where they can be represented. The curvature is measured along the way
    to the compressed weights and along the way to zero,

    .. math:: \kappa = \max_{v \in \{\Delta(\Theta), 0\}}
              \frac{2\,(L(v) - L(w))}{\|w - v\|^2},

    and the pull goes from 0.15 κ to 45 times that.

    Schemes with a penalty compress as `mu` tells them: below
    :math:`2\,\mathrm{cost}(w) / \|w\|^2` to keep all weights is worse than to keep
    none. Their pull begins at half of that, if it is lower, so that what is not worth
    its price has time to vanish.

    Of exact learners they begin elsewhere: see :func:`automatic_mu_of_exact`.

    A stochastic learner takes steps whose length has little to do with curvature. With
    a constraint the pull goes there by what it does in a part of an L step, apart from
    the loss: it closes 2 % of the gap at first, and 40 % in the end; 18 and 86 % where
    the scheme has nothing to decide (:attr:`Scheme.smooth
    <sklc.schemes.Scheme.smooth>`).

    Multiplying the loss (and the cost) by a constant multiplies all of it alike.

    Parameters
    ----------
    learner : Learner
        At the weights of the reference.
    scheme : Scheme

    Returns
    -------
    start : Iterate
        Direct compression at the first pull, ``start.mu``. It is found by one cold C
        step; schemes with a cost go on from there.
    last : float
    """
    if learner.stochastic and not scheme.has_cost:
        pulls = SMOOTH if scheme.smooth else CLOSED
        first, last = (pull / learner.reach for pull in pulls)
        return direct_compression(learner, scheme, first), last
    probe = Probe(learner, scheme, _STRONG)
    if learner.exact:
        return automatic_mu_of_exact(probe)
    return _measured(probe, probe.curved, None)


def automatic_mu_of_exact(probe: Probe) -> tuple[Iterate, float]:
    """Return step 0 and the last pull of a learner whose L steps are exact.

    What a scheme with a penalty measures in units of the weights is void if these are
    huge for no reason, as where features are nearly dependent. L steps cost little
    here, so it is measured on the way to zero, and the reference gives way to smaller
    weights that have a lower loss plus cost of all of them: see :meth:`Probe.settle
    <sklc.lc.probe.Probe.settle>`. Step 0 compresses these.

    Parameters
    ----------
    probe : Probe
        Of the learner, at the weights of the reference.

    Returns
    -------
    start : Iterate
    last : float
        As of :func:`automatic_mu`.
    """
    if not (probe.scheme.has_cost and probe.curved):
        return _measured(probe, probe.curved, None)
    spot = probe.settle(START * probe.curved, _FELT)
    return _measured(probe, spot.pull / START, spot)


def _measured(probe: Probe, scale: float, spot: Spot | None) -> tuple[Iterate, float]:
    """Return step 0 and the last pull, given the curvature on the way to zero."""
    learner, scheme = probe.learner, probe.scheme
    direct = direct_compression(learner, scheme, START * (scale or 1.0))
    first = START * max(scale, probe.curvature(decompress(direct.theta))) or START
    last = GROWTH * first
    if not scheme.has_cost:
        return replace(direct, mu=first), last
    spot = spot or probe.here(0.0, direct.theta)
    if spot.square > 0 and spot.price > 0:
        first = min(first, BALANCE * 2 * spot.price / spot.square)
    return direct_compression(learner, scheme, first, direct.theta), last
