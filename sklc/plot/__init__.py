"""Figures of compression, as displays like those of scikit-learn.

A display holds data, and draws them with ``plot``; ``from_...`` takes them from where
they are. matplotlib is needed (``pip install "sklc[plot]"``), and loaded when something
is drawn.
"""

from sklc.plot.ranks import RanksDisplay
from sklc.plot.run import RunDisplay
from sklc.plot.tradeoff import TradeoffDisplay
from sklc.plot.weights import WeightsDisplay

__all__ = ["RanksDisplay", "RunDisplay", "TradeoffDisplay", "WeightsDisplay"]
