"""What a sample says that it shows: one that names a picture or a video is trained with it or not at all.

A model that reads the caption of a video which it does not see learns to invent. Sources look while they list, and
`decode_frames` looks at every sample, whatever source it comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from fvlm_core.interfaces.data import Sample, StoredFrames, Turn
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.suffixes import is_picture, is_video

_NOUNS = frozenset(
    (
        *(
            "image",
            "img",
            "picture",
            "pic",
            "photo",
            "video",
            "vid",
            "clip",
            "frame",
            "keyframe",
            "media",
            "visual",
        ),
        *("jpg", "jpeg", "png", "webp", "gif", "mp4", "webm", "mov", "avi", "mkv", "mpg", "mpeg"),
    )
)
_BEFORE = frozenset(("n", "num", "source", "original", "orig", "input", "raw", "main"))
_AFTER = frozenset(
    (
        *(
            "path",
            "file",
            "filename",
            "name",
            "url",
            "uri",
            "link",
            "href",
            "src",
            "dir",
            "folder",
            "list",
            "array",
        ),
        *("bytes", "base", "b", "data", "id", "uid", "count"),  # base, b: of base64 and b64
    )
)
"""Words of keys and columns under which data sets name pictures and videos, without numbers and a plural's s."""

_TEXTS = frozenset(
    (
        *(
            "caption",
            "text",
            "content",
            "user",
            "assistant",
            "system",
            "title",
            "description",
            "alt",
            "prompt",
            "value",
        ),
        *(
            "question",
            "answer",
            "query",
            "response",
            "instruction",
            "chosen",
            "rejected",
            "summary",
            "turn",
            "message",
        ),
        *("conversation", "input", "output", "comment", "transcript"),
    )
)
"""Words of keys that hold sentences: one may end with the name of a file."""

_WORD = re.compile(r"mp4|MP4|[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_QUERY = re.compile(r"[?#].*", re.DOTALL)
_NUMBER = re.compile(r"[\d.,+-]+")
_DEPTH = 6
_LONGEST = 4096
"""Levels of a record that are looked through, and characters of the longest path or URL."""

_NOTHING = ("", "nan", "none", "null")
_MARKS = ("<image>", "<video>")
_OF_MODELS = (
    r"(?:<\|?(?:image|img(?=[_ \d|])|picture|vision_start|vision_end|video(?=[_\d|]))"
    r"[_ ]?(?:pad|placeholder|here|start)?[_ ]?\d*\|?>"
    r"|\[(?:image|img)[_ ]?\d*\])"
)
_OF_HTML = r"<(?:video|img|(?:image|img|video)\s*/)>"
"""Marks that are tags of HTML, too: on a line of their own they mark what is shown."""

_BEGINS = re.compile(rf"{_OF_MODELS}|{_OF_HTML}\s*(?:\n|$)", re.IGNORECASE)
_ENDS = re.compile(rf"(?:{_OF_MODELS}|(?:^|\n)\s*{_OF_HTML})$", re.IGNORECASE)


def names_media(key: str) -> bool:
    """Whether a key or a column of this name would name pictures or videos: `image`, `num_frames`, `video-path_1`."""
    words = _words(key)
    while words and words[0] in _BEFORE:
        words = words[1:]
    while words and words[-1] in _AFTER:
        words = words[:-1]
    return bool(words) and all(word in _NOUNS for word in words)


def media_keys(record: Mapping[str, Any]) -> list[str]:
    """The keys under which a record names pictures or videos, by the key or by a value that ends like one, at any depth
    (`meta.video`). A value that is empty, zero or no number names none."""
    return list(dict.fromkeys(_named(record, "", _DEPTH)))


def _named(record: Mapping[Any, Any], above: str, depth: int) -> Iterator[str]:
    for key, value in record.items():
        name = f"{above}{key}"
        if names_media(str(key)):
            if _names(value):
                yield name
            continue
        words = _words(str(key))
        sentences = not _TEXTS.isdisjoint(words) and words[-1] not in _AFTER
        for part in _parts(value, depth):
            if isinstance(part, Mapping):
                yield from _named(cast("Mapping[Any, Any]", part), f"{name}.", depth - 1)
            elif isinstance(part, str) and not sentences and _is_media(part):
                yield name


def _parts(value: Any, depth: int) -> Iterator[Any]:
    """A value, or those of a list, of lists of lists, too."""
    if not isinstance(value, (list, tuple)):
        yield value
    elif depth > 0:
        for part in cast("list[Any]", value):
            yield from _parts(part, depth - 1)


def _is_media(text: str) -> bool:
    """Whether a text is a path or a URL of a picture or a video, by its end, or holds one."""
    if text.startswith(("data:image/", "data:video/")):
        return True
    if len(text) > _LONGEST or "\n" in text:
        return False
    path = _QUERY.sub("", text).strip()
    return (is_video(path) or is_picture(path)) and not _NUMBER.fullmatch(path)


def _words(key: str) -> list[str]:
    """The words of a key in any usual spelling, in lower case, without numbers and a plural's s."""
    words = (word.lower() for word in _WORD.findall(key))
    return [word if word in _AFTER else word.removesuffix("s") for word in words]


def unshown(turns: Iterable[Turn], *shown: int) -> str:
    """Why the marks of a chat, `<image>` or `<video>` in its user's turns, do not fit what it shows; empty if they do.

    shown: how many marks there may be: of each picture, or one of a clip; none for text alone, where a turn of the user
    or the system that begins or ends with a mark of any model (`<image_1>`, `<|image_pad|>`, `[IMG]`) marks a picture:
    elsewhere it may be a word about HTML. Without marks, all is shown before the text.
    """
    turns = list(turns)
    asked = [turn.content.strip() for turn in turns if turn.role == "user"]
    if not shown:
        asked += [turn.content.strip() for turn in turns if turn.role == "system"]
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
