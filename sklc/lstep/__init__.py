"""The L step of the LC algorithm: training, pulled towards the compressed weights."""

from sklc.lstep.base import Learner, LStep, default_l_step, register
from sklc.lstep.linear.l_step import LinearLStep
from sklc.lstep.linear.learner import LinearLearner
from sklc.lstep.net.function import FunctionLStep
from sklc.lstep.net.l_step import NetLStep
from sklc.lstep.net.learner import NetLearner
from sklc.lstep.pipeline import PipelineLearner, PipelineLStep
from sklc.lstep.translation import Translation

__all__ = [
    "FunctionLStep",
    "LStep",
    "Learner",
    "LinearLStep",
    "LinearLearner",
    "NetLStep",
    "NetLearner",
    "PipelineLStep",
    "PipelineLearner",
    "Translation",
    "default_l_step",
    "register",
]
