"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_trackers() -> Iterator[Component]:
    """The mirror."""
    yield Component(
        "trackio",
        target="fvlm_trackio.tracker:build",
        config="fvlm_trackio.config:Trackio",
        summary="numbers and predictions in a local Trackio dashboard (pip install 'fvlm[trackio]')",
    )
