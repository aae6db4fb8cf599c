"""Docstrings of this project are plain text with `code` and indented examples; Sphinx reads reStructuredText."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

from fvlm_core.cli.help import Command, Group

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


def _process_description(app: Sphinx, context: Any, lines: list[str]) -> None:
    """What a command is, and its examples."""
    _process_help(app, context, lines)
    if isinstance(context.command, Command | Group) and (examples := context.command.page(context).examples):
        lines += ["", ".. code-block:: sh", ""]
        for command, remark in examples:
            lines += [f"   # {remark}", f"   {command}"] if remark else [f"   {command}"]
        lines += [""]


def _process_options(app: Sphinx, context: Any, lines: list[str]) -> None:
    """Options below the titles of their groups, as `--help` has them."""
    _process_help(app, context, lines)
    if not isinstance(context.command, Command | Group):
        return
    blocks: dict[str, list[str]] = {}
    name = ""
    for line in lines:
        if line.startswith(".. option:: "):
            name = line.removeprefix(".. option:: ").split()[0].rstrip(",")
            blocks[name] = []
        blocks[name].append(line)
    lines.clear()
    for title, options in context.command.grouped(context):
        found = [blocks[name] for one in options for name in one.opts[:1] if name in blocks]
        if found:
            lines += [f"*{title}*", "", *(line for block in found for line in block), ""]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", _process)
    app.connect("sphinx-click-process-options", _process_options)
    app.connect("sphinx-click-process-arguments", _process_help)
    app.connect("sphinx-click-process-description", _process_description)
    return {"parallel_read_safe": True}
