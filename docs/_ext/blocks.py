"""The commands in Markdown pages: blocks of shell code, what is promised of each, and what is shown to come of it.

The convention is described in docs/writing.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen
from markdown_it import MarkdownIt
from markdown_it.token import Token

SHELL, OUTPUT = "sh", "text"
_MARK = re.compile(r"<!--\s*(run|kept|parse|fails|file)(?::\s*(\S+))?\s*-->")
_COMMAND = re.compile(r"(?:fvlm|pip|python|pytest|torchrun)\s+\S|pytest$|(?:\w+=\S+ +)+fvlm\b")


@frozen
class Shown:
    """The output that a page shows below a command: its lines, and the first of them in the page, counted from 0."""

    first: int
    lines: tuple[str, ...]


@frozen
class Block:
    """A block of code that something is promised of.

    mark: run, kept, parse, fails or file; empty where the page promises nothing. argument: the exit code after `fails`,
    the name after `file`. line: of the opening fence, counted from 1.
    """

    page: Path
    line: int
    mark: str
    argument: str
    code: str
    shown: Shown | None

    @property
    def place(self) -> str:
        """For messages: page and line."""
        return f"{self.page.name}:{self.line}"


def markdown() -> MarkdownIt:
    """How pages are read: CommonMark with tables, as both GitHub and the site do."""
    return MarkdownIt("commonmark").enable("table")


def pages(root: Path) -> list[Path]:
    """The README and every page of the documentation."""
    built = root / "docs" / "_build"
    found = [page for page in sorted((root / "docs").rglob("*.md")) if not page.is_relative_to(built)]
    return [root / "README.md", *found]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that are shell code or carry a mark, in order.

    ValueError: a mark without a block below it, one that its block cannot have, or a command in a block of no language.
    """
    tokens = markdown().parse(page.read_text("utf-8"))
    return list(_blocks(page, tokens))


def _blocks(page: Path, tokens: list[Token]) -> Iterator[Block]:
    mark: tuple[str, str] | None = None
    for at, token in enumerate(tokens):
        if token.type == "html_block" and (found := _MARK.fullmatch(token.content.strip())):
            mark = found.group(1), found.group(2) or ""
            if tokens[at + 1 : at + 2] and tokens[at + 1].type == "fence":
                continue
            raise ValueError(
                f"{page.name}:{_line(token)}: a mark stands right above the block that it is about"
            )
        if token.type != "fence":
            continue
        language = token.info.strip()
        if language not in (SHELL, "toml", "python") and _COMMAND.match(token.content):
            raise ValueError(
                f'{page.name}:{_line(token)}: commands stand in blocks of the language "{SHELL}"'
            )
        if mark and (language == SHELL) == (mark[0] == "file"):
            raise ValueError(f'{page.name}:{_line(token)}: "{mark[0]}" is no mark of a block of "{language}"')
        if mark or language == SHELL:
            kind, argument = mark or ("", "")
            if kind in ("fails", "file") and not argument:
                raise ValueError(
                    f'{page.name}:{_line(token)}: "{kind}" names an exit code or a file: {kind}: ...'
                )
            shown = _shown(tokens[at + 1] if at + 1 < len(tokens) else None)
            yield Block(page, _line(token), kind, argument, token.content, shown if kind != "file" else None)
        mark = None


def _shown(token: Token | None) -> Shown | None:
    if token is None or token.type != "fence" or token.info.strip() != OUTPUT or token.map is None:
        return None
    return Shown(token.map[0] + 1, tuple(token.content.splitlines()))


def _line(token: Token) -> int:
    return (token.map[0] if token.map else 0) + 1


def inline_commands(page: Path) -> list[tuple[int, str]]:
    """Pieces of code within sentences that begin with `fvlm`: the line of their paragraph, and the command."""
    found: list[tuple[int, str]] = []
    line = 0
    for token in markdown().parse(page.read_text("utf-8")):
        line = _line(token) if token.map else line
        code = (child.content for child in token.children or () if child.type == "code_inline")
        found += [(line, content) for content in code if content.startswith("fvlm ")]
    return found
