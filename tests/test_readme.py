"""What the README says can be done as it stands."""

import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]


def blocks(page, language):
    text = page.read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


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
    names = {"__name__": "page"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in blocks(page, "python"):
            exec(compile(block, page.name, "exec"), names)


def test_the_pages_show_scripts():
    assert "examples/digits.py" in scripts()


@pytest.mark.parametrize("path", sorted(scripts()))
def test_the_scripts_that_pages_show_know_their_options(path):
    done = subprocess.run(
        [sys.executable, path, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for option in scripts()[path]:
        assert option in done.stdout, f"{path} has no option {option}."


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"
