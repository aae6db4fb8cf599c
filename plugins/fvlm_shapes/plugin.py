"""What this plugin offers: data that are drawn."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_data_sources() -> Iterator[Component]:
    """Clips drawn on this machine."""
    yield Component(
        "shapes",
        target="fvlm_shapes.source:build",
        config="fvlm_shapes.config:Shapes",
        summary="rendered H.264 clips with captions, levels easy (seen), gaze (looked for) and signals (known odds), "
        "or questions and choices",
        provides=("rehearsal",),
        example={"clips": 6, "validation_clips": 4, "frames": 2},
    )
    yield Component(
        "needles",
        target="fvlm_shapes.needles:build",
        config="fvlm_shapes.config:Needles",
        summary="rendered videos of any length to 512 frames, with a flag somewhere that is asked for",
        example={"lengths": (4, 6), "clips": 6, "validation_clips": 4},
    )
