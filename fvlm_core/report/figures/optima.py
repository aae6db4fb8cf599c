"""Curves with a minimum, one a group, and how the minimum moves: iso-FLOP parabolas, learning-rate sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fvlm_core.interfaces.figure import LawFit, LawReport, Trend
from fvlm_core.report.figures import style, words
from fvlm_core.report.figures.config import Optima
from fvlm_core.report.figures.ticks import power

CURVE = 120

BARS = 5.0
"""How far the axis follows bars beyond the optima; longer ones are cut off, since they would hide all others."""

_NAMES = {
    "n": ("N*", "iso-FLOP", "--model isoflop"),
    "lr": ("best rate", "learning-rate", "--model lr-optimum"),
}
_SYMBOLS = {"n": "N", "lr": "the rate", "compute": "C", "d": "D"}


def draw(config: Optima, reports: Sequence[LawReport], figure: Figure) -> None:
    """A row a report whose law has such a minimum: the curves, and the minima against what tells the groups apart."""
    column = config.column
    best, kind, option = _NAMES[column]
    useful = [report for report in reports if report.trend is not None and report.trend.column == column]
    if not useful:
        style.only_words(figure, f"None of these laws has {kind} minima: ask for {option}.")
        return
    groups = max((_groups(report) for report in useful), key=len)
    shades = style.colours(len(groups))
    handles = [
        Line2D(
            [],
            [],
            label=_group(useful[0], groups[at]),
            **style.marks(shades[at], style.MARKERS[at % len(style.MARKERS)], "-"),
        )
        for at in style.spread(len(groups), len(style.COLOURS))
    ]
    across = 2 if any(report.trend.optima for report in useful if report.trend) else 1
    page = style.sheet(
        figure,
        len(useful),
        across,
        caption=words.captions(
            useful,
            *(_exponent(report.trend, best) for report in useful if report.trend),
            f"Stars and bars: {best} with its 95 % interval; a bar that ends at its star has no end there, and "
            "a star without a bar no interval."
            if across > 1
            else "",
            _windows(useful),
            numbers=False,
        ),
        legend=handles,
        height=2.5,
        widths=(1.25, 1)[:across],
    )
    for (left, *others), report in zip(page.panels, useful, strict=True):
        assert report.trend is not None
        style.title(left, report.law.name, report.law.form, withheld=report.withheld)
        _curves(report, left, column)
        if not others:
            continue
        (right,) = others
        if not report.trend.optima:
            right.remove()
            continue
        style.title(right, f"{best} by {_SYMBOLS.get(report.trend.against, report.trend.against)}")
        _minima(report, report.trend, right)


def _groups(report: LawReport) -> list[str]:
    return [fit.group for fit in report.fits]


def _group(report: LawReport, group: str) -> str:
    if report.law.split != "budget":
        return style.clip(group)
    try:
        return f"C = {power(float(group))}"
    except ValueError:
        return style.clip(f"C = {group}")


def _curves(report: LawReport, axes: Axes, column: str) -> None:
    shades = style.colours(len(report.fits))
    optima = {} if report.trend is None else {one.name: one for one in report.trend.optima}
    seen = [report.points["loss"].to_numpy(float)] if not report.fits else []
    for at, (fit, shade) in enumerate(zip(report.fits, shades, strict=True)):
        marker = style.MARKERS[at % len(style.MARKERS)]
        style.points(axes, fit.points[column], fit.points["loss"], shade, marker)
        seen.append(fit.points["loss"].to_numpy(float))
        if fit.left_out is not None and len(fit.left_out):
            axes.plot(
                fit.left_out[column],
                fit.left_out["loss"],
                marker,
                color=shade,
                markerfacecolor="none",
                markersize=3.5,
                alpha=0.55,
                zorder=2,
            )
            seen.append(fit.left_out["loss"].to_numpy(float))
        found = optima.get(fit.group)
        grid = _grid(fit, column, found.value if found else None)
        best, low, high = fit.predict(_rows(fit, column, grid))
        style.band(axes, grid, best, low, high, shade)
        if found is None:
            continue
        height = float(fit.predict(_rows(fit, column, np.array([found.value])))[0][0])
        axes.plot(found.value, height, "*", color=shade, markersize=8, markeredgecolor="black", zorder=6)
        ends = [found.value if end is None else end for end in (found.low, found.high)]
        axes.plot(ends, [height, height], color="black", linewidth=1.0, zorder=5)
    if not report.fits:
        style.points(axes, report.points[column], report.points["loss"], style.GREY)
        style.note(axes, "refused: no curve")
    style.loss_axis(axes, np.concatenate(seen), report.units["loss"])
    style.log_axis(axes, "x", report.points[column].to_numpy(float), column, report.units[column])


def _grid(fit: LawFit, column: str, best: float | None) -> Any:
    """Over the points, and as far as the minimum when it lies a little outside."""
    low, high = float(fit.points[column].min()), float(fit.points[column].max())
    if best is not None and low / 3 < best < high * 3:
        low, high = min(low, best / 1.1), max(high, best * 1.1)
    return np.geomspace(low, high, CURVE)


def _rows(fit: LawFit, column: str, values: Any) -> pd.DataFrame:
    """The fit's first point with other values of one column."""
    first = fit.points.iloc[[0] * len(values)].reset_index(drop=True)
    return first.assign(**{column: values})


def _minima(report: LawReport, trend: Trend, axes: Axes) -> None:
    known = np.array(trend.at, float)
    values = np.array([one.value for one in trend.optima], float)
    order = {group: at for at, group in enumerate(_groups(report))}
    shades = style.colours(len(order))
    ends: list[float] = []
    for at, one in zip(known, trend.optima, strict=True):
        place = order.get(one.name, 0)
        shade = shades[place]
        low, high = (one.value if end is None else end for end in (one.low, one.high))
        axes.errorbar(
            at,
            one.value,
            [[one.value - low], [high - one.value]],
            color=shade,
            elinewidth=1.1,
            capsize=2.5,
            zorder=3,
        )
        axes.plot(at, one.value, "*", color=shade, markersize=8, markeredgecolor="black", zorder=6)
        ends += [low, high]
    if trend.exponent is not None and trend.scale is not None:
        grid = np.geomspace(known.min(), known.max(), 50)
        if trend.power is not None:
            best, low, high = trend.power(grid)
            style.band(axes, grid, best, low, high, style.GREY)
        else:
            axes.plot(grid, trend.scale * grid**trend.exponent.value, color=style.GREY, linewidth=1.2)
        if trend.expected is not None:
            middle = np.exp(np.log(known).mean())
            through = trend.scale * middle**trend.exponent.value
            axes.plot(
                grid,
                through * (grid / middle) ** trend.expected,
                color=style.GREY,
                linewidth=1.0,
                linestyle="--",
            )
    style.log_axis(axes, "x", known, trend.against, report.units.get(trend.against, trend.against))
    unit = "best learning rate" if trend.column == "lr" else "N* (parameters)"
    reach = [values.min() / BARS, values.max() * BARS] if len(values) else []
    style.log_axis(axes, "y", np.concatenate([values, np.clip(ends, *reach)]), trend.column, unit)


def _exponent(trend: Trend, best: str) -> str:
    against = _SYMBOLS.get(trend.against, trend.against)
    if trend.exponent is None:
        return words.sentence(f"No line on the right: {trend.reason}") if trend.reason else ""
    expected = (
        f"; dashed: the exponent {trend.expected:g} of the rule of thumb"
        if trend.expected is not None
        else ""
    )
    also = "".join(
        f"; {name} ~ {against}^{found.name}, {words.interval(found)}" for name, found in trend.derived
    )
    return (
        f"Line: {best} ~ {against}^{trend.exponent.name}, {words.interval(trend.exponent)}{also}{expected}."
    )


def _windows(reports: Sequence[LawReport]) -> str:
    """Which points are drawn hollow, in words; "" where none are."""
    left = [len(fit.left_out) for report in reports for fit in report.fits if fit.left_out is not None]
    if not sum(left):
        return ""
    return f"A curve ends where the window about its minimum does; hollow: the {sum(left)} points outside, not fitted."
