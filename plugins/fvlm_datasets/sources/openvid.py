"""OpenVid-1M: clips with captions, from its published CSV and zips.

Rows of the CSV, videos in the zips.
"""

from __future__ import annotations

from fvlm_core.plugin_api import (
    CSVRows,
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
from fvlm_datasets.configs.openvid import OpenVid


def build(config: OpenVid, split: Split) -> OpenVidSource:
    """The clips of one split. Raises as `VideoRows` and `CSVRows`."""
    return OpenVidSource(config, split)


class OpenVidSource(VideoRows):
    """Rows of one CSV in its order. A sample's id is the file name of its video."""

    def __init__(self, config: OpenVid, split: Split) -> None:
        self.prompt = config.prompt
        table = config.path / config.table
        if not table.exists():
            raise missing(table, "openvid", config.path)
        large = config.path / "OpenVidHD"
        root = config.videos or (config.path if config.subset == "1m" else large)
        if not root.is_dir():
            raise missing(root, "openvid", config.path)
        super().__init__(
            "openvid",
            config,
            split,
            [CSVRows(table, root=config.path, columns=("video", "caption"))],
            lambda: find_media([root], by="name", skip=[large] if config.subset == "1m" else []),
            holdout=config.holdout,
        )

    def entry(self, file: int, number: int, record: Record) -> VideoEntry:
        video = text_of(record, "video")
        if "/" in video:
            raise Refused(f'video: expected a file name, got "{video}"')
        turns = (Turn("user", self.prompt), Turn("assistant", text_of(record, "caption")))
        return VideoEntry(video, video, turns, video, _seconds(record.get("seconds", "")))


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 < seconds < 1e6 else None
