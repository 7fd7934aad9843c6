"""What the parameters of LCCompressor may be."""

import math
from numbers import Integral, Real
from os import PathLike
from typing import Any

from sklc.lstep import LStep
from sklc.schemes import Scheme


def check_parameters(compressor: Any) -> None:
    """Raise a ValueError or TypeError if a parameter of an LCCompressor is invalid."""
    given = compressor.get_params(deep=False)
    l_step = given["l_step"]
    function = callable(l_step) and not isinstance(l_step, type)
    kinds = {
        "scheme": (isinstance(given["scheme"], Scheme), "a sklc.schemes.Scheme"),
        "l_step": (
            l_step is None or isinstance(l_step, LStep) or function,
            "a sklc.lstep.LStep, a function or None",
        ),
        "checkpoint": (
            isinstance(given["checkpoint"], str | PathLike | None),
            "a path or None",
        ),
        "memory": (
            isinstance(given["memory"], str | None)
            or hasattr(given["memory"], "cache"),
            "a folder, a joblib.Memory or None",
        ),
    }
    _check(given, kinds, TypeError)
    given["scheme"].validate()
    mu_init, mu_factor = given["mu_init"], given["mu_factor"]
    listed = isinstance(mu_init, list | tuple) and len(mu_init) > 0
    values = {
        "mu_init": (
            mu_init == "auto"
            or _is_pull(mu_init)
            or (listed and all(map(_is_pull, mu_init))),
            "'auto', above 0, or a list of such numbers",
        ),
        "mu_factor": (
            mu_factor == "auto" or (_is_pull(mu_factor) and mu_factor >= 1),
            "'auto' or at least 1",
        ),
        "max_iter": (_is_count(given["max_iter"]), "an int of at least 0"),
        "tol": (
            isinstance(given["tol"], Real) and float(given["tol"]) >= 0,
            "at least 0",
        ),
        "keep": (given["keep"] in ("best", "last"), "'best' or 'last'"),
        "finetune_epochs": (
            _is_count(given["finetune_epochs"]),
            "an int of at least 0",
        ),
        "verbose": (_is_count(given["verbose"]), "0, 1 or 2"),
    }
    _check(given, values, ValueError)


def _check(
    given: dict[str, Any], checks: dict[str, tuple[bool, str]], kind: type[Exception]
) -> None:
    for name, (good, wanted) in checks.items():
        if not good:
            msg = f"{name} must be {wanted}, got {given[name]!r}."
            raise kind(msg)


def _is_pull(value: Any) -> bool:
    return isinstance(value, Real) and 0 < float(value) < math.inf


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and int(value) >= 0
