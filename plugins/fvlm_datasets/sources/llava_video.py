"""LLaVA-Video-178K: captions and questions on videos, from its published JSON and tar.gz files.

One sample a row, questions and answers as they stand.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fvlm_core.plugin_api import (
    JSONArray,
    Record,
    Refused,
    Split,
    Turn,
    VideoEntry,
    VideoRows,
    chat_of,
    find_media,
    missing,
    text_of,
    unshown,
)
from fvlm_datasets.configs.llava_video import Kind, LLaVAVideo

_KINDS: dict[str, Kind] = {"cap": "caption", "oe": "open_ended", "mc": "multi_choice"}
_ROLES = {"human": "user", "gpt": "assistant", "system": "system"}
_MARK = re.compile(r"\s*<(?:image|video)>\s*")
"""Where the video stands among the words; ours come before all text."""


def build(config: LLaVAVideo, split: Split) -> LLaVAVideoSource:
    """The rows of one split. Raises as `VideoRows` and `JSONArray`."""
    return LLaVAVideoSource(config, split)


class LLaVAVideoSource(VideoRows):
    """Rows in the order of part, kind and file. A sample's id is `FILE/ROW-ID`, ROW the row's number in the file."""

    def __init__(self, config: LLaVAVideo, split: Split) -> None:
        self.exclude = config.exclude
        parts = [config.path / part for part in config.parts] or [config.path]
        for part in parts:
            if not part.is_dir():
                raise missing(part, "llava-video", config.path)
        files = [
            file for part in parts for file in sorted(part.rglob("*.json")) if _kind(file) in config.kinds
        ]
        if not files:
            raise missing(parts[0] / "*.json", "llava-video", config.path)
        self.stems = [file.stem for file in files]
        root = config.videos or config.path
        if not root.is_dir():
            raise missing(root, "llava-video", config.path)
        super().__init__(
            "llava-video",
            config,
            split,
            [JSONArray(file, root=config.path) for file in files],
            lambda: find_media([root], by="path"),
            holdout=config.holdout,
        )

    def entry(self, file: int, number: int, record: Record) -> VideoEntry:
        source = record.get("data_source")
        if isinstance(source, str) and any(name in source for name in self.exclude):
            raise Refused(f"left out by the recipe: data_source = {source}")
        said: Any = record.get("conversations")
        if not isinstance(said, list) or not all(isinstance(turn, dict) for turn in said):
            raise Refused("conversations: expected a list of turns")
        pairs = [(_ROLES.get(str(turn.get("from")), turn.get("from")), turn.get("value")) for turn in said]
        turns = chat_of(pairs)
        if reason := unshown(turns, 1):
            raise Refused(reason, unseen=reason)
        turns = tuple(
            Turn(turn.role, _MARK.sub("", turn.content)) if turn.role == "user" else turn for turn in turns
        )
        video = text_of(record, "video")
        return VideoEntry(f"{self.stems[file]}/{number}-{record.get('id', '')}", video, turns, video)


def _kind(file: Path) -> Kind | None:
    """Which annotations a file holds, by its name: `..._mc_...`, as the published split patterns have it."""
    words = re.split(r"[^a-z]+", file.stem.lower())
    return next((kind for word, kind in _KINDS.items() if word in words), None)
