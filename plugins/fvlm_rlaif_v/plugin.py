"""What this plugin offers: RLAIF-V."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_data_sources() -> Iterator[Component]:
    """Preference pairs of RLAIF-V."""
    yield Component(
        "rlaif-v",
        target="fvlm_rlaif_v.source:build",
        config="fvlm_rlaif_v.config:RLAIFV",
        summary="openbmb/RLAIF-V-Dataset: 83,000 preference pairs on pictures",
    )
