"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_launchers() -> Iterator[Component]:
    """SLURM."""
    yield Component(
        "slurm",
        target="fvlm_slurm.launcher:build",
        config="fvlm_slurm.config:Slurm",
        summary="jobs of a SLURM cluster (pip install 'fvlm[slurm]')",
    )
