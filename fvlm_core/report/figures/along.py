"""The law itself: one panel for each column that it reads, its curves at values of the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fvlm_core.interfaces.figure import LawReport
from fvlm_core.report.figures import style, words
from fvlm_core.report.figures.config import Plain
from fvlm_core.report.figures.slices import columns, held, letter, slices

ACROSS = 3
"""Panels in a row, and columns that are drawn of one law."""

MOST = 6


def draw(config: Plain, reports: Sequence[LawReport], figure: Figure) -> None:
    """Small multiples, the panels of each report one after the other."""
    panels(reports, figure)


def panels(reports: Sequence[LawReport], figure: Figure, size: tuple[float, float] | None = None) -> None:
    """size: of the figure in inches; None: as high as it needs."""
    wanted = [(report, column) for report in reports for column in columns(report)[:MOST]]
    none = [report for report in reports if not columns(report)]
    if not wanted:
        style.only_words(
            figure, " ".join(words.captions(reports)) or "The law reads no column to draw it along."
        )
        return
    across = min(len(wanted), ACROSS if len(wanted) != 4 else 2)
    caption = words.captions(
        reports,
        f"{words.BANDS} Points are moved along the law to the values that its curve is drawn at: what is left between "
        "them is each point's own residual.",
        *(f"{report.law.name} is not drawn along a column: it reads whole schedules." for report in none),
        *dict.fromkeys(style.one_of(len(report.points)) for report in reports),
    )
    page = style.sheet(
        figure,
        -(-len(wanted) // across),
        across,
        caption=[line for line in caption if line],
        size=size,
        height=2.3,
    )
    for axes, (report, column) in zip(page.every, wanted, strict=False):
        panel(report, column, axes, len(reports) > 1)
    for axes in page.every[len(wanted) :]:
        axes.remove()


def panel(report: LawReport, column: str, axes: Axes, named: bool = False) -> None:
    """The law along one column, on one panel. named: whether the panel is called by the law's name."""
    fixed = held(report, column)
    style.title(
        axes,
        report.law.name if named else f"along {letter(column)}",
        fixed or report.law.form,
        withheld=report.withheld if named else (),
    )
    target = report.law.target
    seen = [report.points[target].to_numpy(float)] if not report.fits else []
    found = slices(report, column) if report.fits else []
    every = style.thinning(len(report.points))
    handles: list[Line2D] = []
    for at, (one, shade) in enumerate(zip(found, style.colours(len(found)), strict=True)):
        marker = style.MARKERS[at % len(style.MARKERS)]
        axes.plot(one.at[::every], one.measured[::every], **style.marks(shade, marker), zorder=3)
        style.band(axes, one.x, one.best, one.low, one.high, shade)
        seen += [one.best, one.measured]
        if one.label:
            handles.append(Line2D([], [], label=style.clip(one.label, 20), **style.marks(shade, marker, "-")))
    if not report.fits:
        axes.plot(report.points[column], report.points[target], **style.marks(style.GREY))
        style.note(axes, "refused: no curve")
    if handles:
        axes.legend(handles=handles, fontsize=style.SMALL, frameon=False, labelspacing=0.25, handlelength=1.2)
    known = np.concatenate(seen)
    style.loss_axis(axes, known[np.isfinite(known)], report.units.get(target, target))
    x = report.points[column].to_numpy(float)
    if (x[np.isfinite(x)] > 0).all():
        style.log_axis(axes, "x", x, column, report.units.get(column, column))
    else:
        axes.set_xlabel(report.units.get(column, column), labelpad=3)
    axes.xaxis.label.set_fontsize(style.SMALL)  # several stand beside each other
