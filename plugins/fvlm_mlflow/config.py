"""Settings of the MLflow mirror."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class MLflow:
    """uri: of the server or store; "" for what `MLFLOW_TRACKING_URI` says, and without that for `mlflow.db` beside the
    runs (`mlflow ui --backend-store-uri sqlite:///runs/mlflow.db` shows it). experiment: where the run is shown; "" for
    the recipe's name. report: once the run is complete, a process of its own draws its report and sends it as an
    artefact.
    """

    uri: str = ""
    experiment: str = ""
    report: bool = False
