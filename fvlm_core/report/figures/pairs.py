"""Bootstrap draws of each pair of parameters, with the regions that hold half and 95 % of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullFormatter, ScalarFormatter
from scipy.stats import gaussian_kde

from fvlm_core.interfaces.figure import Found, LawFit, LawReport
from fvlm_core.report.figures import style, ticks, words
from fvlm_core.report.figures.config import Plain
from fvlm_core.report.figures.formula import symbol
from fvlm_core.report.figures.look import current

MOST = 6
"""Parameters drawn against each other."""

DOTS = 400
"""Draws shown, and used for the regions."""

GRID = 48

SHOWN = 0.995
"""Share of the draws of each parameter within the axes."""

FEWEST = 20

CELL = 1.06
"""Inches of a panel's side."""


def draw(config: Plain, reports: Sequence[LawReport], figure: Figure) -> None:
    """A triangle of panels a report, one below the other."""
    useful = [report for report in reports if _rows(report)]
    if not useful:
        style.only_words(figure, " ".join(words.captions(reports)) or "No law has two parameters.")
        return
    style.describe(
        figure,
        words.captions(
            reports,
            "Dots: bootstrap draws, spread as the estimate's own error. Lines: 50 % and 95 % of them. Crosses: the "
            "best fit.",
            words.left_out((report.law.name, len(_names(report)) - MOST, "parameters") for report in useful),
        ),
    )
    scale = current().scale
    width = style.WIDTH
    most = max(len(_rows(report)) for report in useful) - 1
    cell = min(CELL * scale, (width - (style.LEFT + 0.3) * scale) / most)
    heights = [(style.TOP + 0.62) * scale + cell * (len(_rows(report)) - 1) for report in useful]
    tall = sum(heights)
    figure.set_size_inches(width, tall)
    top = tall
    for report, height in zip(useful, heights, strict=True):
        _triangle(report, figure, top, cell)
        top -= height


def _rows(report: LawReport) -> list[str]:
    """The parameters that are drawn; [] when no pair can be."""
    names = _names(report)
    return names[:MOST] if len(names) > 1 else []


def _names(report: LawReport) -> list[str]:
    """The parameters that have draws."""
    fitted = [fit for fit in report.fits if len(fit.draws) >= FEWEST]
    found = [
        one.name for fit in fitted for one in fit.parameters[: fit.draws.shape[1]] if np.isfinite(one.value)
    ]
    return list(dict.fromkeys(found))


def _triangle(report: LawReport, figure: Figure, top: float, cell: float) -> None:
    """top: inches from the lower edge. cell: inches of a panel's side."""
    scale = current().scale
    width, tall = figure.get_size_inches()
    names = _rows(report)
    fits = [fit for fit in report.fits if len(fit.draws) >= FEWEST]
    shades = style.colours(len(fits))
    side = len(names) - 1
    start, above, gap = (style.LEFT + 0.2) * scale, style.TOP * scale, 0.09 * scale
    for row in range(side):
        for column in range(row + 1):
            left, bottom = start + cell * column, top - above - cell * (row + 1)
            axes = figure.add_axes((left / width, bottom / tall, (cell - gap) / width, (cell - gap) / tall))
            style.dress(axes)
            if row == column == 0:
                style.title(axes, report.law.name, report.law.form, width - left, report.withheld)
            if not _panel(axes, fits, shades, names[column], names[row + 1]):
                axes.remove()
                continue
            axes.tick_params(labelsize=5.5 * scale, labelbottom=row == side - 1, labelleft=column == 0)
            for tick in axes.get_xticklabels():
                tick.set_rotation(30)
            if row == side - 1:
                axes.set_xlabel(_name(report, names[column]), fontsize=style.NORMAL)
            if column == 0:
                axes.set_ylabel(_name(report, names[row + 1]), fontsize=style.NORMAL)
    if len(fits) > 1:
        handles = [
            Line2D([], [], color=shades[at], linewidth=2, label=style.clip(fits[at].group))
            for at in style.spread(len(fits), len(style.COLOURS))
        ]
        figure.axes[-1].legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=((start + cell * 1.15) / width, (top - above) / tall),
            bbox_transform=figure.transFigure,
            borderaxespad=0.0,
            fontsize=style.SMALL,
            frameon=False,
        )


def _name(report: LawReport, name: str) -> str:
    return f"{symbol(name)}\n(withheld)" if name in report.withheld else symbol(name)


def _panel(axes: Axes, fits: Sequence[LawFit], shades: Sequence[Any], x: str, y: str) -> bool:
    """Whether there are draws of both."""
    drawn = [
        (fit, shade, *(_column(fit, name) for name in (x, y)))
        for fit, shade in zip(fits, shades, strict=True)
    ]
    pairs = [(shade, a, b) for _, shade, a, b in drawn if a is not None and b is not None]
    if not pairs:
        return False
    for which, both in (("x", [a for _, a, _ in pairs]), ("y", [b for _, _, b in pairs])):
        _limits(axes, which, both[0][0].log, np.concatenate([values for _, values in both]))
    for shade, (best_x, values_x), (best_y, values_y) in pairs:
        some = slice(None, None, max(1, len(values_x) // DOTS))
        axes.plot(
            values_x[some], values_y[some], ".", color=shade, markersize=1.6, alpha=0.35, markeredgewidth=0
        )
        _regions(axes, values_x, values_y, shade)
        axes.plot(best_x.value, best_y.value, "+", color="black", markersize=6, markeredgewidth=1.0, zorder=5)
    return True


def _column(fit: LawFit, name: str) -> tuple[Found, Any] | None:
    for at, found in enumerate(fit.parameters):
        if found.name == name:
            return found, fit.draws[:, at]
    return None


def _limits(axes: Axes, which: str, log: bool, values: Any) -> None:
    low, high = np.quantile(values, [(1 - SHOWN) / 2, (1 + SHOWN) / 2])
    axis = axes.xaxis if which == "x" else axes.yaxis
    limits = axes.set_xlim if which == "x" else axes.set_ylim
    if log and low > 0 and high / low > 3:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        room = (high / low) ** 0.12
        limits(low / room, high * room)
        major = ticks.log_ticks(low, high, 3)
        axis.set_major_locator(FixedLocator(major))
        axis.set_major_formatter(FixedFormatter([ticks.label("", value) for value in major]))
        axis.set_minor_formatter(NullFormatter())
    else:
        room = 0.12 * (high - low) or 0.05 * abs(high) or 0.05
        limits(low - room, high + room)
        axis.set_major_locator(MaxNLocator(2 if which == "x" else 3, prune="both"))
        axis.set_major_formatter(ScalarFormatter(useOffset=False))


def _regions(axes: Axes, x: Any, y: Any, colour: Any) -> None:
    """Regions of highest density, by kernels of the draws' own covariance, in the axes' own scales."""
    logs = [axis.get_scale() == "log" for axis in (axes.xaxis, axes.yaxis)]
    some = slice(None, None, max(1, len(x) // DOTS))
    values = np.array([_scaled(draws[some], log) for draws, log in zip((x, y), logs, strict=True)])
    values = values[:, np.isfinite(values).all(axis=0)]
    try:
        density = gaussian_kde(values)
    except (np.linalg.LinAlgError, ValueError):  # all draws on one line or point: there is no region
        return
    at_draws = density(values)
    limits = (axes.get_xlim(), axes.get_ylim())
    ends = [_scaled(np.array(limit), log) for limit, log in zip(limits, logs, strict=True)]
    grid = [np.linspace(low, high, GRID) for low, high in ends]
    there = density(np.array([part.ravel() for part in np.meshgrid(*grid)])).reshape(GRID, GRID)
    levels = sorted({float(np.quantile(at_draws, 1 - share)) for share in (0.95, 0.5)})
    u, v = (np.exp(part) if log else part for part, log in zip(grid, logs, strict=True))
    axes.contour(u, v, there, levels=levels, colors=[colour], linewidths=0.9)


def _scaled(values: Any, log: bool) -> Any:
    with np.errstate(all="ignore"):
        return np.log(values) if log else values
