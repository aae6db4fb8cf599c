"""Loss against data, compute or parameters: points by size and run, fitted curves with their 95 % bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fvlm_core.interfaces.figure import LawFit, LawReport
from fvlm_core.report.figures import loss_size, style, words
from fvlm_core.report.figures.config import Loss
from fvlm_core.report.figures.labels import label_ends
from fvlm_core.scaling.points.points import size_label

RUNS_NAMED = 8
"""More runs than this are not listed in the legend."""

RUNS_APART = 60
"""More runs than this have no marker each."""

ACROSS = 2
"""Panels in a row."""

LEVELS = 3
"""Curves of a size, of a law that reads another column than N and D."""

CURVE = 160
"""Points of a curve."""


def draw(config: Loss, reports: Sequence[LawReport], figure: Figure) -> None:
    """One panel a report."""
    if config.against == "n":
        loss_size.draw(reports, figure)
    else:
        panels(reports, figure, config.against)


def panels(
    reports: Sequence[LawReport], figure: Figure, x: str, size: tuple[float, float] | None = None
) -> None:
    """Loss against `x`, "d" or "compute". size: of the figure in inches; None: as high as it needs."""
    first = reports[0]
    if not np.isfinite(first.points[x]).any():
        style.only_words(figure, f"Loss against {first.units[x]}: the points do not say it (column {x}).")
        return
    columns = min(len(reports), ACROSS)
    rows = -(-len(reports) // columns)
    every = style.thinning(len(first.points))
    more = [
        words.BANDS if any(report.fits for report in reports) else "",
        _of_sizes(first),
        *dict.fromkeys(map(_of_levels, reports)),
        style.one_of(len(first.points)),
    ]
    page = style.sheet(
        figure,
        rows,
        columns,
        caption=words.captions(reports, " ".join(filter(None, more))),
        legend=legend(first),
        labels=_labels(first),
        size=size,
        height=2.9,
        shared=True,
    )
    used = page.every[: len(reports)]
    for axes in page.every[len(reports) :]:
        axes.remove()
    for axes, report in zip(used, reports, strict=True):
        _draw(report, axes, x, every)
    for at, axes in enumerate(used):
        style.loss_axis(axes, _all(reports, "loss"), first.units["loss"])
        style.log_axis(axes, "x", _all(reports, x), x, first.units[x])
        style.same_axis(axes, used[at - at % columns])
        named = reports[at].law.name + (f", runs {reports[at].of}" if reports[at].of else "")
        style.title(axes, named, reports[at].law.form, withheld=reports[at].withheld)
        if page.direct and (at % columns == columns - 1 or at == len(used) - 1):
            label_ends(axes, _ends(reports[at], x))


def on_axes(report: LawReport, axes: Axes, x: str) -> None:
    """One law on a panel that somebody else has made: points, curves with bands, axes, and a name at each curve."""
    _draw(report, axes, x, style.thinning(len(report.points)))
    style.loss_axis(axes, _all([report], "loss"), report.units["loss"])
    style.log_axis(axes, "x", _all([report], x), x, report.units[x])
    if _labels(report):
        label_ends(axes, _ends(report, x))


def _labels(report: LawReport) -> list[str]:
    """What the curves of sizes are called at their ends; nothing where the legend has more to tell: which mark is which
    run, or that not all sizes are named."""
    sizes = report.sizes
    runs = [run for _, run, _, _ in runs_of(report.points) if run]
    told_apart = len(runs) > RUNS_NAMED or len(runs) <= len(sizes)
    if not told_apart or len(sizes) > len(style.COLOURS) or not any(sizes):
        return []
    return [style.clip(size) for size in sizes]


def _ends(report: LawReport, x: str) -> list[tuple[float, str, Any]]:
    """Of each size where its curve ends, or else its last point; its name and colour."""
    shades = style.colours(len(report.sizes))
    found: list[tuple[float, str, Any]] = []
    for size, shade in zip(report.sizes, shades, strict=True):
        table = report.points[report.points["size"] == size]
        y = (
            float(table["loss"].to_numpy()[int(np.nanargmax(table[x].to_numpy(dtype=float)))])
            if table[x].notna().any()
            else float(table["loss"].min())
        )
        for fit in report.fits:
            if fit.group in ("", size) or fit.law.split != "size":
                drawn = curves(fit, table, x, size)
                y = float(np.asarray(drawn[0][1])[-1]) if drawn else y
        found.append((y, style.clip(size), shade))
    return found


def _of_sizes(report: LawReport) -> str:
    """Which sizes have a curve, where not all do."""
    drawn, every = len(style.COLOURS), len(report.sizes)
    return f"Curves of {drawn} of {every} sizes." if report.fits and every > drawn else ""


def _of_levels(report: LawReport) -> str:
    """What the curves of a size differ in; "" where there is one."""
    reads = report.law.reads
    if not reads or not report.fits or report.law.target != "loss":
        return ""
    return f"Curves of a size: {' and '.join(reads)} held, at most {LEVELS} values of those that were run."


def legend(report: LawReport) -> list[Line2D]:
    """Sizes by colour, then runs by marker where they are few, and more than one of a size."""
    table, sizes = report.points, report.sizes
    shades = style.colours(len(sizes))
    handles = [
        Line2D([], [], color=shades[at], linewidth=2, label=style.clip(_size(sizes[at], table)))
        for at in style.spread(len(sizes), len(style.COLOURS))
    ]
    runs = list(runs_of(table))
    if len(sizes) < len(runs) <= RUNS_NAMED and any(run for _, run, _, _ in runs):
        handles += [
            Line2D(
                [], [], label=style.clip(run or "no run"), **style.marks(shades[sizes.index(size)], marker)
            )
            for size, run, marker, _ in runs
        ]
    return handles


def curves(fit: LawFit, table: pd.DataFrame, x: str, size: str) -> list[tuple[Any, Any, Any, Any]] | None:
    """x, best, low and high of fitted curves over the points of one size, one for each value of what the law reads
    besides N, D and C (at most `LEVELS`); None for a law that reads more than columns."""
    law = fit.law
    read = {"n", "d", "compute", *(law.features if law.reads else ())}
    if (
        not read.issuperset(law.inputs)
        or law.target != "loss"
        or any(parameter.per not in (None, "size") for parameter in law.parameters)
    ):
        return None
    if not law.reads:
        return [_curve(fit, table, x, size)]
    levels = [rows for _, rows in table.groupby([*law.reads]) if rows[x].nunique() > 1] or [table]
    return [_curve(fit, levels[at], x, size) for at in style.spread(len(levels), LEVELS)]


def _curve(fit: LawFit, table: pd.DataFrame, x: str, size: str) -> tuple[Any, Any, Any, Any]:
    grid = np.geomspace(table[x].min(), table[x].max(), CURVE)
    per_sample = float((table["compute"] / table["d"]).median())
    d = grid if x == "d" else grid / per_sample
    there = pd.DataFrame({"n": table["n"].median(), "d": d, "compute": per_sample * d, "size": size})
    there = there.assign(**{column: table[column].median() for column in fit.law.reads})
    return grid, *fit.predict(there)


def _draw(report: LawReport, axes: Axes, x: str, every: int) -> None:
    sizes = report.sizes
    colours = dict(zip(sizes, style.colours(len(sizes)), strict=True))
    drawn = {sizes[at] for at in style.spread(len(sizes), len(style.COLOURS))}
    for size, of_size in report.points.groupby("size", sort=False, observed=True):
        if str(size) in drawn:  # the sizes of the legend: seventy curves hide the points
            _fitted(report, str(size), of_size, axes, x, colours[str(size)])
    for size, _, marker, of_run in runs_of(report.points):
        style.points(axes, of_run[x], of_run["loss"], colours[size], marker, every)


def _fitted(report: LawReport, size: str, table: pd.DataFrame, axes: Axes, x: str, colour: Any) -> None:
    for fit in report.fits:
        if fit.group not in ("", size) and fit.law.split == "size":
            continue
        found = curves(fit, table, x, size)
        if found is not None:
            for one in found:
                style.band(axes, *one, colour)
        elif fit.law.target == "loss" and fit.law.split != "budget":
            here = fit.points[fit.points["size"] == size]
            for _, of_run in here.groupby("run", sort=False, observed=True):
                axes.plot(of_run[x], of_run["predicted"], color=colour, linewidth=1.2, zorder=4)


def runs_of(table: pd.DataFrame) -> list[tuple[str, str, str, pd.DataFrame]]:
    """Size, run, marker and points of each run; of very many runs, of each size."""
    by = ["size", "run"]
    if len(table[by].drop_duplicates()) > RUNS_APART:
        by = ["size"]
    number: dict[str, int] = {}
    found: list[tuple[str, str, str, pd.DataFrame]] = []
    for key, of_run in table.groupby(by, sort=False, observed=True):
        size, run = (str(key[0]), str(key[1])) if len(by) == 2 else (str(key[0]), "")
        at = number.setdefault(size, 0)
        number[size] += 1
        found.append((size, run, style.MARKERS[at % len(style.MARKERS)], of_run))
    return found


def _size(size: str, table: pd.DataFrame) -> str:
    n = float(table.loc[table["size"] == size, "n"].median())
    return f"{size} (N = {size_label(n)})" if np.isfinite(n) and size_label(n) != size else size


def _all(reports: Sequence[LawReport], column: str) -> Any:
    return np.concatenate([report.points[column].to_numpy(float) for report in reports])
