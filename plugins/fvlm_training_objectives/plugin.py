"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_objectives() -> Iterator[Component]:
    """All of them."""
    yield Component(
        "tokens",
        target="fvlm_core.training.objective:build",
        config="fvlm_core.plugin_api:OwnObjective",
        summary="the loss of the supervised tokens; the default",
    )
    yield Component(
        "dpo",
        target="fvlm_core.training.preference:build",
        config="fvlm_core.plugin_api:Preference",
        summary="direct preference optimisation on pairs of answers (Rafailov et al. 2023)",
    )
    yield Component(
        "distillation",
        target="fvlm_training_objectives.distillation:build",
        config="fvlm_training_objectives.config:Distillation",
        summary="follows the predictions of a larger model, token by token (Hinton et al. 2015)",
    )
