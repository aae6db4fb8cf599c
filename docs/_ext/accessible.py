"""What the theme leaves out for those who read a page by ear or by keyboard."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

_HEADING = 'class="caption" role="heading"'
"""Of a list of pages, as Sphinx writes it: a heading of no level."""


def levelled(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Give the captions of lists of pages a level."""
    for name in ("furo_navigation_tree", "body"):
        if name in context:
            context[name] = context[name].replace(_HEADING, f'{_HEADING} aria-level="2"')


def setup(app: Sphinx) -> dict[str, Any]:
    """Registered by Sphinx."""
    app.add_js_file("reachable.js", loading_method="defer")
    app.connect("html-page-context", levelled, priority=900)  # after the theme's own
    return {"parallel_read_safe": True, "parallel_write_safe": True}
