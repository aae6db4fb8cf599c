"""Points: one row for each measured loss, in a fixed order, from run folders or (see `csvfile`) from CSV files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.errors import UsageError
from fvlm_core.runs.store import Run, list_runs, with_cache

TEXT = ("size", "run", "schedule")
NUMBERS = ("n", "d", "loss", "step", "lr", "compute")
NEEDED = ("d", "loss")


@frozen(eq=False)
class Points:
    """Measured losses.

    table: one row a point, sorted by n, size, run, d. Text columns, "" where unknown: size (label), run, schedule.
    Float columns, NaN where unknown: n (parameters), d (training samples seen), loss (nats a token), step (optimiser
    steps), lr (the connector's), compute (training FLOPs). d and loss are finite and positive.
    source: where they are from, for people. remarks: what was left out or looked up on the way.
    """

    table: pd.DataFrame
    source: str
    remarks: tuple[str, ...] = ()

    @property
    def sizes(self) -> list[str]:
        """Size labels, smallest model first."""
        return list(dict.fromkeys(self.table["size"]))

    def require(self, columns: Sequence[str], law: str) -> None:
        """Raise `UsageError` unless every point has these columns."""
        for column in columns:
            absent = self.table[self.table[column].isna()]
            if len(absent):
                runs = ", ".join(dict.fromkeys(absent["run"])) or "no run is named"
                raise UsageError(
                    f'{self.source}: fit "{law}" needs {MEANING[column]} of every point; '
                    f"{len(absent)} of {len(self.table)} have none ({shorten(runs)}).\n{_WAY_OUT[column]}"
                )


MEANING = {
    "n": "N, the parameters",
    "d": "D, the samples seen",
    "loss": "the loss",
    "step": "the step",
    "lr": "the learning rate",
    "compute": "C, the training FLOPs",
}

_WAY_OUT = {
    "n": "Put run_summaries.csv (columns run_id, total_params) beside the file, or add a column N.",
    "step": "Add a column step.",
    "lr": "Add a column lr.",
    "compute": "Add a column C.",
}


def tidy(table: pd.DataFrame, source: str, remarks: Sequence[str] = ()) -> Points:
    """Put rows into the form of `Points`: labels filled in, duplicates and points at D = 0 left out (and said), sorted.

    table: any of the columns of `Points`; `d` and `loss` are needed. Raises `UsageError` when no row is left.
    """
    said = list(remarks)
    table = table.reindex(columns=[*TEXT, *NUMBERS])
    for column in TEXT:
        table[column] = table[column].astype(object).where(table[column].notna(), "").astype(str)
    table = table.astype(dict.fromkeys(NUMBERS, float))
    at_zero = table["d"] == 0
    if at_zero.any():
        said.append(f"points at D = 0 left out, where no power of D has a value: {at_zero.sum()}")
        table = table[~at_zero]
    twice = table.duplicated()
    if twice.any():
        said.append(f"points that are exact copies of others, and count once: {twice.sum()}")
        table = table[~twice]
    if table.empty:
        raise UsageError(f"{source}: no points to fit")
    unnamed = table["size"] == ""
    table.loc[unnamed, "size"] = [size_label(n) for n in table.loc[unnamed, "n"]]
    table = table.sort_values(["n", "size", "run", "d", "step", "loss", "schedule", "lr"], ignore_index=True)
    return Points(table, source, tuple(said))


def from_runs(runs: Sequence[Run], source: str) -> Points:
    """The evaluations of runs, validation loss against samples seen. Runs not `in_fits` are left out, and named.

    Raises `UsageError` when there is nothing to fit.
    """
    used = [run for run in runs if run.in_fits]
    names = run_names(runs)
    rows: list[dict[str, Any]] = []
    controls = [names[run.folder] for run in runs if not run.in_fits]
    remarks = [f"left out, because they are not meant for fits: {', '.join(controls)}"] if controls else []
    for run in used:
        evaluations = run.evaluations("step", "samples_seen", "val_loss", "lr_connector", "flops")
        good = [row for row in evaluations if _is_loss(row.get("val_loss"))]
        if not good:
            remarks.append(f"run {names[run.folder]} left out: it has no evaluation with a loss yet")
        elif len(good) < len(evaluations):
            bad = len(evaluations) - len(good)
            remarks.append(
                f"run {names[run.folder]}: evaluations without a positive, finite loss left out: {bad}"
            )
        rows += [
            {
                "size": run.size,
                "run": names[run.folder],
                "schedule": run.schedule,
                "n": run.total_params,
                "d": row["samples_seen"],
                "loss": row["val_loss"],
                "step": row["step"],
                "lr": row.get("lr_connector"),
                "compute": row.get("flops"),
            }
            for row in good
        ]
    if not rows:
        raise UsageError(f"{source}: no evaluation to fit (runs: {len(runs)}, meant for fits: {len(used)})")
    return tidy(pd.DataFrame(rows), source, remarks)


def stored_runs(root: Path) -> list[Run]:
    """The runs kept in a folder. Raises `UsageError`, with the way to get some, when there are none."""
    runs = list_runs(root)
    if not runs:
        raise UsageError(
            f"{root}: no runs are kept there. Train some with `fvlm run recipes/quickstart.toml`, "
            "or name another folder with --runs DIR"
        )
    return with_cache(runs, root)


def run_names(runs: Sequence[Run]) -> dict[object, str]:
    """A unique name for each run, by folder: its id, or `recipe/id` where two recipes have runs of one id."""
    ids = [run.id for run in runs]
    return {run.folder: run.id if ids.count(run.id) == 1 else f"{run.recipe}/{run.id}" for run in runs}


def size_label(n: float) -> str:
    """A label for a size that has none: `157.3M`."""
    if not np.isfinite(n):
        return "all"
    for unit, word in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if n >= unit:
            return f"{n / unit:.4g}{word}"
    return f"{n:.4g}"


def shorten(text: str, most: int = 100) -> str:
    """Long lists cut with an ellipsis."""
    return text if len(text) <= most else text[: most - 1].rstrip(" ,") + "…"


def _is_loss(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value > 0
