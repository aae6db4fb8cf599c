"""What a sample says that it shows: one that names a picture or a video is trained with it or not at all.

A model that reads the caption of a video which it does not see learns to invent. Sources look while they list, and
`decode_frames` looks at every sample, whatever source it comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fvlm_core.data.bad import BadSample
from fvlm_core.interfaces.data import Sample, StoredFrames, Turn

_KEY = re.compile(
    r"(?:n_|num_)?(?:image|picture|photo|video|clip|frame)s?(?:_?(?:path|file|filename|name|url|bytes|id|count)s?)?",
    re.IGNORECASE,
)
"""Keys and columns under which data sets name pictures and videos."""

_NOTHING = ("", "nan", "none", "null")
_MARKS = ("<image>", "<video>")
_BEGINS = re.compile(r"<image>|<video>\s*(?:\n|$)")
_ENDS = re.compile(r"(?:<image>|(?:^|\n)\s*<video>)$")


def names_media(key: str) -> bool:
    """Whether a key or a column of this name would name pictures or videos."""
    return _KEY.fullmatch(key) is not None


def media_keys(record: Mapping[str, Any]) -> list[str]:
    """The keys under which a record names pictures or videos. A value that is empty, zero or no number names none."""
    return [key for key, value in record.items() if names_media(key) and _names(value)]


def unshown(turns: Iterable[Turn], *shown: int) -> str:
    """Why the marks of a chat, `<image>` or `<video>` in its user's turns, do not fit what it shows; empty if they do.

    shown: how many marks there may be: of each picture, or one of a clip; none for text alone, where only a turn that
    begins or ends with one marks a picture: elsewhere it may be a word about HTML. Without marks, all is shown before
    the text.
    """
    asked = [turn.content.strip() for turn in turns if turn.role == "user"]
    if not shown:
        marked = any(_BEGINS.match(text) or _ENDS.search(text) for text in asked if "</video>" not in text)
        return "its text marks a picture or video, and none is there" if marked else ""
    marks = sum(text.count(mark) for text in asked for mark in _MARKS)
    if marks in (0, *shown):
        return ""
    return f"its text marks {marks} pictures or videos, where {' or '.join(map(str, shown))} can be shown"


def refuse_blind(sample: Sample) -> None:
    """Raise `BadSample` for a sample whose text marks other pictures or videos than are there."""
    shown: tuple[int, ...] = ()
    if sample.images:
        shown = (len(sample.images),)
    elif isinstance(sample.video, StoredFrames):
        shown = (1, len(sample.video.starts))
    elif sample.video is not None:
        shown = (1,)
    if reason := unshown(sample.turns, *dict.fromkeys(shown)):
        raise BadSample(sample.id, reason)


def _names(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() not in _NOTHING
    if isinstance(value, Mapping):
        return any(map(_names, value.values()))
    if isinstance(value, float):
        return value > 0  # not for NaN
    return bool(value)
