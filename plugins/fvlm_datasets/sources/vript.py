"""Vript: dense captions of scenes, from its published JSONL and zips of clips.

One sample a scene.
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
from fvlm_datasets.configs.vript import Vript


def build(config: Vript, split: Split) -> VriptSource:
    """The scenes of one split. Raises as `VideoRows` and `JSONLines`."""
    return VriptSource(config, split)


class VriptSource(VideoRows):
    """Scenes in the order of the captions. A sample's id is the scene's, `VIDEO-Scene-001`."""

    def __init__(self, config: Vript, split: Split) -> None:
        self.prompt = config.prompt
        captions = config.path / config.captions
        if not captions.exists():
            raise missing(captions, "vript", config.path)
        clips = config.path / config.clips
        root = config.videos or (clips if clips.is_dir() else config.path)
        if not root.is_dir():
            raise missing(root, "vript", config.path)
        super().__init__(
            "vript",
            config,
            split,
            [JSONLines(captions, root=config.path)],
            lambda: find_media([root], by="name"),
            holdout=config.holdout,
        )

    def entry(self, file: int, number: int, record: Record) -> VideoEntry:
        clip = text_of(record, "clip_id")
        if "/" in clip:
            raise Refused(f'clip_id: expected a name, got "{clip}"')
        said: Any = record.get("meta")
        meta: dict[str, Any] = said if isinstance(said, dict) else {}
        caption: Any = record.get("caption")
        if not isinstance(caption, dict) or not str(caption.get("content") or "").strip():
            cause = " (its video is marked integrity = false)" if meta.get("integrity") is False else ""
            raise Refused(f"no caption{cause}")
        video = meta.get("video_id")
        group = video if isinstance(video, str) and video else clip.rpartition("-Scene-")[0] or clip
        turns = (Turn("user", self.prompt), Turn("assistant", text_of(caption, "content")))
        return VideoEntry(clip, f"{clip}.mp4", turns, group)
