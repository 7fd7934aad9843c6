"""Cells of the benchmark: a net, a scheme, epochs; and what their models must be."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.rivals.nets import NETS
from sklc.codes import nbits
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    ConstraintL0Pruning,
    LowRank,
    Mixed,
    ScaledTernaryQuantization,
    Scheme,
)
from sklc.schemes.validation import count

Weights = dict[str, Tensor]

KEPT = {"kept5": 0.05, "kept1": 0.01}
CORRECTIONS = 0.01
RANK = 0.25  # of the full one, of all layers but the last
LEVELS = {"k2": 2, "k4": 4, "ternary": 3}
#: Of the relative singular values of a product in single precision.
ROUNDING = 1e-5


class Cell(NamedTuple):
    """What is compressed, how, and for how many epochs."""

    net: str
    scheme: str
    epochs: int


def cells() -> Iterator[Cell]:
    """Yield all cells of the benchmark, those on which it rests first."""
    everywhere = "k2", "kept5", "ternary", "rank"
    large, quick = ("lenet300", "lenet5"), ("digits", "lstm")
    for scheme in everywhere:
        yield from (Cell(net, scheme, 15) for net in NETS)
    for scheme, nets in (("k4", quick), ("kept1", large), ("additive", quick)):
        yield from (Cell(net, scheme, 15) for net in nets)
    for scheme in everywhere:
        yield from (Cell(net, scheme, 40) for net in quick)


def scheme_of(name: str, module: nn.Module) -> Scheme:
    """Return a scheme by its name, for a module."""
    if name in ("k2", "k4"):
        return AdaptiveQuantization(k=LEVELS[name])
    if name in KEPT:
        return ConstraintL0Pruning(KEPT[name])
    if name == "ternary":
        return ScaledTernaryQuantization()
    if name == "rank":
        hidden = list(matrices(module))[:-1]
        return Mixed([("thin", LowRank(RANK), hidden)])
    return Additive(
        [
            ("codes", AdaptiveQuantization(k=2)),
            ("corrections", ConstraintL0Pruning(CORRECTIONS)),
        ]
    )


def matrices(module: nn.Module) -> Weights:
    """Return the parameters of two or more dimensions: biases and norms are free."""
    return {n: p.data for n, p in module.named_parameters() if p.ndim > 1}


def covered(scheme: Scheme, module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that a scheme compresses."""
    parameters = dict(module.named_parameters())
    return {name: parameters[name] for name in scheme.covers(matrices(module))}


def bits(name: str, scheme: Scheme, module: nn.Module) -> int:
    """Return the bits of the compressed weights of a model of a scheme's form.

    Raises
    ------
    AssertionError
        If the model has another form.
    """
    weights = {n: p.detach() for n, p in covered(scheme, module).items()}
    problems = _CHECKS[name](weights, name)
    if problems:
        msg = f"This is no model of the scheme {name!r}: {'; '.join(problems)}."
        raise AssertionError(msg)
    return nbits(scheme.compress(weights, mu=1.0))


def kept(fraction: float, weights: Mapping[str, Tensor]) -> int:
    """Return how many weights a fraction of all of them is."""
    return count(fraction, sum(w.numel() for w in weights.values()))


def rank(weight: Tensor) -> int:
    """Return the rank that a weight may have."""
    return count(RANK, min(weight.flatten(1).shape))


def _few_values(weights: Weights, name: str) -> list[str]:
    counts = {n: len(w.unique()) for n, w in weights.items()}
    found = [f"{n} has {c} values" for n, c in counts.items() if c > LEVELS[name]]
    if name == "ternary":
        for n, weight in weights.items():
            values = weight.unique()
            if len(values[values != 0].abs().unique()) > 1:
                found.append(f"{n} has the values {values.tolist()}")
    return found


def _few_nonzeros(weights: Weights, name: str) -> list[str]:
    nonzero = sum(int(w.count_nonzero()) for w in weights.values())
    most = kept(KEPT[name], weights)
    return [f"{nonzero} weights are not zero, of {most}"] if nonzero > most else []


def _low_rank(weights: Weights, name: str) -> list[str]:
    found = []
    for n, weight in weights.items():
        values = torch.linalg.svdvals(weight.flatten(1).double())
        actual = int((values > ROUNDING * values[0]).sum())
        if actual > rank(weight):
            found.append(f"{n} has rank {actual}, not {rank(weight)}")
    return found


def _two_values_and_corrections(weights: Weights, name: str) -> list[str]:
    others = 0
    for weight in weights.values():
        counts = weight.unique(return_counts=True)[1].sort(descending=True).values
        others += int(counts[2:].sum())
    most = kept(CORRECTIONS, weights)
    return [f"{others} weights are corrected, of {most}"] if others > most else []


_CHECKS: dict[str, Callable[[Weights, str], list[str]]] = {
    **dict.fromkeys(LEVELS, _few_values),
    **dict.fromkeys(KEPT, _few_nonzeros),
    "rank": _low_rank,
    "additive": _two_values_and_corrections,
}
