"""The documentation site: ``sphinx-build -W --keep-going -b html docs docs/_build``."""

import os
import tempfile
from pathlib import Path

import sklc

os.environ.setdefault("OMP_NUM_THREADS", "1")  # models are tiny here

project = "sklc"
author = "the authors of sklc"
version = release = sklc.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]  # the gallery is configured by functions

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say more
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = "sklc"
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "show_toc_level": 2,
}

#: Where examples that save a figure do so while the gallery is built.
_SCRATCH = Path(tempfile.mkdtemp())


def arguments(gallery: dict, block_vars: dict) -> list[str]:
    """Return the options that an example of the gallery runs with."""
    return ["--figure", str(_SCRATCH / "figure.png")]


sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"(deploy|linear_models)\.py$",  # the others take a minute
    "within_subsection_order": "FileNameSortKey",
    "reset_argv": arguments,
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
    "abort_on_example_error": False,
    "only_warn_on_example_error": False,
}
