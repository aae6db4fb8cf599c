"""The export: all measurements as CSV, the fits as JSON and a plot, in the format that users' scripts read."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fvlm_core.errors import UsageError
from fvlm_core.recipes.schema import Fit as FitRequest
from fvlm_core.runs.files import write_json
from fvlm_core.runs.metrics import Row
from fvlm_core.runs.store import Run
from fvlm_core.scaling.fitting import fit_runs
from fvlm_core.scaling.objective import ObjectiveName
from fvlm_core.scaling.report import Fit, FitReport
from fvlm_core.scaling.stored import run_names

POINTS = "all_eval_points.csv"
SUMMARIES = "run_summaries.csv"
FITS = "scaling_fits.json"
PLOT = "scaling_law_plot.png"

POINT_COLUMNS = (
    "model_size",
    "run_id",
    "lr_schedule",
    "step",
    "samples_seen",
    "val_loss",
    "train_loss",
    "lr",
    "throughput_sps",
    "attention_entropy",
)
SUMMARY_COLUMNS = (
    "run_id",
    "model_size",
    "total_params",
    "lr_schedule",
    "total_samples",
    "total_steps",
    "best_val_loss",
    "best_val_step",
    "final_train_loss",
    "wall_time_hours",
)

_BOTH = ("lr_connector", "throughput_samples_sec")
"""Metrics of training rows and of evaluations alike."""

PER_SIZE = "per-size"
JOINT = "joint-chinchilla"
EXPORTED = (PER_SIZE, JOINT)
"""The fits that the format has a place for."""

JOINT_FORM = "L(N,D) = E + A/N^alpha + B/D^beta"
CHINCHILLA = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
"""Hoffmann et al. (2022), as the format quotes it: nats a token of text, N parameters, D tokens."""


def export(
    runs: Sequence[Run],
    to: Path,
    objective: ObjectiveName = "log-huber",
    reports: Sequence[FitReport] | None = None,
    heading: str = "",
) -> list[Path]:
    """Write the four files of the export into the folder `to` and return them.

    Every run is in both tables; only those that are `in_fits` are fitted. reports: fits already made of these runs;
    None makes them with `objective`. heading: of the picture, and a note in the
    fits. Raises `UsageError` when there is no run.
    """
    if not runs:
        raise UsageError(f"nothing to export to {to}: no run")
    from fvlm_core.report.figures import scaling_law_plot

    to.mkdir(parents=True, exist_ok=True)
    nothing = ""
    if reports is None:
        try:
            requests = [FitRequest(model=name, objective=objective) for name in EXPORTED]
            reports = fit_runs(runs, requests, source=str(to / POINTS))
        except UsageError as error:
            reports, nothing = [], str(error)
    files = [to / name for name in (POINTS, SUMMARIES, FITS, PLOT)]
    _write_csv(files[0], POINT_COLUMNS, point_rows(runs))
    _write_csv(files[1], SUMMARY_COLUMNS, summary_rows(runs))
    write_json(files[2], {**({"note": heading} if heading else {}), **scaling_fits(reports, nothing)})
    scaling_law_plot(reports, files[3], nothing, heading)
    return files


def point_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One row an evaluation: the columns of `all_eval_points.csv`, None where nothing is known."""
    names = run_names(runs)
    rows: list[dict[str, Any]] = []
    for run in runs:
        training = run.train_rows("step", "train_loss", *_BOTH)
        for row in run.evaluations("step", "samples_seen", "val_loss", "attention_entropy", *_BOTH):
            before = _preceding(training, row["step"])
            rows.append(
                {
                    "model_size": run.size,
                    "run_id": names[run.folder],
                    "lr_schedule": run.schedule,
                    "step": row["step"],
                    "samples_seen": row["samples_seen"],
                    "val_loss": row.get("val_loss"),
                    "train_loss": before.get("train_loss"),
                    "lr": row.get("lr_connector", before.get("lr_connector")),
                    "throughput_sps": row.get("throughput_samples_sec", before.get("throughput_samples_sec")),
                    "attention_entropy": row.get("attention_entropy"),
                }
            )
    return rows


def summary_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One row a run: the columns of `run_summaries.csv`; a run before its first evaluation has few of them."""
    names = run_names(runs)
    identity = ("run_id", "model_size", "total_params", "lr_schedule")
    return [
        dict(zip(identity, (names[run.folder], run.size, run.total_params, run.schedule), strict=True))
        | {column: run.summary.get(column) for column in SUMMARY_COLUMNS if column not in identity}
        for run in runs
    ]


def scaling_fits(reports: Sequence[FitReport], nothing: str = "") -> dict[str, Any]:
    """The content of `scaling_fits.json`: null for every value that is withheld, and a note that says why.

    nothing: why there are no reports.
    """
    per_size = next((report for report in reports if report.model.name == PER_SIZE), None)
    joint = next((report for report in reports if report.model.name == JOINT), None)
    return {
        "per_size_fits": _per_size(per_size) if per_size else {},
        "joint_chinchilla_fit": _joint(joint, nothing or "not asked for"),
        "chinchilla_reference": dict(CHINCHILLA),
    }


def _per_size(report: FitReport) -> dict[str, Any]:
    fits = {fit.group: fit for fit in report.fits}
    counts = report.points.table.groupby("size", sort=False).size()
    out: dict[str, Any] = {}
    for size in report.points.sizes:
        fit = fits.get(size)
        reasons = [reason for reason in report.reasons if reason.startswith(f"{size}: ")]
        out[size] = {
            **{name: fit.values[name] if fit else None for name in ("a", "b", "E")},
            "n_points": fit.n_points if fit else int(counts[size]),
            "rmse": fit.rmse if fit else None,
            "lr_schedule": fit.schedule if fit else "",
            "note": _note(report, [*reasons, *([remark.text for remark in fit.remarks] if fit else [])]),
        }
    return out


def _joint(report: FitReport | None, nothing: str) -> dict[str, Any]:
    fit = report.fits[0] if report and report.fits else None
    reasons = list(report.reasons) if report else [nothing]
    names = ("E", "A", "B", "alpha", "beta")
    withheld = report.withheld if report else names
    if report and fit and report.status == "reduced":
        reasons.append(_instead(fit, withheld))
    return {
        "form": JOINT_FORM,
        **{name: fit.values[name] if fit and name not in withheld else None for name in names},
        "rmse": fit.rmse if fit else None,
        "n_points": len(report.points.table) if report else 0,
        "note": _note(report, [*reasons, *report.warnings]) if report else nothing,
    }


def _instead(fit: Fit, withheld: Sequence[str]) -> str:
    """What the numbers of a reduced fit are of."""
    own = ", ".join(f"{name} {value:.6g}" for name, value in fit.values.items())
    return f"{', '.join(withheld)} withheld (null); the other numbers are of {fit.problem.model.form}: {own}"


def _note(report: FitReport | None, parts: Sequence[str]) -> str:
    objective = [f"objective {report.objective}"] if report else []
    return "; ".join([*objective, *dict.fromkeys(part.rstrip(".") for part in parts)])


def _preceding(training: Sequence[Row], step: int) -> Row:
    """The last training row at or before a step; empty if there is none."""
    return max((row for row in training if row["step"] <= step), key=lambda row: row["step"], default={})


def _write_csv(file: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_cell(row[column]) for column in columns] for row in rows])
    temporary = file.with_name(f".{file.name}")
    temporary.write_text(text.getvalue(), encoding="utf-8")
    temporary.replace(file)


def _cell(value: Any) -> Any:
    """Empty for what is not known; an apostrophe keeps text from being a formula in a spreadsheet."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@"):
        return f"'{value}"
    return value
