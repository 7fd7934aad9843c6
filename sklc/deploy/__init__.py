"""What the user takes away: modules, files, graphs, reports."""

from sklc.deploy.model import CompressedModel

__all__ = ["CompressedModel"]
