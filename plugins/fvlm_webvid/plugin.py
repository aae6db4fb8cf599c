"""What this plugin offers: WebVid-10M, from files that are on this machine."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_data_sources() -> Iterator[Component]:
    """Local clips of WebVid-10M."""
    yield Component(
        "webvid",
        target="fvlm_webvid.source:build",
        config="fvlm_webvid.config:WebVid",
        summary="WebVid-10M, withdrawn by its owner: local files only, and only with permitted = true",
    )
