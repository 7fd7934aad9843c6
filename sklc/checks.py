"""Checks of hyperparameters: each returns the value as a plain one of Python.

Numbers of NumPy overflow and round where those of Python do not (``np.int8(100) * 2``,
``np.float16(100) / 1e-5``). Whoever computes with a hyperparameter takes what its check
returns. Every message says what was wanted instead.
"""

import math
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any, overload

import numpy as np


def check(
    owner: object,
    name: str,
    good: bool,
    wanted: str,
    error: type[Exception] = ValueError,
) -> None:
    """Raise an error that names the parameter `name` of `owner`, unless it is good."""
    if not good:
        value = shown(getattr(owner, name))
        msg = f"{type(owner).__name__}({name}={value}): {name} must be {wanted}."
        raise error(msg)


@overload
def check_int(owner: object, name: str, minimum: int) -> int: ...
@overload
def check_int(owner: object, name: str, minimum: int, also: Collection[Any]) -> Any: ...
def check_int(
    owner: object, name: str, minimum: int, also: Collection[Any] = ()
) -> Any:
    """Return the parameter, an int of at least `minimum`, or one of `also`; or raise.

    However large: an int of Python knows no limit.
    """
    value = getattr(owner, name)
    if is_one_of(value, also):
        return value
    good = is_int(value) and int(value) >= minimum
    check(owner, name, good, _either(also, f"an int of at least {minimum}"))
    return int(value)


def check_real(owner: object, name: str, minimum: float) -> float:
    """Return the parameter, a finite real number of at least `minimum`; or raise."""
    value = as_float(getattr(owner, name))
    good = minimum <= value < math.inf
    check(owner, name, good, f"a finite number of at least {minimum}")
    return value


@overload
def check_positive(owner: object, name: str) -> float: ...
@overload
def check_positive(owner: object, name: str, also: Collection[Any]) -> Any: ...
def check_positive(owner: object, name: str, also: Collection[Any] = ()) -> Any:
    """Return the parameter, finite and above zero, or one of `also`; or raise."""
    value = getattr(owner, name)
    if is_one_of(value, also):
        return value
    check(owner, name, is_positive(value), _either(also, "a finite number above 0"))
    return as_float(value)


def check_count(owner: object, name: str) -> int | float:
    """Return the parameter, an int (a count) or a float (a fraction); or raise."""
    value = getattr(owner, name)
    found = int(value) if is_int(value) else as_float(value)
    good = found >= 0 if isinstance(found, int) else 0.0 <= found <= 1.0
    wanted = "an int of at least 0 (a count) or a float from 0.0 to 1.0 (a fraction)"
    check(owner, name, good, wanted)
    return found


def check_option(owner: object, name: str, options: Collection[Any]) -> Any:
    """Return the parameter, one of `options`; or raise."""
    value = getattr(owner, name)
    good = is_one_of(value, options)
    check(owner, name, good, "one of " + ", ".join(map(repr, options)))
    return value


def check_bool(owner: object, name: str) -> bool:
    """Return the parameter, True or False; or raise."""
    value = getattr(owner, name)
    check(owner, name, isinstance(value, bool | np.bool_), "True or False")
    return bool(value)


def is_int(value: Any) -> bool:
    """Whether it is an integer, of Python or NumPy, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_real(value: Any) -> bool:
    """Whether it is a real number, of Python or NumPy, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_positive(value: Any) -> bool:
    """Whether it is a real number above zero, and finite."""
    return 0 < as_float(value) < math.inf


def is_one_of(value: Any, options: Collection[Any]) -> bool:
    """Whether it is one of some strings or None; arrays are not, nor an error."""
    return any(isinstance(value, type(o)) and value == o for o in options)


def as_float(value: Any) -> float:
    """Return a real number as a float; NaN if it is none, infinity if it is larger."""
    if not is_real(value):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def shown(value: Any) -> str:
    """Return how a value is written, however many digits it has."""
    try:
        return repr(value)
    except ValueError:  # Python does not write integers of thousands of digits
        return f"<{type(value).__name__} of {value.bit_length()} bits>"


def _either(also: Collection[Any], wanted: str) -> str:
    return " or ".join([*map(repr, also), wanted])
