"""Residuals by run along the data, their autocorrelation, and jumps inside runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fvlm_core.interfaces.figure import LawReport
from fvlm_core.report.figures import loss, style, words
from fvlm_core.report.figures.config import Plain
from fvlm_core.report.figures.look import current, inches

LAGS = 10

FEWEST = 6
"""Points of a run whose autocorrelation is drawn."""

JUMPS = 6
"""Jumps marked; all of them are in the report's warnings."""

RUNS = 12
"""Runs whose autocorrelation is drawn: those of most points."""


def draw(config: Plain, reports: Sequence[LawReport], figure: Figure) -> None:
    """A row a report: residuals against D, and their autocorrelation by run."""
    useful = [report for report in reports if report.fits]
    if not useful:
        style.only_words(figure, f"No fit, no residuals. {' '.join(words.captions(reports))}")
        return
    first = useful[0]
    across = 2 if any(map(_long, useful)) else 1
    page = style.sheet(
        figure,
        len(useful),
        across,
        caption=words.captions(
            reports,
            *(_alike(report, len(reports) > 1) for report in reports),
            words.left_out(
                more
                for report in reports
                for more in (
                    (report.law.name, len(report.jumps) - JUMPS, "jumps"),
                    (report.law.name, len(_long(report)) - RUNS, "runs' autocorrelations"),
                )
            ),
            style.one_of(sum(len(fit.points) for fit in first.fits)),
            numbers=False,
        ),
        legend=loss.legend(first),
        height=2.1,
        widths=(2.3, 1)[:across],
    )
    for (left, *others), report in zip(page.panels, useful, strict=True):
        style.title(left, report.law.name, report.law.form, withheld=report.withheld)
        _residuals(report, left)
        for right in others:
            if _long(report):
                style.title(right, "by lag")
                _autocorrelation(report, right)
            else:
                right.remove()


def _residuals(report: LawReport, axes: Axes) -> None:
    sizes = report.sizes
    shades = dict(zip(sizes, style.colours(len(sizes)), strict=True))
    table = pd.concat([fit.points for fit in report.fits], ignore_index=True)
    x = next((name for name in ("d", *report.law.columns) if table[name].notna().any()), "d")
    every = style.thinning(len(table))
    relative = all(fit.relative for fit in report.fits)
    part = 100 if relative else 1
    joined = len(loss.runs_of(table)) <= RUNS
    for size, run, marker, of_run in loss.runs_of(table):
        if joined and run:
            axes.plot(of_run[x], part * of_run["residual"], color=shades[size], linewidth=0.6, alpha=0.6)
        style.points(axes, of_run[x], part * of_run["residual"], shades[size], marker, every)
    axes.axhline(0, color=style.GREY, linewidth=0.8, zorder=2)
    ends = np.log(table["d"].to_numpy(float))
    for at, jump in enumerate(report.jumps[:JUMPS]):
        left = np.log(jump.before) > (ends.min() + ends.max()) / 2
        axes.axvspan(jump.before, jump.after, color=style.GREY, alpha=0.18, linewidth=0, zorder=0)
        letters = int(inches(axes, "x") * (0.5 if left else 0.9) / current().letter_inches) - 14
        axes.annotate(
            f"{style.clip(jump.run, max(6, min(letters, style.LEGEND_LETTERS)))} jumps {100 * jump.size:+.1f} %",
            (jump.before if left else jump.after, 1),
            (-3 if left else 3, -2 - 1.35 * style.SMALL * at),
            ha="right" if left else "left",
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=style.SMALL,
            color=style.GREY,
            va="top",
        )
    style.log_axis(axes, "x", table[x].to_numpy(float), x, report.units[x])
    words_ = "measured / fitted - 1 (%)" if relative else "measured - fitted"
    axes.set_ylabel(words_, fontsize=style.NORMAL)


def _autocorrelation(report: LawReport, axes: Axes) -> None:
    """Of each run, by lag, and where 95 % of independent residuals would lie."""
    sizes = report.sizes
    shades = dict(zip(sizes, style.colours(len(sizes)), strict=True))
    shown = sorted(_long(report), key=lambda found: -len(found[3]))[:RUNS]
    for size, _, marker, of_run in shown:
        found = by_lag(of_run["residual"].to_numpy(float))
        axes.plot(
            range(1, len(found) + 1),
            found,
            **style.marks(shades[size], marker, "-"),
        )
    axes.axhline(0, color=style.GREY, linewidth=0.8)
    axes.set_ylim(-1.05, 1.05)
    axes.set_xlim(0.5, LAGS + 0.5)
    axes.set_xticks(range(2, LAGS + 1, 2))
    axes.set_ylabel("autocorrelation", fontsize=style.NORMAL)
    axes.set_xlabel("lag (evaluations)", fontsize=style.NORMAL)
    limit = 1.96 / np.sqrt(max(len(found[3]) for found in shown))
    axes.axhspan(-limit, limit, color=style.GREY, alpha=0.12, linewidth=0)


def _long(report: LawReport) -> list[tuple[str, str, str, pd.DataFrame]]:
    """Runs that have an autocorrelation."""
    if not report.fits:
        return []
    table = pd.concat([fit.points for fit in report.fits], ignore_index=True)
    return [found for found in loss.runs_of(table) if found[1] and len(found[3]) >= FEWEST]


def by_lag(residuals: Any) -> list[float]:
    """Autocorrelation of a run's residuals about its own mean, for lags 1, 2, ..."""
    centred = residuals - residuals.mean()
    square = float(centred @ centred) or 1.0
    return [
        float(centred[lag:] @ centred[:-lag]) / square for lag in range(1, min(LAGS, len(centred) - 2) + 1)
    ]


def _alike(report: LawReport, named: bool) -> str:
    found = [f"{fit.group or 'all points'} {fit.lag1:.2f}" for fit in report.fits[: words.FITS_TOLD]]
    if not found:
        return ""
    name = f"{report.law.name}: autocorrelation" if named else "Autocorrelation"
    return (
        f"{name} of neighbouring residuals: {', '.join(found)}; shaded on the right: "
        "where 95 % would lie if they were independent (longest run)."
    )
