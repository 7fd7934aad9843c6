"""Errors that users may want to catch, and warnings that point to their own lines."""

import sys
import warnings


class DivergenceError(ArithmeticError):
    """Training left the finite numbers.

    After :meth:`sklc.LCCompressor.fit` raised it, the compressor holds the best iterate
    of the steps before, if there was one.
    """


class CheckpointError(ValueError):
    """A checkpoint cannot be used: its file is damaged, in use, or of another run."""


class ModelFileError(ValueError):
    """A file holds no model that can be used: damaged, hostile, too new, or another."""


class UselessResultWarning(UserWarning):
    """A fit ended with a result that is of little use, and says why and what to do."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn of the line, outside of sklc and scikit-learn, that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and _package(frame.f_globals) in ("sklc", "sklearn"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _package(names: dict[str, object]) -> str:
    return str(names.get("__name__")).split(".")[0]
