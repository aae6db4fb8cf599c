"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_report_sections() -> Iterator[Component]:
    """All of them."""
    yield Component(
        "stability",
        target="fvlm_sections.stability:build",
        config="fvlm_sections.config:Stability",
        summary="gradient norms, loss spikes and steps that changed no weight",
    )
