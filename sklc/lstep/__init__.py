"""The L step of the LC algorithm: training, pulled towards the compressed weights."""

from sklc.lstep.base import Learner, LStep, default_l_step, register
from sklc.lstep.function import FunctionLStep
from sklc.lstep.linear import LinearLearner, LinearLStep
from sklc.lstep.net import NetLStep
from sklc.lstep.net_learner import NetLearner

__all__ = [
    "FunctionLStep",
    "LStep",
    "Learner",
    "LinearLStep",
    "LinearLearner",
    "NetLStep",
    "NetLearner",
    "default_l_step",
    "register",
]
