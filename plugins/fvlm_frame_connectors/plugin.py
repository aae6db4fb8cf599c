"""What this plugin offers: connectors that treat each frame by itself, and controls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_connectors() -> Iterator[Component]:
    """All of them."""
    few = {"tokens": 4}
    yield _component("perceiver", "Perceiver", "a few tokens a frame: learned queries look at it", few)
    yield _component("merge", "Merge", "a few tokens a frame: patches that are alike become one", few)
    yield _component("random", "Random", "a few tokens a frame: patches at random, a control", few)
    yield _component("select", "Select", "a few tokens a frame: the patches most like CLS", few)
    yield _component(
        "last-frames", "LastFrames", "all patches of the last frames, and no other frame, a control"
    )
    yield _component("convolutional", "Convolutional", "a token a frame for every square of patches")


def _component(name: str, config: str, summary: str, example: dict[str, Any] | None = None) -> Component:
    return Component(
        name,
        target=f"fvlm_frame_connectors.{name.replace('-', '_')}:build",
        config=f"fvlm_frame_connectors.config:{config}",
        summary=summary,
        needs=("patches",),
        example=example or {},
    )
