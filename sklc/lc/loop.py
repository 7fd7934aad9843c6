"""The learning-compression (LC) algorithm, as a generator of iterates.

Stopping, history, the best iterate, checkpoints and schedules belong to whoever
consumes the iterates: each holds all that the next one depends on, besides the learner.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from sklc.codes import Code, decompress
from sklc.lstep.base import Learner, Part
from sklc.schemes.base import Scheme

_PARTS = 8  # of L steps from one C step to the next, at least


@dataclass(frozen=True)
class Layout:
    """Named tensors laid end to end in one flat vector.

    The vector is of single precision at least, even if the tensors are not.
    """

    shapes: dict[str, torch.Size]
    dtypes: dict[str, torch.dtype]

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> "Layout":
        """Return the layout of these tensors."""
        return cls(
            {name: weight.shape for name, weight in weights.items()},
            {name: weight.dtype for name, weight in weights.items()},
        )

    def flatten(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Lay the tensors end to end; names outside of the layout are ignored."""
        dtype = torch.float32
        for own in self.dtypes.values():
            dtype = torch.promote_types(dtype, own)
        parts = [weights[name].detach().reshape(-1).to(dtype) for name in self.shapes]
        return torch.cat(parts)

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the tensors of a vector, in their own dtypes (views where equal)."""
        parts = vector.split([shape.numel() for shape in self.shapes.values()])
        return {
            name: part.view(shape).to(self.dtypes[name])
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


@dataclass(frozen=True, eq=False)
class Iterate:
    """The state of the LC algorithm after a step.

    Attributes
    ----------
    step : int
        0 is direct compression.
    mu : float
    weights : Tensor of shape (n,)
        The compressible weights w, laid end to end.
    multipliers : Tensor of shape (n,)
        The Lagrange multipliers λ.
    theta : dict of str to Code
        The compressed weights Θ.
    gap : float
        ``||w - Δ(Θ)|| / ||w||``; the distance itself if all of w is zero.
    """

    step: int
    mu: float
    weights: Tensor
    multipliers: Tensor
    theta: dict[str, Code]
    gap: float


def direct_compression(
    learner: Learner,
    scheme: Scheme,
    mu: float,
    theta: Mapping[str, Code] | None = None,
) -> Iterate:
    """Return step 0: the weights as they are, compressed.

    Parameters
    ----------
    learner : Learner
    scheme : Scheme
    mu : float
        The penalty parameter, which schemes with a cost compress by.
    theta : dict of str to Code, default=None
        The same weights compressed at another `mu`, to start from.

    Returns
    -------
    Iterate
        With multipliers of zero.
    """
    weights = learner.weights()
    own = {name: weights[name].detach() for name in scheme.covers(weights)}
    layout = Layout.of(own)
    found = scheme.compress(own, mu, theta, learner.layers())
    w = layout.flatten(own)
    gap = _relative(w - layout.flatten(decompress(found)), w)
    return Iterate(0, mu, w, torch.zeros_like(w), found, gap)


def learning_compression(
    learner: Learner,
    scheme: Scheme,
    start: Iterate,
    next_mu: Callable[[Iterate], float],
    *,
    multipliers: bool = True,
) -> Iterator[Iterate]:
    r"""Yield the iterates of the LC algorithm that follow `start`, without end.

    Minimises the loss over compressed weights, and their cost if they have one,
    :math:`\min_{w,\Theta} L(w) + \mathrm{cost}(\Theta)` subject to
    :math:`w = \Delta(\Theta)`, by alternating

    .. math::

        \text{L step:}\quad w &= \arg\min_w L(w)
            + \tfrac\mu2 \|w - \Delta(\Theta) - \lambda/\mu\|^2 \\
        \text{C step:}\quad \Theta &= \arg\min_\Theta \mathrm{cost}(\Theta)
            + \tfrac\mu2 \|w - \lambda/\mu - \Delta(\Theta)\|^2 \\
        \lambda &\leftarrow \lambda - \mu\,(w - \Delta(\Theta))

    while :math:`\mu` grows. Where the compression is discrete (a codebook, a support)
    the problem is NP-hard in general and no method can promise its optimum; LC ends at
    a feasible point that is good if `mu` grows slowly.

    A learner that is stochastic only begins to solve an L step. It begins at the
    compressed weights, and how it moves them is added to w:

    .. math:: v \leftarrow \Delta(\Theta), \quad \text{train } v, \quad
              w \leftarrow w + v - \Delta(\Theta).

    So the gradient of the loss is taken where the result will be. It does so in parts,
    some batches each, and Θ and λ follow after every one: λ by the share of the gap
    that the pull would have closed in that time, and Θ by a cheap step
    (:meth:`Scheme.improve <sklc.schemes.Scheme.improve>`), or by a whole C step where
    an LC step ends, but no more often than every eight parts.

    Parameters
    ----------
    learner : Learner
        At the weights of `start`.
    scheme : Scheme
    start : Iterate
        Such as :func:`direct_compression` returns, or a later one.
    next_mu : callable
        The penalty parameter of the next step, as a function of the last iterate; it is
        called when that step is asked for.
    multipliers : bool, default=True
        Whether to estimate Lagrange multipliers (the augmented Lagrangian); without
        them λ stays as it is (the quadratic penalty method, if that is zero).

    Yields
    ------
    Iterate

    References
    ----------
    M. A. Carreira-Perpinan, Model compression as constrained optimization, with
    application to neural nets. Part I: general framework, arXiv:1707.01209, 2017.
    """
    both = _Alternation(learner, scheme, start, multipliers=multipliers)
    iterate = start
    while True:
        step, mu = iterate.step + 1, next_mu(iterate)
        if learner.stochastic:
            both.n_parts = 0
            next_part = partial(both.next_part, mu)
            share = learner.learn_in_parts(both.part(mu), next_part, mu, step)
            both.part_ends()
            before, after = (each * both.n_parts // _PARTS for each in (step - 1, step))
            both.compress(mu, share, improve=before == after)
        else:
            learner.learn(both.target(mu), mu, step)
            both.w = both.layout.flatten(learner.weights())
            both.compress(mu, 1.0)
        iterate = Iterate(step, mu, both.w, both.lam, both.theta, both.gap)
        yield iterate


class _Alternation:
    """The weights and their compressed form, while each follows the other.

    Parameters
    ----------
    learner : Learner
    scheme : Scheme
    start : Iterate
    multipliers : bool
        Whether λ follows, too.

    Attributes
    ----------
    layout : Layout
    w, lam, delta : Tensor of shape (n,)
        w, λ and Δ(Θ).
    theta : dict of str to Code
    n_parts : int
        That were done in an L step.
    """

    def __init__(
        self, learner: Learner, scheme: Scheme, start: Iterate, *, multipliers: bool
    ) -> None:
        self._learner, self._scheme, self._multipliers = learner, scheme, multipliers
        self._layers = learner.layers()
        weights = learner.weights()
        self.layout = Layout.of({name: weights[name] for name in start.theta})
        self.w, self.lam, self.theta = start.weights, start.multipliers, start.theta
        self.delta = self.layout.flatten(decompress(self.theta))
        self.n_parts = 0

    @property
    def gap(self) -> float:
        """``||w - Δ(Θ)|| / ||w||``."""
        return _relative(self.w - self.delta, self.w)

    def target(self, mu: float) -> dict[str, Tensor]:
        """Return where the weights are pulled to."""
        return self.layout.split(self.delta + self.lam / mu)

    def compress(self, mu: float, share: float, *, improve: bool = False) -> None:
        """Let Θ follow the weights, and λ by a share of its step."""
        moved = self.layout.split(self.w - self.lam / mu)
        if improve:
            self.theta = self._scheme.improve(self.theta, moved, mu, self._layers)
        else:
            self.theta = self._scheme.compress(moved, mu, self.theta, self._layers)
        self.delta = self.layout.flatten(decompress(self.theta))
        if self._multipliers:
            self.lam = self.lam - share * mu * (self.w - self.delta)

    # ---- L steps in parts ----

    def part(self, mu: float) -> Part:
        """Return from where, and to where, the learner goes in the next part."""
        away = self.delta - self.w
        return Part(
            self.layout.split(self.delta),
            self.layout.split(self.delta + self.lam / mu + away),
        )

    def part_ends(self) -> None:
        """Add how the learner has moved the compressed weights to w."""
        self.w = self.w + self.layout.flatten(self._learner.weights()) - self.delta
        self.n_parts += 1

    def next_part(self, mu: float, share: float) -> Part:
        """End a part, which closed a share of the gap, and return the next."""
        self.part_ends()
        self.compress(mu, share, improve=True)
        return self.part(mu)


def _relative(difference: Tensor, reference: Tensor) -> float:
    size = float(reference.norm())
    distance = float(difference.norm())
    return distance / size if size else distance
