"""What this plugin offers: the pooled multi-token connector."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_connectors() -> Iterator[Component]:
    """Several tokens a frame by average pooling."""
    yield Component(
        "pooled",
        target="fvlm_pooled.model:build",
        config="fvlm_pooled.config:Pooled",
        summary="several tokens a frame: patches averaged over a coarse grid, one pass, no query",
        needs=("patches",),
    )
