"""The examples of the plugin author's manual, as files."""

from __future__ import annotations

import inspect
import re
from textwrap import dedent

from fvlm_registry import hookspecs


def examples(hook: str) -> dict[str, str]:
    """The files shown in a hook's docstring, by path."""
    doc = inspect.getdoc(getattr(hookspecs, hook)) or ""
    blocks = re.split(r"^    # (\w+/\w+\.py)\n", doc, flags=re.MULTILINE)[1:]
    sources = [dedent(block).strip() + "\n" for block in blocks[1::2]]
    return dict(zip(blocks[::2], sources, strict=True))
