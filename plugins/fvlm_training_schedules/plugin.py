"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl

OWN = {
    "cosine": "half a cosine down to training.floor of the peak; the default",
    "constant": "the peak rate to the end",
    "converging": "all groups move to training.lr_target",
}


@hookimpl
def fvlm_schedules() -> Iterator[Component]:
    """All of them."""
    for kind, summary in OWN.items():
        yield Component(
            kind,
            target="fvlm_core.training.schedule:build",
            config="fvlm_core.plugin_api:OwnSchedule",
            summary=summary,
            preset={"kind": kind},
        )
    yield Component(
        "wsd",
        target="fvlm_training_schedules.wsd:build",
        config="fvlm_training_schedules.config:WSD",
        summary="warm-up, stable, decay: one long run gives many final losses (Hu et al. 2024)",
    )
