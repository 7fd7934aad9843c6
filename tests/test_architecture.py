"""Imports run downwards, files are small, and nothing is hidden."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from packaging.version import Version

import sklc

HOUSE = Path(sklc.__file__).parent
FILES = sorted(HOUSE.rglob("*.py"))
MODULES = {
    ".".join(["sklc", *path.relative_to(HOUSE).with_suffix("").parts]).removesuffix(
        ".__init__"
    ): path
    for path in FILES
}

#: From the ground up; what is not named here (plots, data, tests) is on top.
FLOORS = [
    {
        "budget",
        "checks",
        "exceptions",
        "files",
        "layers",
        "selection",
        "signature",
        "wrappers",
    },
    {"ops"},
    {"codes"},
    {"costs"},
    {"schemes", "lstep", "deploy"},
    {"lc"},
    {"estimator"},
]
MAX_LINES = 370
MUST_BE_LIGHT = ["torch", "skorch", "sklearn", "scipy", "numpy"]


def room(module):
    """Return the package or file right below ``sklc`` that a module lives in."""
    return module.split(".")[1] if "." in module else ""


def floor(module):
    for number, rooms in enumerate(FLOORS):
        if room(module) in rooms:
            return number
    return len(FLOORS)


def is_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(module, typing_only=False):
    """Return the modules of sklc that a module imports when it runs (or for types)."""
    found = []

    def visit(node, typing):
        for child in ast.iter_child_nodes(node):
            inner = typing or is_type_checking(child)
            if isinstance(child, ast.Import) and inner == typing_only:
                found.extend(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and inner == typing_only:
                for alias in child.names:
                    full = f"{child.module}.{alias.name}"
                    if full == "sklc.__version__":  # there before all else is
                        continue
                    found.append(full if full in MODULES else child.module)
            visit(child, inner)

    visit(ast.parse(MODULES[module].read_text("utf-8")), typing=False)
    return [name for name in found if name.split(".")[0] == "sklc"]


BELOW_THE_DOOR = [name for name in MODULES if name != "sklc"]


@pytest.mark.parametrize("module", BELOW_THE_DOOR)
def test_imports_run_downwards(module):
    for imported in imports(module):
        same_room = room(imported) == room(module)
        same_top = floor(imported) == floor(module) == len(FLOORS)
        assert same_room or same_top or floor(imported) < floor(module), (
            f"{module} imports {imported}, which is not below it."
        )


@pytest.mark.parametrize("module", BELOW_THE_DOOR)
def test_types_come_from_below_too(module):
    for imported in imports(module, typing_only=True):
        assert room(imported) == room(module) or floor(imported) < floor(module), (
            f"{module} names types of {imported}."
        )


def test_no_files_import_each_other_not_even_for_types():
    order = TopologicalSorter(
        {
            module: {*imports(module), *imports(module, typing_only=True)}
            for module in BELOW_THE_DOOR
        }
    )
    order.prepare()  # raises CycleError, with the cycle


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("schemes", "lstep"),
        ("lstep", "schemes"),
    ],
)
def test_neighbours_do_not_know_each_other(here, there):
    assert {here, there} <= {room(module) for module in MODULES}
    for module in MODULES:
        if room(module) == here:
            assert there not in map(room, imports(module)), f"{module} imports {there}."


def test_the_floors_are_those_of_modules_that_exist():
    """A room that was renamed must be renamed here too."""
    assert set().union(*FLOORS) <= {room(module) for module in MODULES}


def test_the_check_of_imports_sees_them():
    assert "sklc.ops.svd" in imports("sklc.schemes.low_rank")
    assert "sklc.codes.streams" in imports("sklc.codes.theta")  # from sklc.codes import
    assert "sklc.estimator.compressor" in imports("sklc", typing_only=True)
    assert "sklc.estimator.compressor" not in imports("sklc")


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_absolute(module):
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}"


@pytest.mark.parametrize("module", MODULES)
def test_nothing_prints(module):
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{module}, line {node.lineno}"


@pytest.mark.parametrize("module", MODULES)
def test_rooms_are_small(module):
    n_lines = len(MODULES[module].read_text("utf-8").splitlines())
    assert n_lines <= MAX_LINES, f"{module} has {n_lines} lines: split it."


def test_every_folder_is_a_package():
    for folder in {path.parent for path in FILES}:
        assert (folder / "__init__.py").exists(), folder


def test_the_package_is_typed():
    assert (HOUSE / "py.typed").exists()


def public_objects(module):
    """Yield what is defined in a module, by name: itself, its classes and functions."""
    yield module.__name__, module
    for name, thing in vars(module).items():
        own = getattr(thing, "__module__", None) == module.__name__
        if name.startswith("_") or not own:
            continue
        if inspect.isfunction(thing):
            yield f"{module.__name__}.{name}", thing
        elif inspect.isclass(thing):
            yield f"{module.__name__}.{name}", thing
            for key, member in vars(thing).items():
                plain = getattr(member, "__func__", member)  # of a class method
                documented = inspect.isfunction(plain) or isinstance(plain, property)
                if documented and not key.startswith("_"):
                    yield f"{module.__name__}.{name}.{key}", getattr(thing, key)


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_has_a_docstring(module):
    assert not any(part.startswith("_") for part in module.split("."))
    for name, thing in public_objects(importlib.import_module(module)):
        if not inspect.isclass(thing):
            text = inspect.getdoc(thing)  # that of a method may be inherited
        else:  # a dataclass without any gets its signature, and others their base's
            text = thing.__dict__.get("__doc__")
            if text and text.startswith(f"{thing.__name__}("):
                text = None
        assert text, f"{name} has no docstring."


def test_all_modules_are_found_by_walking_the_package():
    walked = {info.name for info in pkgutil.walk_packages(sklc.__path__, "sklc.")}
    assert walked == set(BELOW_THE_DOOR)


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_sklc_is_light():
    loaded = run("import sys, sklc; sklc.__version__; dir(sklc); print(*sys.modules)")
    assert "sklc" in loaded
    assert not set(MUST_BE_LIGHT) & set(loaded)
    assert [name for name in loaded if name.startswith("sklc.")] == []


def test_the_compressor_loads_when_it_is_used():
    assert "LCCompressor" in dir(sklc)
    assert "LCCompressor" in sklc.__all__
    code = "import sklc; print(sklc.schemes.LowRank.__name__, sklc.lstep.__name__)"
    assert run(code) == ["LowRank", "sklc.lstep"]
    assert sklc.LCCompressor.__name__ == "LCCompressor"
    with pytest.raises(AttributeError, match=r"^module 'sklc' has no attribute 'LC'$"):
        _ = sklc.LC


def test_the_version_is_one():
    assert str(Version(sklc.__version__)) == sklc.__version__
