"""What this plugin offers: the four published DINOv2 sizes, and the architecture at any size."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl

_SIZES = {
    "small": {"width": 384, "depth": 12, "heads": 6},
    "base": {"width": 768, "depth": 12, "heads": 12},
    "large": {"width": 1024, "depth": 24, "heads": 16},
    "giant": {"width": 1536, "depth": 40, "heads": 24, "swiglu": True},
}
_TINY = {"weights": "seeded", "width": 16, "depth": 2, "heads": 2, "image_size": 42}
_MILLIONS = {"small": 22, "base": 87, "large": 304, "giant": 1136}


@hookimpl
def fvlm_encoders() -> Iterator[Component]:
    """DINOv2 small, base, large, giant; and `dinov2`, whose sizes the recipe or a folder gives."""
    for size, preset in _SIZES.items():
        yield Component(
            f"dinov2-{size}",
            target="fvlm_dinov2.model:build",
            config="fvlm_dinov2.config:DINOv2",
            summary=f"facebook/dinov2-{size} through transformers, {_MILLIONS[size]}M parameters",
            preset={"weights": f"facebook/dinov2-{size}", "position_size": 518, **preset},
            example=_TINY,
            provides=("patches", "query"),
        )
    yield Component(
        "dinov2",
        target="fvlm_dinov2.model:build",
        config="fvlm_dinov2.config:DINOv2",
        summary="the DINOv2 architecture at any size: seeded weights, a folder, or a hub id",
        example=_TINY,
        provides=("patches", "query"),
    )
