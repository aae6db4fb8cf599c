"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_trackers() -> Iterator[Component]:
    """The mirror."""
    yield Component(
        "mlflow",
        target="fvlm_mlflow.tracker:build",
        config="fvlm_mlflow.config:MLflow",
        summary="numbers and predictions to MLflow, a local file unless told (pip install 'fvlm[mlflow]')",
    )
