"""The L step of the LC algorithm: training, pulled towards the compressed weights."""

from sklc.lstep.base import Learner, LStep, default_l_step, register
from sklc.lstep.net import NetLearner, NetLStep

__all__ = [
    "LStep",
    "Learner",
    "NetLStep",
    "NetLearner",
    "default_l_step",
    "register",
]
