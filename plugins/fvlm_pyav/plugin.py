"""What this plugin offers: the core's own decoder, by name."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_decoders() -> Iterator[Component]:
    """PyAV, which recipes that name no decoder use too."""
    yield Component(
        "pyav",
        target="fvlm_core.media.decoders:build",
        config="fvlm_core.plugin_api:PyAVSettings",
        summary="FFmpeg through PyAV, one thread a worker; the default",
    )
