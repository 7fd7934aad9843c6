"""Compressed nets as modules of their own."""

from sklc.deploy.modules.assemble import to_module

__all__ = ["to_module"]
