"""What the weights of a model are worth: trials that measure the loss around them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sklc.codes import Code
from sklc.lstep.base import Learner
from sklc.schemes.base import Scheme

_STEP = 4.0  # from one pull to the next, on the way to zero
_MOST = 50  # pulls: they span 30 orders of magnitude
_NEAR = 0.9  # of the rise of the loss from the weights to zero: nothing is left of them


@dataclass(frozen=True)
class Spot:
    """Weights at which something is measured.

    Attributes
    ----------
    pull : float
        That towards zero which led there.
    rise : float
        Their loss, less that of the reference.
    price : float
        The cost of keeping all of them.
    square : float
        Their squared norm.
    """

    pull: float
    rise: float
    price: float
    square: float


class Probe:
    """Trials of other weights than those of the reference.

    Parameters
    ----------
    learner : Learner
        At the reference.
    scheme : Scheme
        The weights that it covers are tried.
    strong : float
        A pull, in units of the curvature of the loss on the way to zero, at which every
        weight is worth its price.
    """

    def __init__(self, learner: Learner, scheme: Scheme, strong: float) -> None:
        self.learner, self.scheme = learner, scheme
        self.names = scheme.covers(learner.weights())
        self.zero = {n: torch.zeros_like(w) for n, w in self.weights().items()}
        self.loss = self._now = learner.loss()
        self.curved = self.curvature(self.zero)
        self.strong = strong * (self.curved or 1.0)

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights."""
        weights = self.learner.weights()
        return {name: weights[name].detach().clone() for name in self.names}

    def curvature(self, compressed: Mapping[str, Tensor]) -> float:
        """Return that of the loss, on the way from the weights to others; at least 0.

        Parameters
        ----------
        compressed : dict of str to Tensor
        """
        own = self.weights()
        away = _square({name: own[name] - compressed[name] for name in own})
        rise = self._loss_of(compressed) - self._now
        found = 2 * rise / away if away > 0 else 0.0
        return found if 0 < found < math.inf else 0.0

    def here(self, pull: float, theta: Mapping[str, Code] | None = None) -> Spot:
        """Return what is measured at the weights.

        Parameters
        ----------
        pull : float
            What led to them.
        theta : dict of str to Code, default=None
            The same weights compressed by another pull, to start from.
        """
        own, layers = self.weights(), self.learner.layers()
        theta = self.scheme.compress(own, self.strong, theta, layers)
        price = self.scheme.cost(theta, own, layers)
        return Spot(pull, self._now - self.loss, price, _square(own))

    def settle(self, pull: float, share: float) -> Spot:
        r"""Leave the learner at smaller weights, if these are better.

        Where the loss hardly depends on some directions (copies of a feature, separable
        classes), the weights of the reference may be as large as you like, and all that
        is measured in units of them is void. On the way to zero,

        .. math:: w(p) = \arg\min_w L(w) + \tfrac p2 \|w\|^2,

        such directions are gone where the loss has risen by a share of what the weights
        are worth. The learner stops at the weights with the least loss plus cost of all
        of them, which may be those of the reference.

        Parameters
        ----------
        pull : float
            The first one to try.
        share : float

        Returns
        -------
        Spot
            Where such directions are gone, or where the learner is if that comes later.
        """
        learner = self.learner
        worth = self._loss_of(self.zero) - self.loss
        best = felt = spot = self.here(pull)
        state = learner.state_dict()
        for _ in range(_MOST):
            learner.learn(self.zero, pull, 1)
            self._now = learner.loss()
            spot = self.here(pull)
            if spot.rise >= _NEAR * worth:
                break
            if felt.rise < share * worth:
                felt = spot
            if spot.rise + spot.price < best.rise + best.price:
                best, state = spot, learner.state_dict()
            elif felt.rise >= share * worth and spot.rise >= best.rise + best.price:
                break
            pull *= _STEP
        learner.load_state_dict(state)
        self._now = self.loss + best.rise
        return max(best, felt, key=lambda spot: spot.rise)

    def _loss_of(self, weights: Mapping[str, Tensor]) -> float:
        state = self.learner.state_dict()
        self.learner.substitute(weights)
        found = self.learner.loss()
        self.learner.load_state_dict(state)
        return found


def _square(tensors: Mapping[str, Tensor]) -> float:
    return sum(float(tensor.double().square().sum()) for tensor in tensors.values())
