"""Docstrings of this project are plain text with `code` and indented examples; Sphinx reads reStructuredText."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_CODE = re.compile(r"(`[^`]+`)")
_LONE_STAR = re.compile(r"(?<![\\*\w])\*(?=[\s,'/])")
_SPECIAL = re.compile(r"([\\*|])|(?<=\w)(_)(?!\w)")


def as_restructured(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText: indented blocks are code, and nothing but `code` is markup."""
    text: list[str] = []
    code = False
    for at, line in enumerate(lines):
        indented = line.startswith("    ") or (code and not line.strip())
        if indented and not code and (at == 0 or not lines[at - 1].strip()):
            first = line.strip()
            text += [f".. code-block:: {'toml' if first.startswith('[') else 'python'}", ""]
            code = True
        elif not indented:
            code = False
        text.append(line if code else _escaped(line))
    return text


def _escaped(line: str) -> str:
    pieces = _CODE.split(line)
    return "".join(piece if at % 2 else _SPECIAL.sub(r"\\\1\2", piece) for at, piece in enumerate(pieces))


def _process(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    if any(line.startswith("Alias for field number") for line in lines):
        lines.clear()  # what Python says of a named tuple's field
    lines[:] = as_restructured(lines)


def _process_help(app: Sphinx, context: Any, lines: list[str]) -> None:
    lines[:] = [_LONE_STAR.sub(r"\\*", line) for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", _process)
    app.connect("sphinx-click-process-options", _process_help)
    app.connect("sphinx-click-process-arguments", _process_help)
    app.connect("sphinx-click-process-description", _process_help)
    return {"parallel_read_safe": True}
