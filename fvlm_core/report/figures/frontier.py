"""Compute-optimal size and data against compute, of every law that tells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fvlm_core.interfaces.figure import LawReport
from fvlm_core.report.figures import style, words
from fvlm_core.report.figures.config import Plain

Curve = tuple[LawReport, Any, dict[str, Any]]


def draw(config: Plain, reports: Sequence[LawReport], figure: Figure) -> None:
    """N* and D* against C, one colour a law, over the runs there are."""
    first = reports[0]
    table = first.points
    if not np.isfinite(table["compute"]).any():
        style.only_words(
            figure,
            "No frontier: the points do not hold their training FLOPs (column C), so no cost is known.",
        )
        return
    curves: list[Curve] = []
    for report in reports:
        if report.frontier is not None:
            found = report.frontier()
            curves.append((report, found.compute, {"n": found.n, "d": found.d}))
    trends = [
        report
        for report in reports
        if report.trend is not None and (report.trend.column, report.trend.against) == ("n", "compute")
    ]
    names = [report.law.name for report in (*(report for report, _, _ in curves), *trends)]
    shades = dict(zip(names, style.colours(len(names)), strict=True))
    handles = [Line2D([], [], color=shades[name], linewidth=2, label=style.clip(name)) for name in names]
    handles.append(Line2D([], [], label="runs", **style.marks("#999999", ".")))
    none = [report for report in reports if report.law.name not in names]
    page = style.sheet(
        figure,
        1,
        2,
        caption=[
            "The size and the data that reach the lowest loss for their training FLOPs (the cost of the points' own "
            f"runs, between their sizes). Dotted: the largest run. {words.BANDS}"
            if names
            else "No law tells a frontier. Points: the runs there are.",
            style.one_of(len(table)),
            *filter(None, (_ends(report, compute, found["n"][0]) for report, compute, found in curves)),
            *(f"{report.law.name} tells no frontier. {words.said(report, numbers=False)}" for report in none),
        ],
        legend=handles,
        height=2.5,
    )
    every = style.thinning(len(table))
    largest = float(table["compute"].max())
    for axes, column, title in zip(page.every, ("n", "d"), ("N*", "D*"), strict=True):
        style.title(axes, f"{title} against C")
        axes.plot(table["compute"][::every], table[column][::every], **style.marks("#999999", "."), zorder=1)
        seen, spent = [table[column].to_numpy(float)], [table["compute"].to_numpy(float)]
        for report, compute, found in curves:
            best, low, high = found[column]
            style.band(axes, compute, best, low, high, shades[report.law.name])
            seen.append(best)
            spent.append(compute)
        for report in trends if column == "n" else ():
            assert report.trend is not None
            for at, one in zip(report.trend.at, report.trend.optima, strict=True):
                low, high = (one.value if end is None else end for end in (one.low, one.high))
                axes.plot([at, at], [low, high], color=shades[report.law.name], linewidth=1.1)
                axes.plot(at, one.value, **style.marks(shades[report.law.name], "D"))
        axes.axvline(largest, color=style.GREY, linewidth=0.9, linestyle=":")
        style.log_axis(axes, "x", np.concatenate(spent), "compute", first.units["compute"])
        style.log_axis(axes, "y", np.concatenate(seen), column, first.units[column])


def _ends(report: LawReport, compute: Any, best: Any) -> str:
    """Why a frontier does not reach from end to end, in words; "" where it does."""
    known = np.isfinite(best)
    if known.all():
        return ""
    if not known.any():
        return f"{report.law.name}: at no budget drawn is the best size inside what the points and their cost reach."
    low, high = compute[known].min(), compute[known].max()
    return (
        f"{report.law.name} is drawn from C = {low:.2g} to {high:.2g}: at other budgets its best size lies beyond the "
        "sizes whose cost is known, or farther from the points than they carry."
    )
