"""Models into files, and how large those are or would be."""

import os

from sklc.deploy.model import CompressedModel
from sklc.deploy.sizes import SizeReport, size_report
from sklc.deploy.writing import write
from sklc.files import replace, target


def save(
    model: CompressedModel, path: str | os.PathLike[str], values: str | None = None
) -> SizeReport:
    """Write a model to a file, at once or not at all; return what takes which part.

    Parameters
    ----------
    model : CompressedModel
    path : str or Path
    values : {"float16", "bfloat16"} or None
        See :func:`~sklc.deploy.writing.write`.
    """
    target(path)  # which takes no time, and raises if it cannot be one
    written = write(model, values)
    report = size_report(model, written)
    replace(path, written.content)
    return report


def sized(model: CompressedModel, values: str | None = None) -> SizeReport:
    """Return what :func:`save` would: the same bytes are made, and not written."""
    return size_report(model, write(model, values))
