"""Figures for papers: loss against data, with what was fitted and what was not."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fvlm_core.errors import UsageError
from fvlm_core.scaling.points import size_label
from fvlm_core.scaling.report import Fit, FitReport

SIZE_INCHES = (8.0, 5.0)
DPI = 200
"""1600 x 1000 pixels."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito (2008): told apart by colour-blind readers too; one a size, smallest first. More sizes than these take
an ordered scale, and the legend names as many of them."""

MARKERS = "osD^vP*X"
"""One a run of a size."""

RUNS_NAMED = 8
"""More runs than this are not listed in the legend."""

LOG_LOSS = 2.5
"""Losses that span more than this factor are drawn on a logarithmic axis."""

GREY = "#555555"

CAPTION_LETTERS = 152
"""Letters in a line of the captions below all panels together."""

BANDS = "Bands: 95\u00a0%, by bootstrap."

MARGIN = 0.06
"""Room above and below the points, as a part of their range; bands may leave it."""


FORMATS = (".png", ".pdf", ".svg")


def check_format(file: Path) -> None:
    """Raise `UsageError` unless the file's suffix is one that figures are written in."""
    if file.suffix.lower() not in FORMATS:
        raise UsageError(f"{file}: expected a file name ending in {', '.join(FORMATS)}")


def scaling_law_plot(reports: Sequence[FitReport], file: Path, nothing: str = "") -> None:
    """Draw loss against data, one panel a report, and write it to `file` (PNG, PDF or SVG by its suffix).

    Points by size (colour) and run (marker), fitted curves with their 95 % band, and in words what was withheld.
    nothing: what to say when there are no reports. Raises `UsageError` for another suffix.
    """
    check_format(file)
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    if reports:
        captions = [textwrap.wrap(_said(report), CAPTION_LETTERS // len(reports)) for report in reports]
        lines = max(map(len, captions))
        rows = figure.add_gridspec(2, len(reports), height_ratios=[30 - lines, lines or 1e-3])
        first: Axes | None = None
        for column, (report, caption) in enumerate(zip(reports, captions, strict=True)):
            axes = figure.add_subplot(rows[0, column], sharex=first, sharey=first)
            _draw(report, axes, named=first is None)
            below = figure.add_subplot(rows[1, column])
            below.set_axis_off()
            words = below.text(0, 1, "\n".join(caption), fontsize=6.5, va="top", color=GREY, linespacing=1.35)
            words.set_in_layout(False)  # a caption must not squeeze its panel
            first = first or axes
        _axes(figure.axes[::2], reports)
    else:
        figure.text(0.5, 0.5, textwrap.fill(nothing, 80), ha="center", va="center", color=GREY)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def _draw(report: FitReport, axes: Axes, named: bool) -> None:
    """Points, curves and legend of one report. named: whether the legend lists the runs."""
    table = report.points.table
    sizes = report.points.sizes
    colours = dict(zip(sizes, _colours(len(sizes)), strict=True))
    listed = {
        sizes[at] for at in np.linspace(0, len(sizes) - 1, min(len(sizes), len(COLOURS))).round().astype(int)
    }
    of_sizes: list[Line2D] = []
    of_runs: list[Line2D] = []
    for size, colour in colours.items():
        of_size = table[table["size"] == size]
        _curve(report, str(size), of_size, axes, colour)
        if size in listed:
            of_sizes.append(Line2D([], [], color=colour, linewidth=2, label=_size(str(size), of_size)))
        for number, (run, of_run) in enumerate(of_size.groupby("run", sort=False)):
            style: Any = {
                "color": colour,
                "marker": MARKERS[number % len(MARKERS)],
                "linestyle": "",
                "markersize": 3,
                "markeredgewidth": 0.4,
                "markerfacecolor": (colour, 0.35),
            }
            axes.plot(of_run["d"], of_run["loss"], **style, zorder=3)
            of_runs.append(Line2D([], [], **style, label=str(run)))
    look: Any = {"fontsize": 6.5, "frameon": False, "labelspacing": 0.35}
    upper = axes.legend(handles=of_sizes, loc="upper right", **look)
    if named and table["run"].any() and len(of_runs) <= RUNS_NAMED:
        # Falling curves leave the lower left free.
        axes.legend(handles=of_runs, loc="lower left", handletextpad=0, **look)
        axes.add_artist(upper)
    axes.set_title(f"{report.model.name}:  {report.model.form}", fontsize=8.5, loc="left")


def _curve(report: FitReport, size: str, table: pd.DataFrame, axes: Axes, colour: str) -> None:
    """The fitted curve and its band over the data of one size."""
    for fit in report.fits:
        if fit.group not in ("", size):
            continue
        model = fit.problem.model
        if set(model.columns) <= {"n", "d"} and all(p.per != "run" for p in model.parameters):
            d = np.geomspace(table["d"].min(), table["d"].max(), 200)
            best, low, high = fit.predict(pd.DataFrame({"n": table["n"].median(), "d": d, "size": size}))
            axes.fill_between(d, low, high, color=colour, alpha=0.14, linewidth=0, zorder=1)
            axes.plot(d, best, color=colour, linewidth=1.4, zorder=4)
        else:  # a law of more than N and D has no single curve: its predictions at the points of each run
            predicted = fit.problem.table.assign(loss=fit.problem.predict(fit.solution.values[None])[0])
            for _, of_run in predicted[predicted["size"] == size].groupby("run", sort=False):
                axes.plot(of_run["d"], of_run["loss"], color=colour, linewidth=1.2, zorder=4)


def _colours(count: int) -> Sequence[Any]:
    if count <= len(COLOURS):
        return COLOURS[:count]
    return [colormaps["viridis"](at) for at in np.linspace(0, 0.92, count)]


def _size(size: str, table: pd.DataFrame) -> str:
    n = table["n"].median()
    return f"{size} (N = {size_label(n)})" if np.isfinite(n) and size_label(n) != size else size


def _said(report: FitReport) -> str:
    """The panel's caption: the numbers, what is withheld and why."""
    numbers = "; ".join(_numbers(fit) for fit in report.fits[: len(COLOURS)])
    if len(report.fits) > len(COLOURS):
        numbers += f"; and {len(report.fits) - len(COLOURS)} more"
    if report.status == "ok":
        return f"{numbers}. {BANDS}"
    why = " ".join(_sentence(reason) for reason in report.reasons)
    if not report.fits:
        return f"Refused. {why}"
    law = report.fits[0].problem.model
    drawn = f"{law.form} with {numbers}" if law is not report.model else numbers
    return f"Withheld: {', '.join(report.withheld)}. {why} Drawn: {drawn}. {BANDS}"


def _numbers(fit: Fit) -> str:
    group = f"{fit.group}: " if fit.group else ""
    return group + ", ".join(f"{name} {value:.4g}" for name, value in fit.values.items())


def _sentence(reason: str) -> str:
    return reason if reason.endswith(".") else f"{reason}."


def _axes(panels: Sequence[Axes], reports: Sequence[FitReport]) -> None:
    losses = pd.concat([report.points.table["loss"] for report in reports])
    low, high = float(losses.min()), float(losses.max())
    samples = pd.concat([report.points.table["d"] for report in reports])
    decades = float(np.log10(samples.max() / samples.min()))
    for axes in panels:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: size_label(value)))
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
        axes.set_xlabel("training samples seen, D", fontsize=8)
        axes.tick_params(labelsize=7, which="both")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.5)
        axes.set_axisbelow(True)
        if high / low > LOG_LOSS:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
            axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%.3g"))
            axes.yaxis.set_minor_formatter(ticker.NullFormatter())
            axes.set_ylim(low * (low / high) ** MARGIN, high * (high / low) ** MARGIN)
        else:
            room = MARGIN * (high - low or high)
            axes.set_ylim(low - room, high + room)
        axes.set_ylabel("validation loss (nats per token)" if axes is panels[0] else "", fontsize=8)
        axes.tick_params(labelleft=axes is panels[0])
