"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_trackers() -> Iterator[Component]:
    """The mirror."""
    yield Component(
        "tensorboard",
        target="fvlm_tensorboard.tracker:build",
        config="fvlm_tensorboard.config:TensorBoard",
        summary="numbers and predictions as event files in the run's folder (pip install 'fvlm[tensorboard]')",
    )
