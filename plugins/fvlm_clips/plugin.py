"""What this plugin offers: video files with captions."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_data_sources() -> Iterator[Component]:
    """A folder or a manifest of video files."""
    yield Component(
        "clips",
        target="fvlm_clips.source:build",
        config="fvlm_clips.config:Clips",
        summary="video files with captions: a folder with NAME.txt beside NAME.mp4, or a JSONL, CSV or TSV manifest",
    )
