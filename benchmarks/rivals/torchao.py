"""PARQ and PAT, the rivals that torchao has."""

import math

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torchao.prototype.parq.optim import ProxPARQ, QuantOptimizer
from torchao.prototype.parq.quant import Quantizer
from torchao.prototype.pat.optim import PruneOptimizer

from benchmarks.rivals.cells import KEPT, LEVELS, covered, kept, rank
from benchmarks.rivals.methods import PERIOD, SETTLED, Run
from sklc.codes import Code, Scaled
from sklc.schemes import Scheme

#: The share of a run after which PARQ is all hard.
HARD = 0.8


class CStep(Quantizer):
    """Our C step as the quantizer of PARQ: the best values for the weights."""

    def __init__(self, scheme: Scheme, n_values: int) -> None:
        super().__init__()
        self.scheme, self.n_values = scheme, n_values

    def get_quant_size(self, b: int) -> int:
        """Return how many values there are."""
        return self.n_values

    def quantize(
        self, p: Tensor, b: int, dim: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the quantized weights, and their values in order."""
        code = self.scheme.compress({"w": p.detach()}, mu=1.0)["w"]
        values = _values(code)
        padding = values[-1:].expand(self.n_values - len(values))
        return code.dense(), torch.cat([values, padding])


def _values(code: Code) -> Tensor:
    if isinstance(code, Scaled):
        return code.scale * code.scale.new_tensor(code.levels)
    return code.codebook[0].sort().values


def parq(run: Run) -> nn.Module:
    """PARQ: the proximal map becomes hard quantization over four fifths of the run."""
    module = run.task.module()
    quantizer = CStep(run.scheme, LEVELS[run.name])

    def wrap(base: Optimizer) -> Optimizer:
        prox = ProxPARQ(0, int(HARD * run.n_steps))
        return QuantOptimizer(base, quantizer, prox, quant_period=PERIOD)

    bits = math.ceil(math.log2(LEVELS[run.name]))
    return run.train(
        module, parameters=_groups(run, module, {"quant_bits": bits}), wrap=wrap
    )


def pat(run: Run) -> nn.Module:
    """PAT: its hard constraints, scheduled; then what is left heals."""
    module = run.task.module()
    weights = covered(run.scheme, module)

    def wrap(base: Optimizer) -> Optimizer:
        start = int(SETTLED * run.n_steps)
        return PruneOptimizer(base, healing_start_step=start)

    if run.name in KEPT:
        total = sum(w.numel() for w in weights.values())
        options = {
            "prox_type": "GlobalMinSparsityConstraint",
            "group_type": "ElemGrouper",
            "min_sparsity": 1 - kept(KEPT[run.name], weights) / total,
            "min_sparsity_schedule": True,
        }
        return run.train(module, parameters=_groups(run, module, options), wrap=wrap)
    groups = [
        {
            "params": [weight],
            "prox_type": "MinRankConstraint",
            "group_type": "SVDGrouper",
            "min_sparsity": 1 - rank(weight) / min(weight.flatten(1).shape),
            "min_sparsity_schedule": True,
        }
        for weight in weights.values()
    ]
    others = _groups(run, module, {})[1]
    run.train(module, parameters=[*groups, others], wrap=wrap)
    return module


def _groups(run: Run, module: nn.Module, options: dict) -> list[dict]:
    """Return the parameters that are compressed, with options, and the others."""
    weights = list(covered(run.scheme, module).values())
    known = {id(weight) for weight in weights}
    others = [p for p in module.parameters() if id(p) not in known]
    return [{"params": weights, **options}, {"params": others}]
