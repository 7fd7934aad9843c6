"""The site has a page for all that is public."""

import importlib
import re
from pathlib import Path

import pytest

import sklc

DOCS = Path(__file__).parents[1] / "docs"


def listed():
    """Return what the reference lists, by room."""
    found, room = {}, "sklc"
    for line in (DOCS / "api.rst").read_text("utf-8").splitlines():
        if match := re.fullmatch(r"\.\. currentmodule:: (\S+)", line):
            room = match[1]
        elif match := re.fullmatch(r"   (\w+)|\.\. autoclass:: sklc\.(\w+)", line):
            found.setdefault(room, set()).add(match[1] or match[2])
    return found


@pytest.mark.parametrize("room", ["", *sklc._ROOMS])
def test_the_reference_lists_what_a_room_offers(room):
    module = importlib.import_module(f"sklc.{room}".rstrip("."))
    own = [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and name[0] != "_"
    ]
    names = getattr(module, "__all__", own)
    offered = {n for n in names if callable(getattr(module, n)) and n != "Theta"}
    assert offered <= listed().get(module.__name__, set())


def test_the_reference_lists_errors_and_warnings():
    module = importlib.import_module("sklc.exceptions")
    errors = {name for name, v in vars(module).items() if isinstance(v, type)}
    assert errors <= listed()["sklc.exceptions"]


def test_every_page_can_be_reached():
    pages = {path.stem for path in [*DOCS.glob("*.md"), *DOCS.glob("*.rst")]}
    blocks = re.findall(
        r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), re.S
    )
    shown = {line for block in blocks for line in block.split()}
    assert pages - {"index", "sg_execution_times"} <= shown


def test_every_example_is_a_page():
    for path in (DOCS.parent / "examples").glob("*.py"):
        title = re.match(r'"""\n(.+)\n(=+)\n\n', path.read_text("utf-8"))
        assert title, path.name
        assert len(title[1]) == len(title[2]), path.name
