"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_trackers() -> Iterator[Component]:
    """The mirror."""
    yield Component(
        "wandb",
        target="fvlm_wandb.tracker:build",
        config="fvlm_wandb.config:WandB",
        summary="numbers and predictions to Weights & Biases, offline unless told (pip install 'fvlm[wandb]')",
    )
