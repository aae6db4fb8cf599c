"""The measurements of runs as files that scripts and spreadsheets read."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from fvlm_core.api.explained import public
from fvlm_core.api.places import Root, runs_folder, warn
from fvlm_core.utils.outputs import writing
from fvlm_core.utils.paths import user_path

if TYPE_CHECKING:
    from fvlm_core.runs.sound import PassedOver
    from fvlm_core.runs.store import StoredRun
    from fvlm_core.scaling.fit.objective import ObjectiveName


@public
def export(
    to: str | PathLike[str],
    *runs: str | PathLike[str],
    objective: ObjectiveName = "log-huber",
    root: Root = None,
) -> list[Path]:
    """Write the measurements of runs into a folder, as `fvlm export` does, and return the files.

    runs: as in `compare`; none for all that are kept. root: see `fvlm.runs`. Raises `FvlmError`.
    """
    from fvlm_core.api.checks import one_of
    from fvlm_core.scaling.fit.objective import OBJECTIVES

    one_of("objective", objective, OBJECTIVES)
    _, files = exported([str(run) for run in runs], runs_folder(root), user_path(Path(to)), objective, warn)
    return files


def exported(
    names: Sequence[str], root: Path, to: Path, objective: ObjectiveName, note: PassedOver
) -> tuple[list[StoredRun], list[Path]]:
    """The runs that were exported, and the files. note: is told of runs that cannot be read."""
    from fvlm_core.interchange.export import export
    from fvlm_core.runs.select import select_runs
    from fvlm_core.runs.store import in_order
    from fvlm_core.scaling.points.points_from_runs import stored_runs

    runs = in_order(select_runs(names, root, note)) if names else stored_runs(root, note)
    with writing(to):
        return runs, export(runs, to, objective)
