"""Check that a scheme of your own keeps the contract of a C step."""

import copy
import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from torch import Tensor

from sklc.codes import Code, decompress, nbits, pack, to, unpack
from sklc.layers import Grid, LayerInfo, Layers
from sklc.schemes import Scheme
from sklc.schemes.problem import Weights

_MU = 1e-5  # so that the default prices of the penalties bite
_ROUNDINGS = 4.0  # units of rounding, relative to the norm of the weights
_SUMS = 1e-12  # noise of sums of squares in double precision, relatively
_SHAPES = {"conv.weight": (4, 3, 3, 2), "fc.weight": (5, 8)}


def check_scheme(
    scheme: Scheme,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    weights: Weights | None = None,
    layers: Layers | None = None,
) -> None:
    """Raise an AssertionError unless a scheme keeps the contract of a C step.

    The result is like the weights and feasible, no worse than its warm start (nor is
    that of ``improve``) and, of a scheme that says it is exact, than any other feasible
    one that is tried. What is
    compressed already does not change. Neither the arguments nor the scheme change; the
    same call gives the same bits, and so does a clone. The order of the layers does not
    matter. The cost of Θ is the sum of those of the weights. The size of Θ is that of
    its bytes, and survives copies and moves.

    Parameters
    ----------
    scheme : Scheme
        With the hyperparameters to be checked.
    device : str or torch.device, default="cpu"
    dtype : torch.dtype, default=torch.float32
    seed : int, default=0
        Of the random weights.
    weights : dict of str to Tensor, default=None
        Weights to check with, on any device and in any dtype (then `device` and `dtype`
        are not used). By default a random ``"conv.weight"`` of shape (4, 3, 3, 2) and
        a random ``"fc.weight"`` of shape (5, 8).
    layers : dict of str to LayerInfo, default=None
        What is known of the layers. By default every weight is used twice.

    Raises
    ------
    AssertionError
        Which says what property fails, and for what scheme.

    Examples
    --------
    >>> from sklc.codes import Dense
    >>> from sklc.schemes import LowRank, VectorScheme
    >>> from sklc.testing import check_scheme
    >>> check_scheme(LowRank(rank=2))

    A scheme that rounds towards zero instead of to nearest is not optimal:

    >>> class Integers(VectorScheme):
    ...     def _compress(self, rows, mu, warm):
    ...         return Dense(rows.trunc())
    ...     def _feasible_rows(self, rows):
    ...         return bool((rows == rows.trunc()).all())
    >>> check_scheme(Integers())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    AssertionError: Integers() is not optimal: ...
    """
    generator = torch.Generator().manual_seed(seed)
    if weights is None:
        weights = {
            name: torch.randn(shape, generator=generator).to(device, dtype)
            for name, shape in _SHAPES.items()
        }
    if layers is None:
        layers = {
            name: _used_twice(weight.ndim - 2) for name, weight in weights.items()
        }
    others = _others(weights, generator)
    given = {name: weight.clone() for name, weight in weights.items()}
    trial = _Trial(scheme, weights, layers, others, given, _state(scheme))
    for check in _CHECKS:
        check(trial)


@dataclass(frozen=True)
class _Trial:
    """A scheme and the problem it is to solve."""

    scheme: Scheme
    weights: Weights
    layers: Layers
    others: list[Weights]
    given: Weights  # a copy of the weights, and
    state: dict[str, Any]  # the state of the scheme, before it was called

    @cached_property
    def theta(self) -> dict[str, Code]:
        return self.compress(self.weights)

    @cached_property
    def rivals(self) -> list[dict[str, Code]]:
        """What other weights become, and these ones for another mu: all feasible."""
        dense = decompress(self.theta)
        beyond = {  # what rounds to nearest where the scheme rounds down
            name: _like(2 * weight.double().cpu() - dense[name].cpu(), weight)
            if name in dense
            else weight
            for name, weight in self.given.items()
        }
        return [
            *[self.compress(other) for other in [*self.others, beyond]],
            *[
                self.scheme.compress(self.weights, mu, None, self.layers)
                for mu in (_MU / 4, _MU * 4)
            ],
        ]

    def compress(
        self, weights: Weights, theta: Mapping[str, Code] | None = None
    ) -> dict[str, Code]:
        return self.scheme.compress(weights, _MU, theta, self.layers)

    def cost(self, theta: Mapping[str, Code]) -> float:
        return self.scheme.cost(theta, self.weights, self.layers)

    def objective(self, theta: Mapping[str, Code]) -> float:
        gap = _distance(self.weights, decompress(theta))
        return self.cost(theta) + _MU / 2 * gap**2

    def allowed(self, objective: float) -> float:
        """Raise an objective by what rounding Θ to the dtype of the weights may cost.

        Rounding moves Δ(Θ) by a few units of the norm of the weights at most, and the
        square root of the objective by as much (the triangle inequality).
        """
        eps = max(torch.finfo(weight.dtype).eps for weight in self.weights.values())
        norm = _distance(self.weights)
        rounding = math.sqrt(_MU / 2) * _ROUNDINGS * eps * norm
        sums = _MU / 2 * _SUMS * norm**2
        return (math.sqrt(objective) * (1 + eps) + rounding) ** 2 + sums

    def require(self, condition: bool, message: str) -> None:
        if not condition:
            text = f"{self.scheme!r} {message}."
            raise AssertionError(text)


def _used_twice(n_axes: int) -> LayerInfo:
    """Return a layer that uses its weight twice: of a convolution, at one position."""
    if n_axes < 1:
        return LayerInfo(uses=2.0)
    one = (1,) * n_axes
    return LayerInfo(f"Conv{n_axes}d", uses=2.0, grids=(Grid(one, one, 2.0),))


def _distance(weights: Weights, dense: Weights | None = None) -> float:
    """Return the norm of w - Δ(Θ), over the weights that Θ compresses."""
    total = 0.0
    for name in weights if dense is None else dense:
        gap = weights[name].detach().cpu().double()
        if dense is not None:
            gap = gap - dense[name].cpu()
        total += float(gap.square().sum())
    return math.sqrt(total)


def _others(weights: Weights, generator: torch.Generator) -> list[Weights]:
    """Return other weights of the same shapes: simpler, noisy, more unequal."""

    def made(function: Callable[[Tensor], Tensor]) -> Weights:
        return {
            name: _like(function(weight.detach().cpu().double()), weight)
            for name, weight in weights.items()
        }

    def noisy(w: Tensor) -> Tensor:
        return w + torch.randn(w.shape, generator=generator) * w.abs().mean() / 10

    def rank_one(w: Tensor) -> Tensor:
        left, values, right = torch.linalg.svd(w.reshape(len(w), -1), False)
        nearest: Tensor = left[:, :1] * values[:1] @ right[:1]
        return nearest.reshape(w.shape)

    return [
        made(torch.zeros_like),
        made(noisy),
        made(lambda w: w * w.abs()),
        made(lambda w: w * (w.abs() >= w.abs().median())),
        made(lambda w: rank_one(w) if w.ndim > 1 else -w),
    ]


def _like(new: Tensor, weight: Tensor) -> Tensor:
    """Return numbers in the dtype and on the device of a weight."""
    limit = torch.finfo(weight.dtype).max
    return new.clamp(-limit, limit).to(weight.device, weight.dtype)


def _check_likeness(trial: _Trial) -> None:
    covered = trial.scheme.covers(trial.weights, selected=True)
    trial.require(
        list(trial.theta) == covered,
        f"returns {list(trial.theta)}, but says that it covers {covered}",
    )
    for name, dense in decompress(trial.theta).items():
        for what in "shape", "dtype", "device":
            got, wanted = getattr(dense, what), getattr(trial.weights[name], what)
            trial.require(
                got == wanted, f"changes the {what} of {name!r}: {got}, not {wanted}"
            )


def _check_feasible(trial: _Trial) -> None:
    for theta in [trial.theta, *trial.rivals]:
        cost = trial.cost(theta)
        trial.require(math.isfinite(cost), f"is not feasible: the cost of Θ is {cost}")


def _check_optimal(trial: _Trial) -> None:
    found = trial.objective(trial.theta)
    for rival in map(trial.objective, trial.rivals if trial.scheme.exact else []):
        trial.require(
            found <= trial.allowed(rival),
            f"is not optimal: its objective is {found}, but {rival} can be had",
        )


def _check_warm_start(trial: _Trial) -> None:
    for start in trial.rivals[::2]:
        before = trial.objective(start)
        found = trial.objective(trial.compress(trial.weights, start))
        trial.require(
            found <= trial.allowed(before),
            f"is worse than its warm start: {found}, from {before}",
        )


def _check_improve(trial: _Trial) -> None:
    for start in [trial.theta, *trial.rivals]:
        theta = trial.scheme.improve(start, trial.weights, _MU, trial.layers)
        before, found = trial.objective(start), trial.objective(theta)
        trial.require(
            found <= trial.allowed(before),
            f"has an improve() that is worse than its warm start: {found}, from "
            f"{before}",
        )


def _check_fixed_point(trial: _Trial) -> None:
    if trial.cost(trial.theta) > 0:
        return
    weights = dict(trial.weights) | decompress(trial.theta)
    again = trial.compress(weights, None if trial.scheme.exact else trial.theta)
    moved = replace(trial, weights=weights).objective(again)
    trial.require(
        moved <= trial.allowed(0.0),
        f"changes what it has compressed already: the objective is {moved}, not 0",
    )


def _check_pure(trial: _Trial) -> None:
    start = trial.rivals[-1]
    packed = pack(start)
    first = trial.compress(trial.weights, start)
    trial.compress(trial.others[0])
    second = trial.compress(trial.weights, start)
    for name, weight in trial.weights.items():
        same = torch.equal(weight, trial.given[name])
        trial.require(same, f"changes the weight {name!r} it is given")
    trial.require(_equal(packed, pack(start)), "changes the warm start it is given")
    trial.require(trial.state == _state(trial.scheme), "changes its own attributes")
    trial.require(
        _equal(pack(first), pack(second))
        or not all(weight.is_cpu for weight in trial.given.values()),
        "is not pure: the same arguments give different results",
    )


def _check_costs(trial: _Trial) -> None:
    each = trial.scheme.cost_by_weight(trial.theta, trial.weights, trial.layers)
    trial.require(
        list(each) == list(trial.theta),
        f"has a cost of {list(each)}, but a Θ of {list(trial.theta)}",
    )
    parts, whole = math.fsum(each.values()), trial.cost(trial.theta)
    trial.require(
        math.isclose(parts, whole, rel_tol=_SUMS),
        f"has a cost of {whole}, but its weights have {parts} together",
    )


def _check_order(trial: _Trial) -> None:
    turned = trial.compress(
        {name: trial.weights[name] for name in reversed(list(trial.weights))}
    )
    other = trial.objective({name: turned[name] for name in trial.theta})
    found = trial.objective(trial.theta)
    trial.require(
        not trial.scheme.exact
        or (found <= trial.allowed(other) and other <= trial.allowed(found)),
        f"depends on the order of the layers: the objective is {found} or {other}",
    )


def _check_parameters(trial: _Trial) -> None:
    copied = clone(trial.scheme)
    copied.set_params(**copied.get_params(deep=False))
    same = _state(copied) == trial.state
    trial.require(same, "differs from its clone in parameters")
    found = replace(trial, scheme=copied).theta
    same = _equal(pack(found), pack(trial.theta))
    trial.require(same, "differs from its clone in results")


def _check_size(trial: _Trial) -> None:
    theta, size = trial.theta, nbits(trial.theta)
    header, arrays = packed = pack(theta)
    copies = {
        "pickle": pickle.loads(pickle.dumps(theta)),
        "deepcopy": copy.deepcopy(theta),
        "to": to(theta, "cpu"),
        "packing": unpack(header, arrays),
    }
    for way, copied in copies.items():
        trial.require(_equal(packed, pack(copied)), f"has a Θ that {way} changes")
        trial.require(nbits(copied) == size, f"has a Θ whose nbits {way} changes")
    stored = 8 * sum(array.nbytes for array in arrays.values())
    trial.require(  # a stream may have two parts, each of whole bytes
        0 <= stored - size < 16 * max(len(arrays), 1),
        f"has a Θ of {size} bits by nbits, but {stored} packed",
    )


_CHECKS = (
    _check_likeness,
    _check_pure,
    _check_feasible,
    _check_optimal,
    _check_warm_start,
    _check_improve,
    _check_fixed_point,
    _check_costs,
    _check_order,
    _check_parameters,
    _check_size,
)


def _state(scheme: Scheme) -> dict[str, Any]:
    """Return all hyperparameters and the names of all attributes, at any depth."""
    parameters: dict[str, Any] = {"": scheme, **scheme.get_params()}
    return {
        name: sorted(vars(value)) if isinstance(value, BaseEstimator) else repr(value)
        for name, value in parameters.items()
    }


def _equal(a: Any, b: Any) -> bool:
    """Whether two packed Θ have the same bits."""
    return (
        a[0] == b[0]
        and a[1].keys() == b[1].keys()
        and all(np.array_equal(a[1][name], b[1][name]) for name in a[1])
    )
