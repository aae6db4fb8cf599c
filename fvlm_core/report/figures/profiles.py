"""The objective along each parameter, all others at their best, and where the 95 % interval ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from fvlm_core.interfaces.figure import LawReport, Profile
from fvlm_core.report.figures import style, words
from fvlm_core.report.figures.config import Plain
from fvlm_core.report.figures.formula import symbol

ACROSS = 3

HIGHEST = 4.0
"""Rises drawn, in units of the one where 95 % end."""

PANELS = 12

WIDE = 5.0
"""Parameters searched in their logarithm are drawn so where their curve spans more than this factor."""

GROUPS = 7

_Curves = list[tuple[int, Profile, float, bool]]


def draw(config: Plain, reports: Sequence[LawReport], figure: Figure) -> None:
    """A panel a parameter of each report; the groups of a law share it."""
    panels: list[tuple[LawReport, str, _Curves]] = []
    for report in reports:
        of_name: dict[str, _Curves] = {}
        for at in style.spread(len(report.fits), GROUPS) if report.fits else []:
            fit = report.fits[at]
            known = {found.name: found for found in fit.parameters}
            for profile in fit.profiles():
                found = known[profile.name]
                of_name.setdefault(profile.name, []).append((at, profile, found.value, found.log))
        panels += [(report, name, curves) for name, curves in of_name.items()]
    if not panels:
        style.only_words(figure, " ".join(words.captions(reports)) or "No law has a parameter to hold.")
        return
    beyond = [report.law.name for report, _, _ in panels[PANELS:]]
    left_out = words.left_out(
        [
            *((name, beyond.count(name), "parameters") for name in dict.fromkeys(beyond)),
            *((report.law.name, len(report.fits) - GROUPS, "groups") for report in reports),
        ]
    )
    panels = panels[:PANELS]
    columns = min(ACROSS, len(panels))
    rows = -(-len(panels) // columns)
    several = max((report for report, _, _ in panels), key=lambda report: len(report.fits))
    page = style.sheet(
        figure,
        rows,
        columns,
        caption=words.captions(
            reports,
            "The objective with one parameter held and the others at their best, above its minimum, in units of the "
            "rise at which the 95 % interval ends (dashed). Shaded: the interval.",
            left_out,
        ),
        legend=_legend(several) if len(several.fits) > 1 else (),
        height=1.5,
    )
    for axes, (report, name, curves) in zip(page.every, panels, strict=False):
        style.title(axes, symbol(name), report.law.name if len(reports) > 1 else "")
        _panel(axes, curves, style.colours(len(report.fits)))
    for axes in page.every[len(panels) :]:
        axes.remove()
    for row in page.panels:
        row[0].set_ylabel("rise / threshold", fontsize=style.NORMAL)


def _legend(report: LawReport) -> list[Line2D]:
    shades = style.colours(len(report.fits))
    return [
        Line2D([], [], color=shades[at], linewidth=2, label=style.clip(report.fits[at].group or "all"))
        for at in style.spread(len(report.fits), GROUPS)
    ]


def _panel(axes: Axes, curves: _Curves, shades: Sequence[Any]) -> None:
    seen: list[Any] = []
    for at, profile, best, _ in curves:
        shade = shades[at]
        order = np.argsort(profile.values)
        values, rise = profile.values[order], profile.rise[order]
        axes.plot(values, rise, color=shade, linewidth=1.3, zorder=4)
        axes.plot([best], [0], **style.marks(shade), zorder=5)
        low = values[0] if profile.low is None else profile.low
        high = values[-1] if profile.high is None else profile.high
        axes.axvspan(low, high, color=shade, alpha=0.1, linewidth=0)
        seen.append(values[rise <= HIGHEST])
    axes.axhline(1, color=style.GREY, linewidth=0.9, linestyle="--")
    axes.set_ylim(-0.15, HIGHEST)
    shown = np.concatenate(seen)
    if all(log for *_, log in curves) and shown.min() > 0 and shown.max() / shown.min() > WIDE:
        style.log_axis(axes, "x", shown, "", "")
    else:
        room = 0.04 * (shown.max() - shown.min()) or 0.05
        axes.set_xlim(shown.min() - room, shown.max() + room)
        axes.xaxis.set_major_locator(MaxNLocator(style.room_for_ticks(axes, 4)))
        axes.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
