"""What the user takes away: modules, files, graphs, reports."""

from sklc.deploy.model import CompressedModel
from sklc.deploy.modules import to_module
from sklc.deploy.onnx import to_onnx

__all__ = ["CompressedModel", "to_module", "to_onnx"]
