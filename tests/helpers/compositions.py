"""Compositions of encoder, connector and language model from plain tables, without memory."""

from __future__ import annotations

from typing import Any

from fvlm_core.recipes.choose import choose
from fvlm_core.recipes.located import Located
from fvlm_core.recipes.schema import Model

CONNECTORS: dict[str, dict[str, Any]] = {
    "foveated": {"name": "foveated"},
    "coarse only": {"name": "foveated", "mode": "coarse_only"},
    "pooled 16": {"name": "pooled", "grid": 4},
    "pooled 49": {"name": "pooled", "grid": 7},
}
SMALL_ENCODER = {
    "name": "dinov2", "weights": "seeded", "width": 64, "depth": 2, "heads": 4, "image_size": 56
}  # fmt: skip
SMALL_LLM = {
    "name": "smollm2", "weights": "seeded", "width": 48, "mlp": 128, "depth": 1, "heads": 4, "kv_heads": 2
}  # fmt: skip
FURTHER: dict[str, dict[str, Any]] = {
    "three queries": {"name": "foveated", "queries": 3},
    "perceiver": {"name": "perceiver", "tokens": 5},
    "merge": {"name": "merge", "tokens": 3},
    "random": {"name": "random", "tokens": 5},
    "select": {"name": "select", "tokens": 5},
    "last frames": {"name": "last-frames", "frames": 3},
    "convolutional": {"name": "convolutional"},
}
SMALL_CONNECTORS: dict[str, dict[str, Any]] = {
    **CONNECTORS,
    **FURTHER,
    "pooled 16": {"name": "pooled", "grid": 2},
    "pooled 49": {"name": "pooled", "grid": 4},
    "shallow": {"name": "foveated", "depth": "shallow"},
    "shallow coarse only": {"name": "foveated", "depth": "shallow", "mode": "coarse_only"},
    "coarse loss": {"name": "foveated", "lambda_coarse": 0.5},
    "two fine passes": {"name": "foveated", "fine_iterations": 2},
}


def composed(encoder: dict[str, Any], connector: dict[str, Any], llm: dict[str, Any]) -> Model:
    """A recipe's [model] from plain tables."""

    def chosen(table: dict[str, Any], kind: Any) -> Any:
        return choose(Located({key: Located(value, "") for key, value in table.items()}, ""), kind)

    return Model(
        encoder=chosen(encoder, "encoder"), connector=chosen(connector, "connector"), llm=chosen(llm, "llm")
    )
