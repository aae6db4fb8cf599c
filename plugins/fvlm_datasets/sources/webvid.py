"""WebVid-10M: metadata and videos that are already on this machine.

Rows of all partitions of a split whose videos are on this machine.
"""

from __future__ import annotations

import re

from fvlm_core.plugin_api import (
    CSVRows,
    MissingData,
    Record,
    Refused,
    Split,
    Turn,
    UsageError,
    VideoEntry,
    VideoRows,
    find_media,
    text_of,
)
from fvlm_datasets.configs.webvid import LEGAL, WebVid

_DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?")
_FOLDERS = {"train": "train", "validation": "val"}


def build(config: WebVid, split: Split) -> WebVidSource:
    """The clips of one split. Raises `UsageError` without permission, else as `VideoRows` and `CSVRows`."""
    if not config.permitted:
        raise UsageError(f"webvid is off by default. It was {LEGAL}.")
    return WebVidSource(config, split)


class WebVidSource(VideoRows):
    """Rows in the order of the partitions. A sample's id is the row's `videoid`."""

    def __init__(self, config: WebVid, split: Split) -> None:
        self.prompt = config.prompt
        partitions = config.path / "data" / _FOLDERS[split] / "partitions"
        files = sorted(partitions.glob("*.csv"))
        root = config.videos or config.path / "videos"
        for needed, there in ((partitions / "0000.csv", bool(files)), (root, root.is_dir())):
            if not there:
                raise MissingData(f"{needed}: not there; WebVid cannot be downloaded any more")
        super().__init__(
            "webvid",
            config,
            split,
            [CSVRows(file, root=config.path, columns=("videoid", "page_dir", "name")) for file in files],
            lambda: find_media([root], by="path"),
            holdout=0.0,
        )

    def entry(self, file: int, number: int, record: Record) -> VideoEntry:
        identity, folder = text_of(record, "videoid"), str(record["page_dir"]).strip()
        if "/" in identity or ".." in folder:
            raise Refused(f'expected names, got videoid "{identity}" and page_dir "{folder}"')
        name = f"{identity}.mp4" if folder.lower() in ("", "nan") else f"{folder}/{identity}.mp4"
        turns = (Turn("user", self.prompt), Turn("assistant", text_of(record, "name")))
        return VideoEntry(identity, name, turns, identity, _seconds(str(record.get("duration", ""))))


def _seconds(text: str) -> float | None:
    """`PT00H00M11S` in seconds; None for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if not match or not any(match.groups()):
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds or None
