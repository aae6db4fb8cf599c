"""A run's numbers as a run of MLflow."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from filelock import FileLock

from fvlm_core.plugin_api import GazeMaps, Prediction, TrackedRun, Tracker, numbers, prediction_table
from fvlm_mlflow.config import MLflow

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported; nobody asked for that
from mlflow import MlflowClient
from mlflow.entities import Experiment, Metric, Param

MARK = "fvlm.run"
"""The tag by which a continued run finds itself again."""

_LONGEST = 500
"""Characters of a parameter: what the oldest servers in use take."""

_AT_ONCE = 100
"""Parameters of a request: what servers take."""


class MLflowRun(Tracker):
    """Every number of a row under `train/NAME` or `eval/NAME`, at the row's step; the recipe as parameters; what the
    model said as a table `predictions/step-N.json` and, of the samples that show something, as images by step.

    All attempts of a run are one run there. Steps that a continued run makes again have their numbers twice; they are
    the same. Parameters are those that the run began with, long ones cut; `recipe.json` is the present recipe, whole.
    """

    def __init__(self, config: MLflow, run: TrackedRun) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it makes
        runs = run.folder.absolute().parent.parent
        given = config.uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(given or _database(runs / "mlflow.db"))
        experiment = self._experiment(
            config.experiment or run.recipe, None if given else str(runs / "mlflow")
        )
        mark = blake2b(f"{run.recipe}/{run.id} {run.folder.absolute()}".encode(), digest_size=8).hexdigest()
        found = self._client.search_runs([experiment], f"tags.`{MARK}` = '{mark}'", max_results=1)
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._client.create_run(experiment, run_name=run.id, tags={MARK: mark}).info.run_id
            every = list(_parameters(run.resolved, ""))
            for start in range(0, len(every), _AT_ONCE):
                self._client.log_batch(self._id, params=every[start : start + _AT_ONCE])
        self._client.log_dict(self._id, dict(run.resolved), "recipe.json")

    def _experiment(self, name: str, artefacts: str | None) -> str:
        """The id of an experiment, which is made where it is not there. artefacts: where its files go."""
        found: Experiment | None = self._client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        try:
            return self._client.create_experiment(name, artifact_location=artefacts)
        except Exception:  # a run beside this one was quicker, or it is for a reason that comes again
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return found.experiment_id

    def log(self, row: Mapping[str, Any]) -> None:
        """Send one row's numbers."""
        now, step = int(1000 * time.time()), int(row["step"])
        values = [Metric(_name(name), value, now, step) for name, value in numbers(row).items()]
        self._client.log_batch(self._id, metrics=values)

    def predicted(self, step: int, predictions: Sequence[Prediction]) -> None:
        """Send the table and the pictures, once: a continued run says the same at the same step."""
        file = f"predictions/step-{step:08d}.json"
        if any(each.path == file for each in self._client.list_artifacts(self._id, "predictions")):
            return  # a table of the same name would grow
        self._client.log_table(self._id, prediction_table(predictions), file)
        for each in predictions:
            if len(each.frames):
                sheet = GazeMaps(each.frames, each.gaze).sheet(4)
                self._client.log_image(self._id, sheet, key=_name(f"predictions/{each.id}"), step=step)

    def artefact(self, file: Path) -> None:
        """Send a file."""
        self._client.log_artifact(self._id, str(file))

    def close(self) -> None:
        """The attempt is over."""
        self._client.set_terminated(self._id)


def _database(file: Path) -> str:
    """A database of ours, made whole or not at all: MLflow takes a few seconds to make one, cannot go on with one that
    it was killed at, and two processes that make the same one at once fail."""
    with FileLock(f"{file}.lock"):
        if not file.exists():
            part = file.with_suffix(".part")
            part.unlink(missing_ok=True)
            MlflowClient(f"sqlite:///{part}").search_experiments()
            part.replace(file)
    return f"sqlite:///{file}"


def _name(name: str) -> str:
    """With the characters that MLflow takes in names."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)


def _parameters(table: Mapping[str, Any], prefix: str) -> Iterator[Param]:
    """A recipe as `training.lr`, lists as JSON."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _parameters(value, f"{prefix}{name}.")
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            yield Param(_name(f"{prefix}{name}"), text[:_LONGEST])


def build(config: MLflow, run: TrackedRun) -> MLflowRun:
    """Open the run of one attempt."""
    return MLflowRun(config, run)
