"""What functions and classes do, told by the code that runs and not by their names."""

import builtins
import hashlib
import inspect
from collections.abc import Iterator
from types import CodeType
from typing import Any

#: Packages whose code is told by their versions.
LIBRARIES = frozenset({"numpy", "scipy", "sklc", "sklearn", "skorch", "torch"})
_SIMPLE = bool, int, float, complex, str, bytes, type(None)


def named(thing: Any) -> str:
    """Return the full name of a class or function, with a hash of its code.

    Of a class, the code is its methods and simple attributes, and those of its bases;
    of a function, that of the functions and classes of its module that it names, too.
    What they reach otherwise is not looked into, nor are the libraries that sklc builds
    upon: of these, it is the name alone.
    """
    found: dict[int, list[Any]] = {}
    todo = [thing]
    while todo:
        each = todo.pop()
        each = getattr(each, "__func__", each)  # of a method
        if id(each) in found or _is_of_library(each):
            continue
        if inspect.isfunction(each):
            found[id(each)] = [_name(each), _shape(each.__code__)]
            todo += _mentioned(each)
        elif inspect.isclass(each):
            own = dict(_attributes(each))
            names = {name: _name(value) for name, value in own.items()}
            found[id(each)] = [_name(each), names]
            todo += [*own.values(), *each.__bases__]
    if not found:
        return _name(thing)
    text = repr(sorted(map(repr, found.values())))
    return f"{_name(thing)} {hashlib.sha256(text.encode()).hexdigest()}"


def enclosed(function: Any) -> list[Any]:
    """Return the values of the variables that a function has from around it."""
    cells = function.__closure__ or ()
    return [cell.cell_contents for cell in cells if _is_filled(cell)]


def _name(value: Any) -> str:
    """Return the full name of a class or function, and the text of any other value."""
    if hasattr(value, "__qualname__"):
        return f"{getattr(value, '__module__', None)}.{value.__qualname__}"
    return repr(value)


def _is_of_library(thing: Any) -> bool:
    home = str(getattr(thing, "__module__", None))
    if home == "builtins":  # so is what was made without a module, by exec
        return vars(builtins).get(getattr(thing, "__name__", "")) is thing
    return home.split(".")[0] in LIBRARIES


def _attributes(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a class that are code, and those that are simple."""
    for name, value in vars(kind).items():
        if isinstance(value, _SIMPLE):
            if not name.startswith("__"):
                yield name, value
        elif isinstance(value, property):
            for kind_of, part in enumerate((value.fget, value.fset, value.fdel)):
                yield f"{name}.{kind_of}", part
        else:  # of a class or static method, a cached property, a partial method
            for holds in "__func__", "func":
                value = getattr(value, holds, value)
            if inspect.isfunction(value) or inspect.isclass(value):
                yield name, value


def _mentioned(function: Any) -> list[Any]:
    """Return the functions and classes that a function names, or encloses."""
    names = {name for code in _nested(function.__code__) for name in code.co_names}
    there = [function.__globals__[n] for n in names if n in function.__globals__]
    return [
        value
        for value in [*there, *enclosed(function)]
        if inspect.isfunction(value) or inspect.isclass(value)
    ]


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _shape(code: CodeType) -> list[Any]:
    """Return what a piece of code does, without where it stands."""
    return [
        code.co_code.hex(),
        [_constant(each) for each in code.co_consts],
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_flags,
    ]


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _shape(value)
    if isinstance(value, frozenset):  # in an order that depends on the process
        return sorted(map(repr, value))
    if isinstance(value, tuple):
        return [_constant(each) for each in value]
    return value


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # a variable that is not set yet
        return False
