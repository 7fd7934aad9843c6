"""Models into files, and how large those are or would be."""

import os

import torch
from torch import nn

from sklc.deploy.model import CompressedModel
from sklc.deploy.sizes import SizeReport, size_report
from sklc.deploy.writing import Written, write
from sklc.exceptions import warn
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
    written, report = _made(model, values)
    _tell_extra_state(model)
    replace(path, written.content)
    return report


def sized(model: CompressedModel, values: str | None = None) -> SizeReport:
    """Return what :func:`save` would: the same bytes are made, and not written."""
    return _made(model, values)[1]


def _made(model: CompressedModel, values: str | None) -> tuple[Written, SizeReport]:
    with torch.device("cpu"):  # whatever is the default
        written = write(model, values)
        return written, size_report(model, written)


def _tell_extra_state(model: CompressedModel) -> None:
    """Warn of what modules keep that is no tensor."""
    if not model.is_net:
        return
    having = [
        f"{name or 'the module itself'} ({type(module).__name__})"
        for name, module in model.model.named_modules()
        if type(module).get_extra_state is not nn.Module.get_extra_state
        and module.get_extra_state() is not None
    ]
    if having:
        msg = (
            f"The file does not hold the extra state (get_extra_state) of "
            f"{', '.join(having)}: give sklc.load a module that has it."
        )
        warn(msg)
