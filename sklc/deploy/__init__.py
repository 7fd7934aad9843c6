"""What the user takes away: modules, files, graphs, reports."""

from sklc.deploy.model import CompressedModel
from sklc.deploy.modules import to_module

__all__ = ["CompressedModel", "to_module"]
