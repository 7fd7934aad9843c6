"""What the parameters of LCCompressor may be."""

import math
import sys
from dataclasses import dataclass
from numbers import Integral
from os import PathLike
from typing import Any

import numpy as np

from sklc.checks import (
    as_float,
    check,
    check_bool,
    check_int,
    check_option,
    check_real,
    is_one_of,
)
from sklc.exceptions import warn
from sklc.lstep import Learner, LStep
from sklc.schemes import Scheme


@dataclass(frozen=True)
class Options:
    """The parameters of an algorithm's run, as numbers of Python.

    Attributes
    ----------
    mu_init : float, "auto" or tuple of float
    mu_factor : float or "auto"
    max_iter : int
    tol : float
    keep : {"best", "last"}
    multipliers : bool
    finetune : int or "auto"
        Epochs.
    keep_reference : bool
    """

    mu_init: float | str | tuple[float, ...]
    mu_factor: float | str
    max_iter: int
    tol: float
    keep: str
    multipliers: bool
    finetune: int | str
    keep_reference: bool


def checked(compressor: Any) -> Options:
    """Return the options of an LCCompressor.

    Raises
    ------
    ValueError, TypeError
        If a parameter is invalid.
    """
    _check_kinds(compressor)
    compressor.scheme.validate()
    verbose = compressor.verbose
    good = isinstance(verbose, Integral) and int(verbose) >= 0
    check(compressor, "verbose", good, "0, 1 or 2")
    return Options(
        mu_init=_mu_init(compressor),
        mu_factor=_mu_factor(compressor),
        max_iter=_number(compressor, "max_iter"),
        tol=check_real(compressor, "tol", 0),
        keep=check_option(compressor, "keep", ("best", "last")),
        multipliers=check_bool(compressor, "multipliers"),
        finetune=_finetune(compressor),
        keep_reference=check_bool(compressor, "keep_reference"),
    )


def check_scheme(scheme: Scheme, learner: Learner) -> None:
    """Raise the errors that a scheme has for the weights, without compressing them.

    Raises
    ------
    ValueError, TypeError
        If it cannot compress them, or there is nothing that it compresses.
    """
    weights = learner.weights()
    names = scheme.covers(weights)
    if not names:
        msg = (
            "The scheme covers no parameter: the model has none of two or more "
            f"dimensions, only {list(weights)}; select some by name with Mixed."
        )
        raise ValueError(msg)
    scheme.check({name: weights[name] for name in names}, learner.layers())


def _mu_init(compressor: Any) -> float | str | tuple[float, ...]:
    given = compressor.mu_init
    if is_one_of(given, ("auto",)):
        return str(given)
    listed = isinstance(given, list | tuple) or (
        isinstance(given, np.ndarray) and given.ndim == 1
    )
    mus = tuple(map(as_float, given if listed else [given]))
    check(
        compressor,
        "mu_init",
        len(mus) > 0 and all(0 < mu < math.inf for mu in mus),
        "'auto', a finite number above 0, or a list of such numbers",
    )
    return mus if listed else mus[0]


def _mu_factor(compressor: Any) -> float | str:
    given = compressor.mu_factor
    if is_one_of(given, ("auto",)):
        return str(given)
    factor = as_float(given)
    wanted = "'auto' or a finite number of at least 1"
    check(compressor, "mu_factor", 1 <= factor < math.inf, wanted)
    return factor


def _finetune(compressor: Any) -> int | str:
    if not is_one_of(compressor.finetune_epochs, ("deprecated",)):
        msg = (
            "LCCompressor(finetune_epochs=...) is called finetune now: the old name "
            "will go with the next release."
        )
        warn(msg, FutureWarning)
        return _number(compressor, "finetune_epochs")
    if is_one_of(compressor.finetune, ("auto",)):
        return "auto"
    if isinstance(compressor.finetune, bool | np.bool_):
        return int(compressor.finetune)
    return _number(compressor, "finetune")


def _number(compressor: Any, name: str) -> int:
    """Return a number of steps, which must be one that can be counted."""
    number = check_int(compressor, name, 0)
    check(compressor, name, number <= sys.maxsize, f"an int from 0 to {sys.maxsize}")
    return number


def _check_kinds(compressor: Any) -> None:
    scheme, l_step, memory = compressor.scheme, compressor.l_step, compressor.memory
    function = callable(l_step) and not isinstance(l_step, type)
    kinds = {
        "scheme": (isinstance(scheme, Scheme), "a sklc.schemes.Scheme"),
        "l_step": (
            l_step is None or isinstance(l_step, LStep) or function,
            "a sklc.lstep.LStep, a function or None",
        ),
        "checkpoint": (
            isinstance(compressor.checkpoint, str | PathLike | None),
            "a path or None",
        ),
        "memory": (
            isinstance(memory, str | PathLike | None) or hasattr(memory, "cache"),
            "a folder, a joblib.Memory or None",
        ),
    }
    for name, (good, wanted) in kinds.items():
        check(compressor, name, good, wanted, TypeError)
