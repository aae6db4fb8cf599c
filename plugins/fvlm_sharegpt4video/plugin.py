"""What this plugin offers: ShareGPT4Video."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_data_sources() -> Iterator[Component]:
    """Videos of ShareGPT4Video."""
    yield Component(
        "sharegpt4video",
        target="fvlm_sharegpt4video.source:build",
        config="fvlm_sharegpt4video.config:ShareGPT4Video",
        summary="ShareGPT4Video: 40,000 videos with detailed descriptions, from its JSONL and its zips",
    )
