"""What curves are called: at their ends, where they fit beside a panel, else in a legend."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fvlm_core.report.figures.look import current, inches


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, Any]]) -> None:
    """Write what each curve is called to the right of a panel, at its height and in its colour.

    ends: the curve's last y, in the axes' units, its name, its colour. Names that would overlap are moved apart.
    """
    high = line_height() / inches(axes, "y")
    places = [
        float(axes.transAxes.inverted().transform(axes.transData.transform((1, y)))[1]) for y, _, _ in ends
    ]
    order = sorted(range(len(ends)), key=places.__getitem__)
    found: list[float] = []
    for at in order:
        wanted = min(max(places[at], high / 2), 1 - high / 2)
        found.append(max(wanted, found[-1] + high) if found else wanted)
    over = found[-1] - (1 - high / 2) if found else 0.0
    for back in range(len(found) - 1, -1, -1):  # pushed down again from the top, as far as needed
        ceiling = found[back + 1] - high if back + 1 < len(found) else found[back] - max(over, 0.0)
        found[back] = min(found[back], ceiling)
    for at, y in zip(order, found, strict=True):
        _, text, colour = ends[at]
        axes.annotate(
            text, (1, y), (4, 0), xycoords="axes fraction", textcoords="offset points", va="center",
            fontsize=current().small, color=colour, annotation_clip=False,
        )  # fmt: skip


def label_width(labels: Sequence[str]) -> float:
    """Inches that labels of curves take beside the panels."""
    return 0.1 + current().letter_inches * max(map(len, labels), default=0)


def line_height() -> float:
    """Inches of a line of small letters."""
    return 1.25 * current().small / 72


def shown(text: str) -> str:
    """As many letters as a text with mathematics takes, about."""
    return re.sub(r"\\times", "x", re.sub(r"[${}^]", "", text))


def legend_width(handles: Sequence[Line2D]) -> float:
    """Inches that a legend takes beside the panels."""
    if not handles:
        return 0.0
    return 0.42 * current().scale + current().letter_inches * max(
        len(shown(str(handle.get_label()))) for handle in handles
    )


def side_legend(axes: Axes, figure: Figure, corner: tuple[float, float], handles: Sequence[Line2D]) -> None:
    """One legend for all panels, to the right of them, where it covers nothing. corner: its upper left one, in parts of
    the figure."""
    axes.legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=corner,
        bbox_transform=figure.transFigure,
        borderaxespad=0.0,
        fontsize=current().small,
        frameon=False,
        labelspacing=0.35,
        handlelength=1.4,
        handletextpad=0.5,
    )
