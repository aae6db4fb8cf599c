"""What this plugin offers: the three published SmolLM2 sizes, and the architecture at any size."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl

_SIZES = {
    "135M": {"width": 576, "mlp": 1536, "depth": 30, "heads": 9, "kv_heads": 3},
    "360M": {"width": 960, "mlp": 2560, "depth": 32, "heads": 15, "kv_heads": 5},
    "1.7B": {"width": 2048, "mlp": 8192, "depth": 24, "heads": 32, "kv_heads": 32, "rope_base": 130_000.0},
}
_TINY = {"weights": "seeded", "width": 16, "mlp": 32, "depth": 2, "heads": 4, "kv_heads": 2}


@hookimpl
def fvlm_llms() -> Iterator[Component]:
    """SmolLM2 135M, 360M, 1.7B; and `smollm2`, whose sizes the recipe or a folder gives."""
    for size, preset in _SIZES.items():
        weights = f"HuggingFaceTB/SmolLM2-{size}-Instruct"
        yield Component(
            f"smollm2-{size.lower()}",
            target="fvlm_smollm2.model:build",
            config="fvlm_smollm2.config:SmolLM2",
            summary=f"{weights} through transformers",
            preset={"weights": weights, "vocabulary": 49_152, "size": size, **preset},
            example=_TINY,
        )
    yield Component(
        "smollm2",
        target="fvlm_smollm2.model:build",
        config="fvlm_smollm2.config:SmolLM2",
        summary="the SmolLM2 (Llama) architecture at any size: seeded weights, a folder, or a hub id",
        example=_TINY,
    )
