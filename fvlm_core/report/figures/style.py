"""The house style of figures: pages of panels in inches, axes, colours, legends and captions.

Positions are computed, not searched for as matplotlib's constrained layout does.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from attrs import frozen
from matplotlib import colormaps, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from fvlm_core.report.figures.ticks import label, log_ticks

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito (2008): told apart by colour-blind readers too; one a size, smallest first. More sizes than these take
an ordered scale, and the legend names as many of them."""

MARKERS = "osD^vP*X"
"""One a run of a size."""

GREY = "#555555"

WIDTH = 7.0
"""Inches: both columns of a paper, where the smallest letters are 6.5 points."""

SMALL, NORMAL, LARGE = 6.5, 7.5, 8.5
"""Font sizes in points: captions, legends and ticks; axis labels; titles."""

LETTER = 0.0522
"""Mean width of a letter of `SMALL` text in inches."""

LINE = 0.125
"""Height of a line of a caption in inches."""

LEFT, RIGHT, TOP, BOTTOM = 0.62, 0.12, 0.46, 0.5
"""Room around panels in inches: tick labels and axis labels, two lines of title."""

GAP = 0.66
"""Between two panels of a row that have axes of their own; `NARROW` where they share one."""

NARROW = 0.16

MOST_LINES = 16
"""Lines of a caption."""

MOST_POINTS = 20_000
"""Points drawn in a panel; of more, every so many."""

MARGIN = 0.06
"""Room above and below the points, as a part of their range; bands may leave it."""

LOG_LOSS = 2.5
"""Losses that span more than this factor are drawn on a logarithmic axis."""

LEGEND_LETTERS = 24

TICK = 0.38
"""Inches between the labels of two ticks."""


@frozen(eq=False)
class Panels:
    """A figure divided into panels. panels: [rows][columns]. right: where a legend may begin, in parts of the width.
    top: the upper edge of the first row, in parts of the height."""

    figure: Figure
    panels: Sequence[Sequence[Axes]]
    right: float
    top: float

    @property
    def every(self) -> list[Axes]:
        """The panels, row by row."""
        return [axes for row in self.panels for axes in row]


def sheet(
    figure: Figure,
    rows: int,
    columns: int,
    *,
    caption: Sequence[str] = (),
    legend: Sequence[Line2D] = (),
    size: tuple[float, float] | None = None,
    height: float = 2.3,
    widths: Sequence[float] = (),
    left: float = LEFT,
    shared: bool = False,
) -> Panels:
    """Divide a figure into panels, with a caption below and a legend to the right of them.

    caption: paragraphs. size: of the whole figure in inches; None: as high as rows of `height` ask for. widths: ratios
    of the columns. left: inches for the first column's labels. shared: whether the panels of a row have one y axis.
    """
    width = size[0] if size else WIDTH
    lines = wrap(caption, width)
    below = BOTTOM + LINE * len(lines) + (0.1 if lines else 0.0)
    tall = size[1] if size else TOP + below + rows * height + (rows - 1) * (TOP + BOTTOM)
    figure.set_size_inches(width, tall)
    each = (tall - TOP - below - (rows - 1) * (TOP + BOTTOM)) / rows
    gap = NARROW if shared else GAP
    beside = legend_width(legend)
    free = width - left - RIGHT - beside - (columns - 1) * gap
    ratios = np.array(widths or [1.0] * columns)
    wide = free * ratios / ratios.sum()
    panels: list[list[Axes]] = []
    for row in range(rows):
        bottom = tall - TOP - each - row * (each + TOP + BOTTOM)
        lefts = left + np.concatenate([[0], np.cumsum(wide + gap)[:-1]])
        panels.append(
            [
                figure.add_axes((at / width, bottom / tall, here / width, each / tall))
                for at, here in zip(lefts, wide, strict=True)
            ]
        )
    for axes in (axes for row in panels for axes in row):
        dress(axes)
    words_below(panels[-1][0], lines, (below - BOTTOM) / tall, width)
    page = Panels(figure, panels, (width - beside) / width, 1 - TOP / tall)
    if legend:
        side_legend(page, legend)
    return page


def words_below(axes: Axes, lines: Sequence[str], top: float, width: float) -> None:
    """A caption under all panels. top: its upper edge, in parts of the height. width: of the figure in inches."""
    if lines:
        axes.text(0.12 / width, top, "\n".join(lines), transform=axes.figure.transFigure, **_WORDS)


def wrap(paragraphs: Sequence[str], width: float) -> list[str]:
    """Paragraphs as lines of a caption over `width` inches; of too many the longest are cut, and that is said."""
    letters = int((width - 0.24) / LETTER)
    parts = [textwrap.wrap(paragraph, letters) for paragraph in paragraphs]
    full = [len(part) for part in parts]
    while (
        sum(map(len, parts)) + sum(len(part) < whole for part, whole in zip(parts, full, strict=True))
        > MOST_LINES
    ):
        max(parts, key=len).pop()
    rest = ["… The rest is in the printed report and in its JSON."]
    return [
        line
        for part, whole in zip(parts, full, strict=True)
        for line in (part if len(part) == whole else [*part, *rest])
    ]


def only_words(figure: Figure, text: str, size: tuple[float, float] = (WIDTH, 1.6)) -> None:
    """A figure that only says why there is nothing to draw."""
    figure.set_size_inches(*size)
    figure.text(
        0.5,
        0.5,
        textwrap.fill(text, 80),
        ha="center",
        va="center",
        color=GREY,
        fontsize=NORMAL,
        linespacing=1.5,
    )


def dress(axes: Axes) -> None:
    """The look of a panel."""
    axes.tick_params(labelsize=SMALL, which="both", pad=2.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.set_axisbelow(True)


def title(axes: Axes, name: str, form: str = "", room: float = 0.0) -> None:
    """A panel's name, and its formula in smaller letters on a line below, shortened to the panel, or `room` inches."""
    panel = room or _inches(axes, "x")
    axes.set_title(clip(name, int(panel / 0.072)), fontsize=LARGE, loc="left", pad=16 if form else 6)
    if form:
        axes.annotate(
            clip(form, int((panel + 0.4) / LETTER)),
            (0, 1),
            (0, 5),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=SMALL,
            color=GREY,
            annotation_clip=False,
        )


def log_axis(axes: Axes, which: str, values: NDArray[Any], column: str, text: str) -> None:
    """A logarithmic axis over positive values: ticks that suit the column, and a little room on both sides."""
    values = values[np.isfinite(values) & (values > 0)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.5, 2.0)
    room = max((high / low) ** 0.04, 1.03)
    low, high = low / room, high * room
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    major = log_ticks(low, high, max(2, int(_inches(axes, which) / TICK)))
    axis.set_major_locator(ticker.FixedLocator(major))
    axis.set_major_formatter(ticker.FixedFormatter([label(column, at) for at in major]))
    axis.set_minor_formatter(ticker.NullFormatter())
    (axes.set_xlabel if which == "x" else axes.set_ylabel)(text, fontsize=NORMAL, labelpad=3)


def _inches(axes: Axes, which: str) -> float:
    box, whole = axes.get_position(), axes.figure.get_figure(root=True).get_size_inches()
    return float(box.width * whole[0] if which == "x" else box.height * whole[1])


def loss_axis(axes: Axes, losses: NDArray[Any], text: str) -> None:
    """The y axis of losses: logarithmic where they span more than `LOG_LOSS`."""
    low, high = float(losses.min()), float(losses.max())
    if low > 0 and high / low > LOG_LOSS:
        log_axis(axes, "y", np.array([low * (low / high) ** 0.02, high]), "loss", text)
    else:
        room = MARGIN * (high - low or high)
        axes.set_ylim(low - room, high + room)
        axes.set_ylabel(text, fontsize=NORMAL, labelpad=3)


def same_axis(axes: Axes, first: Axes) -> None:
    """The y axis of a neighbour, without its words."""
    if axes is not first:
        axes.sharey(first)
        axes.set_ylabel("")
        axes.tick_params(labelleft=False)


def points(axes: Axes, x: pd.Series, y: pd.Series, colour: Any, marker: str = "o", every: int = 1) -> None:
    """Measured points. every: draw one of so many."""
    axes.plot(x[::every], y[::every], **marks(colour, marker), zorder=3, rasterized=len(x) // every > 5000)


def marks(colour: Any, marker: str = "o", line: str = "") -> dict[str, Any]:
    """How a measured point looks. line: "-" where a line leads through it."""
    return {
        "color": colour,
        "marker": marker,
        "linestyle": line,
        "linewidth": 0.8,
        "markersize": 3.2,
        "markeredgewidth": 0.45,
        "markerfacecolor": (colour, 0.35),
    }


def band(axes: Axes, x: NDArray[Any], best: Any, low: Any, high: Any, colour: Any) -> None:
    """A fitted curve with its 95 % band."""
    axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0, zorder=1)
    axes.plot(x, best, color=colour, linewidth=1.3, zorder=4)


def thinning(count: int) -> int:
    """Of so many points, every how manieth is drawn."""
    return max(1, -(-count // MOST_POINTS))


def one_of(count: int) -> str:
    """What `thinning` leaves out, in words; "" when it is nothing."""
    every = thinning(count)
    return f"One of every {every} points is drawn." if every > 1 else ""


def colours(count: int) -> Sequence[Any]:
    """As many colours, in order."""
    if count <= len(COLOURS):
        return COLOURS[:count]
    return [tuple(colormaps["viridis"](at)) for at in np.linspace(0, 0.92, count)]


def spread(count: int, most: int) -> list[int]:
    """At most so many of the places 0..count-1, evenly, with both ends."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def clip(text: str, most: int = LEGEND_LETTERS) -> str:
    """Long names with their middle cut out."""
    if len(text) <= most:
        return text
    head = (most - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def legend_width(handles: Sequence[Line2D]) -> float:
    """Inches that a legend takes beside the panels."""
    if not handles:
        return 0.0
    return 0.42 + LETTER * max(len(str(handle.get_label())) for handle in handles)


def side_legend(page: Panels, handles: Sequence[Line2D]) -> None:
    """One legend for all panels, to the right of them, where it covers nothing."""
    page.panels[0][0].legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=(page.right, page.top),
        bbox_transform=page.figure.transFigure,
        borderaxespad=0.0,
        fontsize=SMALL,
        frameon=False,
        labelspacing=0.35,
        handlelength=1.4,
        handletextpad=0.5,
    )


def note(axes: Axes, text: str, **where: Any) -> None:
    """A remark inside a panel that has room for it."""
    look: dict[str, Any] = {**_NOTE, "transform": axes.transAxes, **where}
    axes.text(0.5, 0.5, text, **look)


_WORDS: dict[str, Any] = {
    "fontsize": SMALL,
    "va": "top",
    "color": GREY,
    "linespacing": 1.35,
    "clip_on": False,
}
_NOTE: dict[str, Any] = {"fontsize": SMALL, "ha": "center", "va": "center", "color": GREY, "linespacing": 1.3}
