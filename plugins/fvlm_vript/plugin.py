"""What this plugin offers: Vript."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_data_sources() -> Iterator[Component]:
    """Scenes of Vript."""
    yield Component(
        "vript",
        target="fvlm_vript.source:build",
        config="fvlm_vript.config:Vript",
        summary="Mutonix/Vript: scenes with dense captions, from its JSONL and its zips of clips",
    )
