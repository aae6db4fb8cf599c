"""Loss against parameters, at several amounts of data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fvlm_core.interfaces.figure import LawFit, LawReport
from fvlm_core.report.figures import style, words
from fvlm_core.scaling.points.points import size_label

LEVELS = (0.05, 0.3, 0.6, 0.95)
"""Amounts of data for which curves are drawn: quantiles of ln D of the points."""

NEAR = 0.15
"""Points whose ln D is within this of such an amount take its colour."""

CURVE = 120


def draw(reports: Sequence[LawReport], figure: Figure) -> None:
    """One panel a report."""
    first = reports[0]
    table = first.points
    if not (np.isfinite(table["n"]) & np.isfinite(table["d"])).any():
        style.only_words(figure, "Loss against parameters: the points do not say N and D.")
        return
    levels = np.unique(np.quantile(np.log(table["d"]), LEVELS, method="nearest"))
    shades = [tuple(colormaps["cividis"](at)) for at in np.linspace(0.0, 0.88, len(levels))]
    handles = [
        Line2D([], [], label=f"D = {size_label(float(np.exp(level)))}", **_look(shade, at))
        for at, (level, shade) in enumerate(zip(levels, shades, strict=True))
    ]
    handles.append(Line2D([], [], label="other D", **style.marks("#BBBBBB", ".")))
    columns = min(len(reports), 2)
    unit = first.units["d"]
    page = style.sheet(
        figure,
        -(-len(reports) // columns),
        columns,
        caption=words.captions(
            reports,
            f"Curves and bars (95 %) are the law at these D ({unit}); points have a D within 15 % of it.",
            style.one_of(len(table)),
        ),
        legend=handles,
        height=2.9,
        shared=True,
    )
    for axes in page.every[len(reports) :]:
        axes.remove()
    losses = table["loss"].to_numpy(float)
    for at, (axes, report) in enumerate(zip(page.every, reports, strict=False)):
        _draw(report, axes, levels, shades)
        style.loss_axis(axes, losses, first.units["loss"])
        style.log_axis(axes, "x", report.points["n"].to_numpy(float), "n", first.units["n"])
        style.same_axis(axes, page.every[at - at % columns])
        style.title(axes, report.law.name, report.law.form, withheld=report.withheld)


def _draw(report: LawReport, axes: Axes, levels: Any, shades: Sequence[Any]) -> None:
    table = report.points
    every = style.thinning(len(table))
    nearest = np.abs(np.log(table["d"].to_numpy(float))[:, None] - levels[None])
    chosen = np.where(nearest.min(1) <= NEAR, nearest.argmin(1), -1)
    others = table[chosen < 0][::every]
    axes.plot(others["n"], others["loss"], **style.marks("#BBBBBB", "."), zorder=1)
    for at, (level, shade) in enumerate(zip(levels, shades, strict=True)):
        here = table[chosen == at]
        style.points(axes, here["n"], here["loss"], shade, style.MARKERS[at], every)
        _law(report, axes, float(np.exp(level)), shade, at)


def _law(report: LawReport, axes: Axes, d: float, shade: Any, place: int) -> None:
    """The law at one amount of data: a curve where it is one of N, else a bar a size."""
    known = report.points.groupby("size", sort=False, observed=True)["n"].median()
    bars: list[tuple[float, float, float, float]] = []
    for fit in report.fits:
        if not {"n", "d"}.issuperset(fit.law.inputs) or fit.law.target != "loss":
            continue
        if all(parameter.per is None for parameter in fit.law.parameters):
            grid = np.geomspace(known.min(), known.max(), CURVE)
            style.band(axes, grid, *fit.predict(pd.DataFrame({"n": grid, "d": d})), shade)
        else:
            bars += _bars(fit, known, d)
    if bars:
        n, best, low, high = np.array(sorted(bars)).T
        shift = 1 + 0.012 * (place - 1.5)  # bars of neighbouring D do not hide each other
        ends = np.nan_to_num(np.abs(np.array([best - low, high - best])))
        axes.errorbar(
            n * shift,
            best,
            ends,
            color=shade,
            linewidth=0.9,
            elinewidth=0.9,
            capsize=2,
            linestyle=":",
            zorder=4,
        )


def _bars(fit: LawFit, known: pd.Series, d: float) -> list[tuple[float, float, float, float]]:
    found: list[tuple[float, float, float, float]] = []
    for size, n in known.items():
        if fit.law.split is not None and str(size) != fit.group:
            continue
        try:
            best, low, high = fit.predict(pd.DataFrame({"n": [n], "d": [d], "size": [str(size)]}))
        except KeyError:  # a size whose points gave no fit
            continue
        found.append((float(n), float(best[0]), float(low[0]), float(high[0])))
    return found


def _look(colour: Any, at: int) -> dict[str, Any]:
    return style.marks(colour, style.MARKERS[at], "-")
