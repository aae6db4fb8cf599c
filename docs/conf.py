"""The documentation site: `sphinx-build -W --keep-going docs docs/_build`."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "fvlm"
author = "The fvlm authors"
copyright = "The fvlm authors, Apache-2.0"
release = version = installed("fvlm")

extensions = [
    "myst_nb",  # MyST, for pages and for notebooks
    "sphinx.ext.autodoc",
    "sphinx_click",
    "docstrings",
    "recipe_keys",
    "source_links",
    "accessible",
]
html_static_path = ["_static"]
exclude_patterns = ["_build", "_ext"]

# Headings get the anchors that GitHub gives them, so that a link works in both places.
myst_heading_anchors = 4

nb_execution_mode = "off"  # notebooks show what they stored; tests execute them

autodoc_default_options = {"members": True, "member-order": "bysource", "undoc-members": True}
autodoc_typehints = "signature"
default_role = "code"  # `name` in a docstring is code, as in Markdown
smartquotes = False

html_theme = "furo"
html_title = "fvlm"
html_show_sourcelink = False
html_copy_source = False
pygments_style = "default"  # of the light ones, "friendly" has numbers and names at a contrast of 3
pygments_dark_style = "monokai"
