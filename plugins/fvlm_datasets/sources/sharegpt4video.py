"""ShareGPT4Video: detailed descriptions of 40,000 videos, from its published JSONL and zips.

One sample a video, with the description of the whole.
"""

from __future__ import annotations

from typing import Any

from fvlm_core.plugin_api import (
    JSONLines,
    Record,
    Refused,
    Split,
    Turn,
    VideoEntry,
    VideoRows,
    find_media,
    missing,
    text_of,
)
from fvlm_datasets.configs.sharegpt4video import CAPTIONS, VIDEOS, ShareGPT4Video

_WHOLE = "-1"
"""The `idx` of the caption that describes the whole video."""


def build(config: ShareGPT4Video, split: Split) -> ShareGPT4VideoSource:
    """The videos of one split. Raises as `VideoRows` and `JSONLines`."""
    return ShareGPT4VideoSource(config, split)


class ShareGPT4VideoSource(VideoRows):
    """Rows in the order of the file. A sample's id is the row's `video_id`."""

    def __init__(self, config: ShareGPT4Video, split: Split) -> None:
        self.prompt = config.prompt
        captions = config.path / CAPTIONS
        if not captions.exists():
            raise missing(captions, "sharegpt4video", config.path)
        zips = config.path / VIDEOS
        root = config.videos or (zips if zips.is_dir() else config.path)
        if not root.is_dir():
            raise missing(root, "sharegpt4video", config.path)
        super().__init__(
            "sharegpt4video",
            config,
            split,
            [JSONLines(captions, root=config.path)],
            lambda: find_media([root], by="name"),
            holdout=config.holdout,
        )

    def entry(self, file: int, number: int, record: Record) -> VideoEntry:
        video = text_of(record, "video_path").rpartition("/")[2]
        captions: Any = record.get("captions")
        whole = [
            caption
            for caption in (captions if isinstance(captions, list) else [])
            if isinstance(caption, dict) and str(caption.get("idx")) == _WHOLE
        ]
        if not whole:
            raise Refused(f'no caption of the whole video (idx "{_WHOLE}")')
        turns = (Turn("user", self.prompt), Turn("assistant", text_of(whole[0], "content")))
        return VideoEntry(text_of(record, "video_id"), video, turns, video)
