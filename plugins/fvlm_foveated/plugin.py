"""What this plugin offers: the foveated connector."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_connectors() -> Iterator[Component]:
    """A token for each query of a frame, by query attention."""
    yield Component(
        "foveated",
        target="fvlm_foveated.model:build",
        config="fvlm_foveated.config:Foveated",
        summary="one token a frame, or a few: a coarse look, then a second one with a query from the language model",
        needs=("query",),
    )
