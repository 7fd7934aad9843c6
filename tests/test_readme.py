"""What the README says can be done as it stands."""

import inspect
import pkgutil
import re
import runpy
import shlex
import sys
import warnings
from pathlib import Path

import pytest

from sklc.lstep import base

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]


def blocks(page, language):
    text = page.read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


def sources(page):
    """Return the blocks that are parts of the package: what of, and the code."""
    pattern = r"^<!-- source: (\S+) -->\n```python\n(.*?)^```"
    return re.findall(pattern, page.read_text("utf-8"), re.S | re.M)


def scripts():
    """Return the calls of scripts that the pages show, with their options."""
    found = {}
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.splitlines():
                for call in re.findall(r"python (\S+\.py[^&|]*)", line):
                    path, *options = shlex.split(call, comments=True)
                    names = {option for option in options if option.startswith("--")}
                    found.setdefault(path, set()).update(names)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs_as_it_stands(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(base, "_registry", dict(base._registry))
    shown = {code for _, code in sources(page)}
    names = {"__name__": "page"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in blocks(page, "python"):
            if block in shown:  # it has run where it is from
                continue
            exec(compile(block, page.name, "exec"), names)


SOURCES = [source for page in PAGES for source in sources(page)]


@pytest.mark.parametrize(("name", "code"), SOURCES, ids=[name for name, _ in SOURCES])
def test_the_parts_of_the_package_that_pages_show_are_as_there(name, code):
    assert code in inspect.getsource(pkgutil.resolve_name(name))


def test_the_pages_show_scripts_and_parts_of_the_package():
    assert SOURCES
    assert "examples/digits.py" in scripts()


@pytest.mark.parametrize("path", sorted(scripts()))
def test_the_scripts_that_pages_show_know_their_options(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [path, "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / path), run_name="__main__")
    assert not end.value.code
    shown = capsys.readouterr().out
    for option in scripts()[path]:
        assert option in shown, f"{path} has no option {option}."


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"
