"""Checks of hyperparameters; every message says what was wanted instead."""

import math
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any


def check(
    owner: object,
    name: str,
    good: bool,
    wanted: str,
    error: type[Exception] = ValueError,
) -> None:
    """Raise an error that names the parameter `name` of `owner`, unless it is good."""
    if not good:
        value = getattr(owner, name)
        msg = f"{type(owner).__name__}({name}={value!r}): {name} must be {wanted}."
        raise error(msg)


def check_int(
    owner: object, name: str, minimum: int, also: Collection[Any] = ()
) -> Any:
    """Return an int of at least `minimum`, or one of `also`; raise if it is neither."""
    value = getattr(owner, name)
    good = is_int(value) and value >= minimum
    wanted = _either(also, f"an int of at least {minimum}")
    check(owner, name, good or is_one_of(value, also), wanted)
    return int(value) if good else value


def check_real(owner: object, name: str, minimum: float) -> None:
    """Raise unless the parameter is a finite real number of at least `minimum`."""
    value = getattr(owner, name)
    good = is_real(value) and minimum <= value < math.inf
    check(owner, name, good, f"a finite number of at least {minimum}")


def check_positive(owner: object, name: str, also: Collection[Any] = ()) -> None:
    """Raise unless the parameter is above zero and finite, or one of `also`."""
    value = getattr(owner, name)
    good = is_positive(value) or is_one_of(value, also)
    check(owner, name, good, _either(also, "a finite number above 0"))


def check_count(owner: object, name: str) -> None:
    """Raise unless the parameter is an int (a count) or a float (a fraction)."""
    value = getattr(owner, name)
    good = value >= 0 if is_int(value) else is_real(value) and 0.0 <= value <= 1.0
    wanted = "an int of at least 0 (a count) or a float from 0.0 to 1.0 (a fraction)"
    check(owner, name, good, wanted)


def check_option(owner: object, name: str, options: Collection[Any]) -> Any:
    """Return the parameter, which must be one of `options`."""
    value = getattr(owner, name)
    check(
        owner,
        name,
        is_one_of(value, options),
        "one of " + ", ".join(map(repr, options)),
    )
    return value


def check_bool(owner: object, name: str) -> bool:
    """Return the parameter, which must be True or False."""
    value = getattr(owner, name)
    check(owner, name, isinstance(value, bool), "True or False")
    return bool(value)


def is_int(value: Any) -> bool:
    """Whether it is an integer, of Python or NumPy, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_real(value: Any) -> bool:
    """Whether it is a real number, of Python or NumPy, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_positive(value: Any) -> bool:
    """Whether it is a real number above zero, and finite."""
    return is_real(value) and 0 < as_float(value) < math.inf


def as_float(value: Any) -> float:
    """Return a real number as a float; infinity if it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def is_one_of(value: Any, options: Collection[Any]) -> bool:
    """Whether it is one of some strings or None; arrays are not, nor an error."""
    return any(isinstance(value, type(o)) and value == o for o in options)


def _either(also: Collection[Any], wanted: str) -> str:
    return " or ".join([*map(repr, also), wanted])
