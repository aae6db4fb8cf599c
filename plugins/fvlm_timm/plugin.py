"""What this plugin offers: any vision transformer of timm with the usual blocks, by timm's name."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl

_TINY = {
    "model": "vit_tiny_patch16_224",
    "weights": "seeded",
    "image_size": 32,
    "width": 16,
    "depth": 2,
    "heads": 2,
}


@hookimpl
def fvlm_encoders() -> Iterator[Component]:
    """`timm:NAME`; or `timm`, whose `model` names the architecture."""
    yield Component(
        "timm",
        target="fvlm_timm.model:build",
        config="fvlm_timm.config:Timm",
        summary="timm:NAME, a vision transformer of timm (timm:vit_base_patch16_siglip_224)",
        provides=("patches", "query"),
        rest="model",
        example=_TINY,
    )
