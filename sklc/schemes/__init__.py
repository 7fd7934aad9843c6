"""Compression schemes: the C step of the LC algorithm."""

from sklc.schemes.additive import Additive
from sklc.schemes.base import Scheme, all_schemes
from sklc.schemes.levels import (
    BinaryQuantization,
    ScaledBinaryQuantization,
    ScaledTernaryQuantization,
)
from sklc.schemes.low_rank import LowRank, RankSelection
from sklc.schemes.matrix import MatrixScheme
from sklc.schemes.mixed import Mixed
from sklc.schemes.problem import Problem
from sklc.schemes.pruning import (
    ConstraintL0Pruning,
    ConstraintL1Pruning,
    PenaltyL0Pruning,
    PenaltyL1Pruning,
)
from sklc.schemes.quantization import AdaptiveQuantization
from sklc.schemes.rows import Blocks
from sklc.schemes.vector import VectorScheme

__all__ = [
    "AdaptiveQuantization",
    "Additive",
    "BinaryQuantization",
    "Blocks",
    "ConstraintL0Pruning",
    "ConstraintL1Pruning",
    "LowRank",
    "MatrixScheme",
    "Mixed",
    "PenaltyL0Pruning",
    "PenaltyL1Pruning",
    "Problem",
    "RankSelection",
    "ScaledBinaryQuantization",
    "ScaledTernaryQuantization",
    "Scheme",
    "VectorScheme",
    "all_schemes",
]
