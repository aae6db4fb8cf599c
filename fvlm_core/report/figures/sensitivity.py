"""Each parameter under other objectives, cuts and choices of runs: a dot, or a word where it was withheld."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from fvlm_core.interfaces.figure import Found, LawReport, Varied
from fvlm_core.report.figures import style, words
from fvlm_core.report.figures.config import Plain
from fvlm_core.report.figures.formula import symbol
from fvlm_core.report.figures.look import current

LINE = 0.17
"""Inches of a line."""

PARAMETERS = 6

LETTER = 0.0522
"""Inches of a letter of a label."""

LABELS = 36
"""Letters of a line's label."""

WIDE = 20.0
"""Values that span more than this factor are drawn on a logarithmic axis."""


def draw(config: Plain, reports: Sequence[LawReport], figure: Figure) -> None:
    """A row of panels a report; the first report with lines sets the page when there are several."""
    useful = [report for report in reports if report.sensitivity]
    if not useful:
        why = " ".join(words.captions(reports, numbers=False))
        style.only_words(figure, f"No choice was varied: there is no sensitivity to draw. {why}")
        return
    most = max(len(report.sensitivity) for report in useful) + 1
    letters = max(len(line.label) for report in useful for line in report.sensitivity)
    left = 0.2 + LETTER * min(max(letters, 6), LABELS)
    most_across = _across(useful, left)
    columns = max(min(most_across, len(_names(report))) for report in useful)
    page = style.sheet(
        figure,
        len(useful),
        columns,
        caption=words.captions(
            reports,
            "First line: the fit as asked for, with its 95 % interval (shaded over the others). "
            "Dots: the value when one choice is made differently; w: withheld then.",
            words.left_out(
                (report.law.name, len(_names(report)) - most_across, "parameters") for report in useful
            ),
            numbers=False,
        ),
        height=0.25 + LINE * most,
        left=left,
        shared=True,
        lines=True,
    )
    for row, report in zip(page.panels, useful, strict=True):
        names = _names(report)[:most_across]
        for axes, name in zip(row, names, strict=False):
            _panel(axes, report, name)
            axes.tick_params(labelleft=axes is row[0])
        for axes in row[len(names) :]:
            axes.remove()
        style.title(row[0], report.law.name, room=4.0)


def _across(reports: Sequence[LawReport], left: float) -> int:
    """How many parameters stand beside each other, each as wide as its name."""
    longest = max((len(name) for report in reports for name in _names(report)), default=1)
    look = current()
    room = look.width(2) - (left + style.RIGHT) * look.scale
    each = max(0.5 * look.scale, look.letter_inches * look.normal / look.small * (longest + 1))
    return max(1, min(PARAMETERS, int(room / each)))


def _names(report: LawReport) -> list[str]:
    """Parameters that have a value in some line, those of the law as asked for first."""
    found = [name for line in report.sensitivity for name, value in line.values.items() if value is not None]
    return list(dict.fromkeys([*(name for name in _found(report) if name in found), *found]))


def _found(report: LawReport) -> dict[str, Found]:
    """What was found as asked for, by the names that sensitivity lines use."""
    return {
        f"{one.name}[{fit.group}]" if fit.group else one.name: one
        for fit in report.fits
        for one in fit.parameters
    }


def _panel(axes: Axes, report: LawReport, name: str) -> None:
    lines: Sequence[Varied] = report.sensitivity
    found = _found(report).get(name)
    values = [value for line in lines if (value := line.values.get(name)) is not None]
    if found is not None:
        values += [end for end in (found.low, found.high, found.value) if end is not None]
    low, high = min(values), max(values)
    if low > 0 and high / low > WIDE:
        style.log_axis(axes, "x", np.array(values), "", name)
    else:
        room = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
        axes.set_xlim(low - room, high + room)
        axes.xaxis.set_major_locator(MaxNLocator(style.room_for_ticks(axes, 2)))
        axes.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    if found is not None:
        left = axes.get_xlim()[0] if found.low is None else found.low
        right = axes.get_xlim()[1] if found.high is None else found.high
        if not found.missing:
            axes.axvspan(left, right, color=style.COLOURS[0], alpha=0.09, linewidth=0)
            axes.plot([left, right], [0, 0], color=style.COLOURS[0], linewidth=1.3)
        axes.plot(found.value, 0, **style.marks(style.COLOURS[0], "D"))
    kinds = list(dict.fromkeys(line.kind for line in lines))
    for at, line in enumerate(lines, 1):
        if name not in line.values:  # a choice about another group's points
            continue
        value = line.values[name]
        kind = kinds.index(line.kind) + 1
        if value is None:
            axes.text(
                0.5,
                at,
                "w",
                transform=axes.get_yaxis_transform(),
                fontsize=style.SMALL,
                color=style.GREY,
                va="center",
                ha="center",
            )
        else:
            look = style.marks(
                style.COLOURS[kind % len(style.COLOURS)], style.MARKERS[kind % len(style.MARKERS)]
            )
            axes.plot(value, at, **look)
    axes.set_ylim(len(lines) + 0.6, -0.6)
    axes.set_yticks(
        range(len(lines) + 1), ["as asked for", *(style.clip(line.label, LABELS) for line in lines)]
    )
    axes.set_xlabel(symbol(name), fontsize=style.NORMAL)
