"""What this plugin offers: LLaVA-Video-178K."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_data_sources() -> Iterator[Component]:
    """Chats on the videos of LLaVA-Video-178K."""
    yield Component(
        "llava-video",
        target="fvlm_llava_video.source:build",
        config="fvlm_llava_video.config:LLaVAVideo",
        summary="lmms-lab/LLaVA-Video-178K: captions, open and multiple-choice questions on videos",
    )
