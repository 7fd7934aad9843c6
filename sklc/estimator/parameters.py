"""What the parameters of LCCompressor may be."""

from numbers import Integral
from os import PathLike
from typing import Any

import numpy as np

from sklc.checks import (
    check,
    check_bool,
    check_int,
    check_option,
    is_one_of,
    is_positive,
    is_real,
)
from sklc.lstep import LStep
from sklc.schemes import Scheme


def check_parameters(compressor: Any) -> None:
    """Raise a ValueError or TypeError if a parameter of an LCCompressor is invalid."""
    _check_kinds(compressor)
    compressor.scheme.validate()
    mu_init, mu_factor, tol = compressor.mu_init, compressor.mu_factor, compressor.tol
    listed = isinstance(mu_init, list | tuple) or (
        isinstance(mu_init, np.ndarray) and mu_init.ndim == 1
    )
    check(
        compressor,
        "mu_init",
        is_one_of(mu_init, ("auto",))
        or is_positive(mu_init)
        or (listed and len(mu_init) > 0 and all(map(is_positive, mu_init))),
        "'auto', a finite number above 0, or a list of such numbers",
    )
    check(
        compressor,
        "mu_factor",
        is_one_of(mu_factor, ("auto",)) or (is_positive(mu_factor) and mu_factor >= 1),
        "'auto' or a finite number of at least 1",
    )
    check(compressor, "tol", is_real(tol) and tol >= 0, "at least 0")
    check_int(compressor, "max_iter", 0)
    check_option(compressor, "keep", ("best", "last"))
    check_bool(compressor, "multipliers")
    check_int(compressor, "finetune_epochs", 0)
    verbose = compressor.verbose
    good = isinstance(verbose, Integral) and int(verbose) >= 0
    check(compressor, "verbose", good, "0, 1 or 2")


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
