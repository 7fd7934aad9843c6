"""Fine-tuning of compressed linear models: the best degrees of freedom of Θ."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sklc.codes import Code, Factored, Theta, decompress, degrees_of_freedom
from sklc.codes.theta import mapped, trainable
from sklc.lstep.linear.affine import affine
from sklc.lstep.linear.arrays import Array, Pair
from sklc.lstep.linear.descent import minimized
from sklc.lstep.linear.objective import Objective


def refitted(
    objective: Objective,
    theta: Mapping[str, Code],
    intercept: Array,
    *,
    free: bool,
    tol: float,
) -> tuple[Theta, Array]:
    r"""Minimise the loss of Δ(Θ) over the degrees of freedom of Θ and free intercepts.

    Where Δ is affine in them (values of a support or a codebook, scales, their sums)
    the problem is convex: squared errors are minimised directly, log losses by L-BFGS
    and Newton's method in these few unknowns. Of products of two factors, those of
    squared errors are solved globally, others are descended on.

    Parameters
    ----------
    objective : Objective
    theta : dict of str to Code
        Of ``coef_``, and of ``intercept_`` if that is compressed.
    intercept : ndarray of shape (n_outputs,)
        Intercepts, if Θ has none.
    free : bool
        Whether these are to be found, too.
    tol : float
        Largest entry of the gradient in the end, of an iterative method.

    Returns
    -------
    theta : dict of str to Code
    intercept : ndarray of shape (n_outputs,)
    """
    code = theta["coef_"]
    if isinstance(code, Factored) and len(theta) == 1:
        factors = objective.low_rank(code.rank)
        if factors is not None:
            left, right = map(torch.from_numpy, factors)
            b = objective.best_intercept(factors[0] @ factors[1], intercept, tol)
            code = replace(code, left=left, right=right)
            return {"coef_": code}, b if free else intercept
    found = trainable(theta)
    unknowns = degrees_of_freedom(found)
    parts = [tensor.detach().numpy().ravel() for tensor in unknowns]
    start = np.concatenate([*parts, np.empty(0)]), intercept
    coef, *rest = (affine({name: found[name]}, unknowns) for name in sorted(found))
    best = None
    if coef is not None and None not in rest:
        best = objective.refit(coef, rest[0] if rest else None, start, tol)
    if best is None:
        best = _descended(objective, found, unknowns, start, free=free, tol=tol)
    _put(unknowns, best[0])
    return mapped(found, Tensor.detach), best[1]


def _descended(
    objective: Objective,
    theta: Theta,
    unknowns: list[Tensor],
    start: Pair,
    *,
    free: bool,
    tol: float,
) -> Pair:
    """Descend on the loss of any Θ: its derivatives come from torch."""

    def value_and_gradient(z: Array, b: Array) -> tuple[float, Array, Array]:
        _put(unknowns, z)
        with torch.enable_grad():
            dense = decompress(theta)
        W = dense["coef_"].detach().numpy()
        own = dense.get("intercept_")
        given = b if own is None else own.detach().numpy()
        value, slope, turn = objective.value_and_gradient(W, given)
        slopes = {"coef_": slope, "intercept_": turn}
        outputs = [name for name, weight in dense.items() if weight.requires_grad]
        found = torch.autograd.grad(
            [dense[name] for name in outputs],
            unknowns,
            [torch.from_numpy(np.ascontiguousarray(slopes[n])) for n in outputs],
            materialize_grads=True,
        )
        return value, np.concatenate([part.numpy().ravel() for part in found]), turn

    z, b = minimized(value_and_gradient, list(start), [True, free], tol)
    return z, b


def _put(unknowns: list[Tensor], values: Array) -> None:
    sizes = [tensor.numel() for tensor in unknowns]
    parts = torch.from_numpy(values).split(sizes) if sizes else []
    for tensor, part in zip(unknowns, parts, strict=True):
        tensor.data.copy_(part.view(tensor.shape))
