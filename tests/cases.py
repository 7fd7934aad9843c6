"""The lists that tests of schemes are products of."""

import torch

from sklc.codes import Dense, decompress
from sklc.costs import Cost
from sklc.layers import Grid, LayerInfo
from sklc.schemes import (
    AdaptiveQuantization,
    Additive,
    Blocks,
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    LowRank,
    Mixed,
    PenaltyL0Pruning,
    PenaltyL1Pruning,
    RankSelection,
    ScaledBinaryQuantization,
    ScaledTernaryQuantization,
    all_schemes,
)

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
GRANULARITIES = ["joint", "layer", "channel"]
CONV_SCHEMES = ["scheme_1", "scheme_2"]

#: Every scheme of the package that is not made of others, with its defaults.
LEAVES = [
    kind()
    for kind in all_schemes()
    if kind.__module__.startswith("sklc.") and kind not in (Mixed, Additive)
]


class Steps(Cost):
    """A price that goes up and down with the rank, as measured times may."""

    def __call__(self, code, layer):
        return 3.0 if isinstance(code, Dense) else 1.0 + code.rank % 2


#: The same with hyperparameters that bite on small weights.
SETTINGS = [
    *[
        scheme
        for granularity in GRANULARITIES
        for scheme in [
            AdaptiveQuantization(k=3, granularity=granularity),
            AdaptiveQuantization(k=3, zero=True, granularity=granularity),
            AdaptiveQuantization(k=3, zero=True, kappa=0.4, granularity=granularity),
            ScaledBinaryQuantization(granularity=granularity),
            ScaledTernaryQuantization(granularity=granularity),
            ConstraintL0Pruning(kappa=3, granularity=granularity),
            ConstraintL1Pruning(kappa=2.0, granularity=granularity),
        ]
    ],
    ConstraintL0Pruning(kappa=2, granularity=Blocks(4)),
    ConstraintL1Pruning(kappa=1.0, granularity=Blocks(2)),
    PenaltyL0Pruning(alpha=4e-6),
    PenaltyL1Pruning(alpha=4e-6),
    *[
        scheme
        for conv_scheme in CONV_SCHEMES
        for scheme in [
            LowRank(rank=1, conv_scheme=conv_scheme),
            LowRank(rank=0.7, conv_scheme=conv_scheme),
            RankSelection(alpha=2e-6, conv_scheme=conv_scheme),
            RankSelection(1e-6, "flops", conv_scheme=conv_scheme),
        ]
    ],
    LowRank(rank=0),
    RankSelection(alpha=0.0),
    RankSelection(alpha=1e-7, normalize=True),
    RankSelection(alpha=4e-6, criterion=Steps()),
]

_SHORT = {"max_sweeps": 2}

#: Schemes made of schemes.
COMPOSITIONS = [
    Mixed([("conv", LowRank(rank=1), "conv"), ("fc", AdaptiveQuantization(), "fc*")]),
    Mixed([("prune", ConstraintL0Pruning(kappa=5), ["conv", "fc"])]),
    Mixed([("some", ScaledTernaryQuantization(), "fc")]),
    Mixed([("ranks", RankSelection(alpha=1e-7, normalize=True), "*")]),
    Additive(
        [("codes", AdaptiveQuantization()), ("rest", ConstraintL0Pruning(kappa=3))],
        **_SHORT,
    ),
    Additive(
        [
            ("matrix", LowRank(rank=1)),
            ("signs", ScaledBinaryQuantization(granularity="channel")),
            ("rest", PenaltyL1Pruning(alpha=2e-6)),
        ],
        **_SHORT,
    ),
    Additive(
        [("ranks", RankSelection(alpha=1e-6)), ("few", PenaltyL0Pruning(alpha=4e-6))],
        **_SHORT,
    ),
    Additive(
        [
            ("signs", ScaledTernaryQuantization()),
            (
                "each",
                Mixed(
                    [
                        ("a", ConstraintL0Pruning(kappa=2), "conv"),
                        ("b", LowRank(rank=1), "fc"),
                    ]
                ),
            ),
        ],
        **_SHORT,
    ),
    Mixed(
        [
            (
                "sum",
                Additive(
                    [("low", LowRank(rank=1)), ("few", ConstraintL0Pruning(kappa=2))],
                    **_SHORT,
                ),
                "conv",
            ),
            ("pruned", AdaptiveQuantization(k=3, zero=True, kappa=0.5), "fc"),
        ]
    ),
]


def name_of(value):
    """Name a test case: on one line, whatever it is."""
    return " ".join(str(value).replace("torch.", "").split())


def draw(shapes, dtype=torch.float32, seed=0, device="cpu"):
    """Return random normal weights."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator).to(device, dtype)
        for name, shape in shapes.items()
    }


SMALL = {"conv.weight": (2, 3, 2, 2), "fc.weight": (2, 6)}


def uses(weights, count=2.0):
    """Return layers that use every weight so often, convolutions at one position."""
    layers = {}
    for name, weight in weights.items():
        one = (1,) * (weight.ndim - 2)
        grids = (Grid(one, one, count),) if one else ()
        layers[name] = LayerInfo(uses=count, grids=grids)
    return layers


def distortion(theta, weights):
    """Return the squared error of Θ, in double precision."""
    return sum(
        float((weights[name].double() - dense.double()).square().sum())
        for name, dense in decompress(theta).items()
    )


def objective(scheme, theta, weights, mu=1.0, layers=None):
    """Return what a C step minimises."""
    return scheme.cost(theta, weights, layers) + mu / 2 * distortion(theta, weights)
