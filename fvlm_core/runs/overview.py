"""Everything that the folder of one run says, gathered."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from attrs import frozen

from fvlm_core.recipes.resolved import flat
from fvlm_core.runs.attempts import accepted_drift, read_attempts
from fvlm_core.runs.listing import ListedRun
from fvlm_core.runs.metrics import Row, read_metrics
from fvlm_core.runs.removal import size_on_disk
from fvlm_core.runs.store import BAD_SAMPLES, METRICS, open_run
from fvlm_core.utils.atomic_files import read_rows
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.json_shape import misfit

MAIN = (
    *("model.encoder.name", "model.connector", "model.llm.name", "model.blind", "model.size"),
    *(
        "training.steps",
        "training.samples",
        "training.budget",
        "training.batch_size",
        "training.micro_batch_size",
    ),
    *("training.lr", "training.lr_ratio", "training.schedule", "training.warmup", "training.floor"),
    *("training.optimizer", "training.objective", "training.callbacks"),
    *(
        "training.lr_target",
        "training.frozen",
        "training.supervise",
        "training.precision",
        "training.init_from",
    ),
    *("data.sources", "data.text", "data.validation", "eval"),
)
"""Keys of a recipe, and tables with all their keys, that say what a run is about."""


@frozen
class Overview:
    """One run. by_source: losses of its last evaluation. bad: a row a bad sample. files: bytes by name, folders whole.

    settings, main_settings: the resolved recipe by dotted key, all of it and what it is about; empty when not recorded.
    """

    entry: ListedRun
    folder: Path
    record: dict[str, Any]
    summary: dict[str, Any]
    settings: dict[str, Any]
    main_settings: dict[str, Any]
    evaluations: list[Row]
    by_source: dict[str, float | None]
    attempts: list[dict[str, Any]]
    drift: list[dict[str, Any]]
    bad: list[dict[str, Any]]
    files: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            **self.entry.to_json(),
            "path": str(self.folder),
            "record": self.record,
            "summary": self.summary,
            "evaluations": self.evaluations,
            "attempts": self.attempts,
            "drift": self.drift,
            "bad_samples": self.bad,
            "files": self.files,
        }


def overview(entry: ListedRun, root: Path) -> Overview:
    """Read all of a run's record; what a kill has torn is left out."""
    folder = root / entry.folder
    run = open_run(folder)
    settings = flat(run.record.get("resolved") or {})
    rows = [row for row in read_metrics(folder / METRICS, skip="train") if row["event_type"] == "eval"]
    return Overview(
        entry,
        folder,
        run.record,
        run.summary,
        settings,
        {key: value for key, value in settings.items() if _is_main(key)},
        rows,
        (rows[-1].get("val_loss_by_source") if rows else None) or {},
        read_attempts(folder),
        accepted_drift(folder),
        _bad_samples(folder / BAD_SAMPLES),
        _files(folder),
    )


def _is_main(key: str) -> bool:
    return any(key == name or key.startswith((f"{name}.", f"{name}[")) for name in MAIN)


def _bad_samples(file: Path) -> list[dict[str, Any]]:
    """Each bad sample once, as it was met first."""
    found: dict[str, dict[str, Any]] = {}
    try:
        for number, row in read_rows(file):
            if wrong := misfit(row, {}):
                raise ValueError(f"line {number}: {wrong}")
            found.setdefault(str(row.get("sample")), row)
    except ValueError as error:
        raise UsageError(f"{file}: damaged: {error}") from None
    return list(found.values())


def _files(folder: Path) -> dict[str, int]:
    sizes = {
        item.name + "/" * item.is_dir(follow_symlinks=False): size_on_disk(Path(item.path))
        if item.is_dir(follow_symlinks=False)
        else item.stat(follow_symlinks=False).st_size
        for item in os.scandir(folder)
    }
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))
