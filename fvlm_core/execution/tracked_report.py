"""The report of a run, kept by its trackers: drawn by a process of its own, which no run waits for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fvlm_core.interfaces.tracker import TrackedRun, Tracker
from fvlm_core.recipes.read import from_resolved
from fvlm_core.recipes.schema import Chosen
from fvlm_core.runs.store import ARCHITECTURES, StoredRun
from fvlm_core.utils.atomic_files import open_to_append
from fvlm_core.utils.pretrained import known_architectures
from fvlm_registry import registry

REPORT, LOG = "report.html", "report.log"
"""In the run's folder: the page, and what drawing and sending it said."""


def start(trackers: Sequence[Chosen], recipe: str, run: str, root: Path, folder: Path) -> None:
    """Draw and send the report of a run that is complete, where one of its trackers asks for it.

    By a process of its own: the page takes some 3.5 s of a processor here, 2.5 of them to import what draws it.
    """
    if not any(getattr(chosen.config, "report", False) for chosen in trackers):
        return
    command = [sys.executable, "-P", "-m", "fvlm_core", "report", f"{recipe}/{run}", "--track"]
    command += ["--runs", str(root.absolute()), "--out", str((folder / REPORT).absolute())]
    with open_to_append(folder / LOG) as log:
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def send(runs: Sequence[StoredRun], file: Path) -> Iterator[tuple[str, str]]:
    """Have the trackers of runs keep a file: of each that can, its name with the run's, and why it has not, or "".

    Those that can have a field `report` in their config.
    """
    for run in runs:
        for chosen in _trackers(run):
            if hasattr(chosen.config, "report"):
                yield f"tracker {chosen.word} of {run.recipe}/{run.id}", _sent(chosen, run, file)


def _trackers(run: StoredRun) -> tuple[Chosen, ...]:
    if not (resolved := run.record.get("resolved")):
        return ()  # from elsewhere
    with known_architectures(dict(run.record.get(ARCHITECTURES, {}))):
        return from_resolved(resolved).trackers


def _sent(chosen: Chosen, run: StoredRun, file: Path) -> str:
    try:
        found = registry()
        build: Any = found.load(found.find("tracker", chosen.component).component.target)
        step = int(run.summary.get("total_steps") or 0)
        tracker: Tracker = build(
            chosen.config, TrackedRun(run.recipe, run.id, run.folder, run.record["resolved"], step)
        )
        tracker.artefact(file)
        tracker.close()
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    return ""
