"""Links in the README and the documentation lead to files and headings that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from manual_pages import PAGES, ROOT, blocks
from markdown_it.token import Token


def _inline(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from token.children or ()


def _links(page: Path) -> Iterator[str]:
    for token in _inline(blocks.markdown().parse(page.read_text("utf-8"))):
        target = token.attrGet("href") or token.attrGet("src")
        if target and not urlsplit(str(target)).scheme:
            yield str(target)


@cache
def _anchors(page: Path) -> frozenset[str]:
    """What GitHub and the site call the headings of a page."""
    tokens = blocks.markdown().parse(page.read_text("utf-8"))
    found: set[str] = set()
    for opening, heading in pairwise(tokens):
        if opening.type == "heading_open":
            text = "".join(child.content for child in heading.children or ())
            slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            number = 1
            name = slug
            while name in found:
                name, number = f"{slug}-{number}", number + 1
            found.add(name)
    return frozenset(found)


def _broken(page: Path) -> Iterator[str]:
    for link in _links(page):
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            yield f"{page.name}: {link}: there is no {path}"
        elif anchor and anchor not in _anchors(target):
            yield f"{page.name}: {link}: {target.name} has no heading #{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert not list(_broken(page))


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A title, with `code`\n\n[a](#a-title-with-code) [b](#b) [c](no.md) ![d](d.png) [e](https://e.org)\n"
    )
    assert [problem.split(": ")[1] for problem in _broken(page)] == ["#b", "no.md", "d.png"]


def test_every_page_is_in_the_navigation() -> None:
    named = re.findall(r"^([\w/]+)$", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE)
    pages = {page.relative_to(ROOT / "docs").with_suffix("").as_posix() for page in PAGES[1:]}
    reached = {page for page in pages if page in named or re.match(r"decisions/\d", page)}
    assert pages - reached == {"index"}
