"""What this plugin offers: SmolTalk."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_data_sources() -> Iterator[Component]:
    """Chats of SmolTalk."""
    yield Component(
        "smoltalk",
        target="fvlm_smoltalk.source:build",
        config="fvlm_smoltalk.config:SmolTalk",
        summary="HuggingFaceTB/smoltalk: a million chats of text alone, for text retention",
        provides=("text",),
    )
    yield Component(
        "smol-smoltalk",
        target="fvlm_smoltalk.source:build",
        config="fvlm_smoltalk.config:SmolTalk",
        summary="HuggingFaceTB/smol-smoltalk: the 460,000 chats made for models of up to 360M",
        preset={"subset": "smol-smoltalk"},
        provides=("text",),
    )
