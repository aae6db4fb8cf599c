"""What this plugin offers: The Cauldron."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_data_sources() -> Iterator[Component]:
    """Chats on the pictures of the Cauldron."""
    yield Component(
        "cauldron",
        target="fvlm_cauldron.source:build",
        config="fvlm_cauldron.config:Cauldron",
        summary="HuggingFaceM4/the_cauldron: questions on pictures, 50 subsets",
    )
