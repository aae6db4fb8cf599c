"""Points of the run store: every evaluation of the runs that are meant for fits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from attrs import evolve

from fvlm_core.interfaces.fit import FitModel, LRCurve
from fvlm_core.runs.index import RunIndex
from fvlm_core.runs.listing import list_entries
from fvlm_core.runs.metrics import Row
from fvlm_core.runs.sound import PassedOver, sound
from fvlm_core.runs.store import StoredRun, in_order
from fvlm_core.runs.visual_tokens import frames_per_sample, tokens_per_frame
from fvlm_core.scaling.points.counts import D_KINDS, N_KINDS, DKind, NKind
from fvlm_core.scaling.points.curves import curves_of
from fvlm_core.scaling.points.points import NUMBERS, TEXT, Points, tidy
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.listing import shorten

SAMPLES = D_KINDS["samples"].key

_COUNT_IMPORTED = (
    "Import them again: `fvlm import PATH --total-params SIZE=N --replace`; or leave them out: --drop-run."
)


def from_runs(
    runs: Sequence[StoredRun],
    source: str,
    n: NKind = "total",
    d: DKind = "samples",
    laws: Sequence[FitModel] = (),
    *,
    controls: bool = False,
) -> Points:
    """The evaluations of runs, validation loss against D. Runs not `in_fits` are left out, and named.

    controls: whether they are taken, too. n, d: what N and D count. laws: columns of their own are looked for under
    their names in an evaluation's metrics, a run's record and its resolved recipe ("vision.tokens"); `frames` and
    `tokens_per_frame` are known of every run that was made here. Raises `UsageError` when there is nothing to fit, or
    when a run did not record them, or recorded a word where a law reads a number.
    """
    used = [run for run in runs if controls or run.in_fits]
    names = run_names(runs)
    rows: list[dict[str, Any]] = []
    curves: dict[str, LRCurve] = {}
    left = [names[run.folder] for run in runs if not (controls or run.in_fits)]
    remarks = [f"left out, because they are not meant for fits: {', '.join(left)}"] if left else []
    parameters, seen = N_KINDS[n], D_KINDS[d]
    further = {one.name: (one.name, *one.headers) for law in laws for one in law.variables}
    further |= {label: (label,) for law in laws for label in law.labels}
    further = {name: names for name, names in further.items() if name not in (*TEXT, *NUMBERS)}
    metrics = [name for names in further.values() for name in names]
    as_d = {one.name for law in laws for one in law.variables if one.of_d and one.name in law.inputs}
    uncounted: list[str] = []
    unseen: list[str] = []
    unknown: list[str] = []
    for run in used:
        name = names[run.folder]
        evaluations = run.evaluations(
            "step",
            seen.key,
            SAMPLES,
            "val_loss",
            "lr_connector",
            "flops",
            *(["frames_seen"] if "frames" in metrics else []),
            *metrics,
        )
        visual = {"tokens_per_frame": tokens_per_frame(run.record)} if "tokens_per_frame" in metrics else {}
        good = [row for row in evaluations if _is_loss(row.get("val_loss"))]
        if not good:
            remarks.append(f"run {name} left out: it has no evaluation with a loss yet")
            continue
        if len(good) < len(evaluations):
            bad = len(evaluations) - len(good)
            remarks.append(f"run {name}: evaluations without a positive, finite loss left out: {bad}")
        if not run.record.get(parameters.key):
            (uncounted if n != "total" or run.has_recipe else unknown).append(name)
        counted = [row for row in good if row.get(seen.key) is not None]
        if len(counted) < len(good) and d == "samples" and not run.has_recipe:  # an empty cell of a table
            remarks.append(
                f"run {name}: evaluations without {seen.words} left out: {len(good) - len(counted)}"
            )
            good = counted
        elif len(counted) < len(good):
            unseen.append(name)
        curves |= _curve(run, name, [*run.train_rows("step", "lr_connector"), *evaluations], remarks)
        rows += [
            {
                "size": run.size,
                "run": name,
                "schedule": run.schedule,
                "n": run.record.get(parameters.key),
                "d": row.get(seen.key),
                "loss": row["val_loss"],
                "step": row["step"],
                "lr": row.get("lr_connector"),
                "compute": row.get("flops"),
                **{
                    column: _told(run, row, known, row.get(seen.key) if column in as_d else None, visual)
                    for column, known in further.items()
                },
            }
            for row in good
        ]
    if not rows:
        raise UsageError(f"{source}: no evaluation to fit (runs: {len(runs)}, meant for fits: {len(used)})")
    _check(source, uncounted, f"no count of {parameters.words}", f'"--n {n}"', "--n total")
    _check(source, unseen, f"no {seen.words} of an evaluation", f'"--d {d}"', "--d samples")
    if unknown:
        remarks.append(f"N is not known of imported runs: {shorten(', '.join(unknown))}")
    table = _of_numbers(pd.DataFrame(rows), {one.name for law in laws for one in law.variables} & {*further})
    if d != "samples":
        remarks += [
            f"{one} is what recipes say in training samples, in {seen.words}"
            for one in sorted(as_d & {*table})
        ]
    points = tidy(table, source, remarks, n_kind=parameters.words, d_kind=seen.words, curves=curves)
    recorded = {
        name: f"Record {' or '.join(known)} as a metric of an evaluation, or as a key of the recipe."
        for name, known in further.items()
    }
    floors = {run.summary.get("val_floor") for run in used}
    floor = floors.pop() if len(floors) == 1 else None
    return evolve(points, ways_out=recorded | {"n": _COUNT_IMPORTED}, floor=floor)


def stored_runs(root: Path, passed_over: PassedOver | None = None) -> list[StoredRun]:
    """The runs kept in a folder. passed_over: see `sound`; without it, what a damaged run measured would be missing
    without a word, and that is an error. Raises `UsageError`, with the way to get some, when there are none."""
    folders = [root / entry.folder for entry in list_entries(root)]
    if not folders:
        raise UsageError(
            f"{root}: no runs are kept there. Train some with `fvlm run recipes/quickstart.toml`, "
            "or name another folder with --runs DIR"
        )
    return in_order(sound(folders, passed_over, RunIndex(root)))


def run_names(runs: Sequence[StoredRun]) -> dict[object, str]:
    """A unique name for each run, by folder: its id, or `recipe/id` where two recipes have runs of one id."""
    ids = Counter(run.id for run in runs)
    return {run.folder: run.id if ids[run.id] == 1 else f"{run.recipe}/{run.id}" for run in runs}


def _check(source: str, runs: list[str], lacking: str, asked: str, instead: str) -> None:
    if runs:
        raise UsageError(
            f"{source}: {asked} cannot be had: {lacking} was recorded by {shorten(', '.join(runs))}, "
            f"imported or trained by an older version. Use {instead}, or train these runs again"
        )


def _curve(run: StoredRun, name: str, rows: Sequence[Row], remarks: list[str]) -> Mapping[str, LRCurve]:
    """The learning rate at every step that was logged, evaluations and training alike."""
    rated = [row for row in rows if row.get("lr_connector") is not None and row.get("step") is not None]
    training: dict[str, Any] = run.record.get("resolved", {}).get("training", {})
    warmup = int(run.record.get("steps", 0) * training.get("warmup", 0))
    steps = pd.Series([row["step"] for row in rated], dtype=float).to_numpy()
    rates = pd.Series([row["lr_connector"] for row in rated], dtype=float).to_numpy()
    return curves_of(pd.Categorical([name] * len(rated)), steps, rates, warmup, remarks)


def _told(run: StoredRun, row: Row, names: Sequence[str], d: float | None, visual: Mapping[str, Any]) -> Any:
    """A value by one of its names: of the evaluation, of the run, or of its recipe, else of what was seen; None where
    there is none. d: what D counts there, for what counts the same and is in training samples in a recipe. visual:
    `tokens_per_frame` of the run, where it is asked for."""
    recipe: Mapping[str, Any] = run.record.get("resolved", {})
    seen = {**visual, "frames": frames_per_sample(row.get("frames_seen"), row.get(SAMPLES))}
    for place in (row, run.record, recipe, seen):
        if (found := recorded(place, names)) is not None:
            samples: float | None = row.get(SAMPLES)
            if place is recipe and d and samples and not isinstance(found, str):
                return found * d / samples
            return found
    return None


def recorded(place: Mapping[str, Any], names: Sequence[str]) -> int | float | str | None:
    """The number or word under the first of these names that there is; a name with points is of a table in a table."""
    for name in names:
        found: Any = place
        for key in name.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, int | float | str):
            return found
    return None


def _of_numbers(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """The table with these columns as numbers, without those that no run has. Raises `UsageError` for words."""
    for column in columns:
        numbers = pd.to_numeric(table[column], errors="coerce")
        wrong = table[table[column].notna() & ~np.isfinite(numbers)]
        if len(wrong):
            run, got = wrong[["run", column]].iloc[0]
            raise UsageError(f'run {run}: {column}: expected a finite number, got "{got}"')
        table = table.drop(columns=column) if numbers.isna().all() else table.assign(**{column: numbers})
    return table


def _is_loss(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value > 0
