"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_launchers() -> Iterator[Component]:
    """The pool."""
    yield Component(
        "local",
        target="fvlm_local.launcher:build",
        config="fvlm_local.config:Local",
        summary="a pool of processes on this machine, each with its share of cores and GPUs",
    )
