"""Model compression for scikit-learn users, by the learning-compression algorithm."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklc.deploy.loading import load, load_into
    from sklc.estimator.compressor import LCCompressor

__version__ = "0.1.0.dev0"

__all__ = ["LCCompressor", "__version__", "load", "load_into"]

_HOMES = {
    "LCCompressor": "sklc.estimator.compressor",
    "load": "sklc.deploy.loading",
    "load_into": "sklc.deploy.loading",
}
_ROOMS = (
    *("codes", "costs", "deploy", "lstep"),
    *("metrics", "plot", "schemes", "testing"),
)


def __getattr__(name: str) -> Any:
    # torch and skorch load when they are used, not when sklc is imported
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return import_module(f"sklc.{name}")
    msg = f"module 'sklc' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_ROOMS})
