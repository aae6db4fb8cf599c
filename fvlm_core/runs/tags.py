"""Words that a person puts on a run: a small file in its folder, which travels with it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from fvlm_core.utils.atomic_files import read_json, write_json
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.json_shape import LIST, misfit

TAGS = "tags.json"
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:-]*")


def read_tags(folder: Path) -> tuple[str, ...]:
    """The tags of the run in a folder, in alphabetical order. Raises `ValueError` where their file is damaged."""
    file = folder / TAGS
    if not file.exists():
        return ()
    found = read_json(file)
    if wrong := misfit(found, {"tags": LIST}, ("tags",)):
        raise ValueError(wrong)
    return tuple(str(tag) for tag in found["tags"])


def change_tags(folder: Path, add: Iterable[str] = (), remove: Iterable[str] = ()) -> tuple[str, ...]:
    """Add tags and take others away; the tags from then on."""
    tags = tuple(sorted({*read_tags(folder), *add} - {*remove}))
    if tags:
        write_json(folder / TAGS, {"tags": tags})
    else:
        (folder / TAGS).unlink(missing_ok=True)
    return tags


def check_tag(tag: str) -> None:
    """Raise `UsageError` for what is no tag."""
    if not _TAG.fullmatch(tag):
        raise UsageError(
            f'"{tag}" is no tag: expected letters, digits, ".", "_", "+", ":" and "-", as in "paper"'
        )
