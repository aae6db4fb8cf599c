"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_optimizers() -> Iterator[Component]:
    """All of them."""
    yield Component(
        "adamw",
        target="fvlm_core.training.optimizer:build",
        config="fvlm_core.plugin_api:OwnOptimizer",
        summary="AdamW with the recipe's betas; the default",
        provides=("sharded",),
    )
    yield Component(
        "muon",
        target="fvlm_training_optimizers.build:muon",
        config="fvlm_training_optimizers.config:Muon",
        summary="orthogonalised momentum for hidden matrices, AdamW for the rest (Jordan et al. 2024)",
    )
    yield Component(
        "sgd",
        target="fvlm_training_optimizers.build:sgd",
        config="fvlm_training_optimizers.config:SGD",
        summary="gradient descent with momentum, one number a weight instead of two",
        provides=("sharded",),
    )
