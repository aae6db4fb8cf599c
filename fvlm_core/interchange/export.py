"""The export: all measurements as CSV, the fits as JSON and a plot, in the format that users' scripts read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fvlm_core.interchange.export_tables import POINTS, write_tables
from fvlm_core.runs.store import StoredRun, in_order
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.objective import ObjectiveName
from fvlm_core.scaling.fit.report import FitReport, FittedLaw
from fvlm_core.scaling.points.in_fits import FITS, NOT_IN_FITS
from fvlm_core.scaling.points.points_from_runs import from_runs, run_names
from fvlm_core.utils.atomic_files import write_json
from fvlm_core.utils.errors import UsageError

PLOT = "scaling_law_plot.png"

PER_SIZE = "per-size"
JOINT = "joint-chinchilla"
EXPORTED = (PER_SIZE, JOINT)
"""The fits that the format has a place for."""

JOINT_FORM = "L(N,D) = E + A/N^alpha + B/D^beta"
CHINCHILLA = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
"""Hoffmann et al. (2022), as the format quotes it: nats a token of text, N parameters, D tokens."""


def export(
    runs: Sequence[StoredRun],
    to: Path,
    objective: ObjectiveName = "log-huber",
    reports: Sequence[FitReport] | None = None,
    heading: str = "",
) -> list[Path]:
    """Write the files of the export into the folder `to` and return them: the same bytes for the same runs.

    Every run is in both tables, in the order of the store; only those that are `in_fits` are fitted, and where there
    are others `in_fits.csv` and the fits say so, for whoever reads the tables. reports: fits
    already made of these runs; None makes them with `objective`. heading: of the picture, and a note in the fits.
    Raises `UsageError` when there is no run.
    """
    if not runs:
        raise UsageError(f"nothing to export to {to}: no run")
    from fvlm_core.report.figures import scaling_law_plot

    runs = in_order(runs)
    to.mkdir(parents=True, exist_ok=True)
    nothing = ""
    if reports is None:
        reports, nothing = _fitted(runs, objective)
    fits = {**({"note": heading} if heading else {}), **scaling_fits(reports, nothing)}
    if controls := not_in_fits(runs):
        fits[NOT_IN_FITS] = controls
    files = [*write_tables(runs, to), to / FITS, to / PLOT]
    write_json(to / FITS, fits)
    scaling_law_plot(reports, to / PLOT, nothing, heading)
    return files


def not_in_fits(runs: Sequence[StoredRun]) -> list[str]:
    """The names, as the tables have them, of runs that are no fit points."""
    names = run_names(runs)
    return [names[run.folder] for run in runs if not run.in_fits]


def _fitted(runs: Sequence[StoredRun], objective: ObjectiveName) -> tuple[list[FitReport], str]:
    """The exported fits, as far as the runs hold what they need, and why the others are not there."""
    reports: list[FitReport] = []
    reasons: list[str] = []
    try:
        points = from_runs(runs, POINTS)  # no path: the same runs elsewhere give the same bytes
    except UsageError as error:
        return reports, str(error)
    for name in EXPORTED:
        try:
            reports.append(fit_points(points, load_model(name), objective))
        except UsageError as error:
            reasons.append(str(error))
    return reports, "; ".join(reasons)


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


def _instead(fit: FittedLaw, withheld: Sequence[str]) -> str:
    """What the numbers of a reduced fit are of."""
    own = ", ".join(f"{name} {value:.6g}" for name, value in fit.values.items())
    return f"{', '.join(withheld)} withheld (null); the other numbers are of {fit.problem.model.form}: {own}"


def _note(report: FitReport | None, parts: Sequence[str]) -> str:
    objective = [f"objective {report.objective}"] if report else []
    return "; ".join([*objective, *dict.fromkeys(part.rstrip(".") for part in parts)])
