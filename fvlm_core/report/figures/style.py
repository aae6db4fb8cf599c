"""The house style of figures: pages of panels in inches, axes, colours, labels, and captions, which stand beside them.

Positions are computed, not searched for as matplotlib's constrained layout does. `SMALL`, `NORMAL` and `LARGE` are the
sizes of letters of the look that holds (`look.using`), and `WIDTH` its width in inches.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from attrs import frozen
from matplotlib import colormaps, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from fvlm_core.report.figures.formula import formula, symbol
from fvlm_core.report.figures.labels import label_width, legend_width, line_height, side_legend
from fvlm_core.report.figures.look import MM, current, inches
from fvlm_core.report.figures.ticks import label, log_ticks

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito (2008): told apart by colour-blind readers too; one a size, smallest first. More sizes than these take
an ordered scale, and the legend names as many of them."""

MARKERS = "osD^vP*X"
"""One a run of a size."""

GREY = "#555555"

LEFT, RIGHT, TOP, BOTTOM = 0.62, 0.12, 0.46, 0.5
"""Room around panels in inches where letters have 6.5 points: tick labels and axis labels, two lines of title."""

GAP = 0.66
"""Between two panels of a row that have axes of their own; `NARROW` where they share one."""

NARROW = 0.16

FLAT = 0.8
"""A panel's greatest height, as a part of its width."""

FLATTEST = 0.75
"""Inches of a panel's height, however low its figure has to be."""

MOST_POINTS = 20_000
"""Points drawn in a panel; of more, every so many."""

MARGIN = 0.06
"""Room above and below the points, as a part of their range; bands may leave it."""

LOG_LOSS = 2.5
"""Losses that span more than this factor are drawn on a logarithmic axis."""

LEGEND_LETTERS = 24

TICK = 0.38
"""Inches between the labels of two ticks."""


def __getattr__(name: str) -> float:
    look = current()
    found = {"SMALL": look.small, "NORMAL": look.normal, "LARGE": look.large, "WIDTH": look.width(2)}
    try:
        return found[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


_captions: WeakKeyDictionary[Figure, tuple[str, ...]] = WeakKeyDictionary()


def describe(figure: Figure, paragraphs: Sequence[str]) -> None:
    """What a figure shows, for the file beside it: nothing of it is drawn."""
    _captions[figure] = tuple(filter(None, paragraphs))


def caption_of(figure: Figure) -> tuple[str, ...]:
    """The paragraphs of its caption."""
    return _captions.get(figure, ())


@frozen(eq=False)
class Panels:
    """A figure divided into panels. panels: [rows][columns]. right: where a legend may begin, in parts of the width.
    top: the upper edge of the first row, in parts of the height. direct: whether there is room for labels at the ends
    of curves, and no legend."""

    figure: Figure
    panels: Sequence[Sequence[Axes]]
    right: float
    top: float
    direct: bool = False

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
    labels: Sequence[str] = (),
    size: tuple[float, float] | None = None,
    height: float = 2.3,
    widths: Sequence[float] = (),
    left: float = LEFT,
    shared: bool = False,
    lines: bool = False,
) -> Panels:
    """Divide a figure into panels, with a legend to the right of them, or room for labels there.

    caption: paragraphs, for the file beside the figure. labels: what the ends of curves would be called; where they
    fit beside a panel they take the legend's place, and `label_ends` writes them. size: of the whole figure in inches;
    None: as high as rows of `height` ask for. widths: ratios of the columns. left: inches for the first column's
    labels, where letters have 6.5 points, as `height` is. shared: whether the panels of a row have one y axis. lines:
    whether a panel holds lines of text, and is as high as asked for however narrow it is.
    """
    look = current()
    describe(figure, caption)
    scale = look.scale
    left, right, above, below = (length * scale for length in (left, RIGHT, TOP, BOTTOM))
    width = size[0] if size else look.width(columns)
    rest = above + below + (rows - 1) * (above + below)
    gap = (NARROW if shared else GAP) * scale
    if size:
        each = (size[1] - rest) / rows
    else:
        across = (width - left - right - (columns - 1) * gap) / columns
        each = height * scale if lines else min(height * scale, FLAT * across)
        if look.highest and rows == 1 and not lines:
            each = max(FLATTEST, min(each, look.highest * MM - rest))
    tall = rest + rows * each
    figure.set_size_inches(width, tall)
    direct = bool(labels) and len(labels) * line_height() <= each
    beside = label_width(labels) if direct else legend_width(legend)
    free = width - left - right - beside - (columns - 1) * gap
    ratios = np.array(widths or [1.0] * columns)
    wide = free * ratios / ratios.sum()
    panels: list[list[Axes]] = []
    for row in range(rows):
        bottom = tall - above - each - row * (each + above + below)
        lefts = left + np.concatenate([[0], np.cumsum(wide + gap)[:-1]])
        panels.append(
            [
                figure.add_axes((at / width, bottom / tall, here / width, each / tall))
                for at, here in zip(lefts, wide, strict=True)
            ]
        )
    for axes in (axes for row in panels for axes in row):
        dress(axes)
    page = Panels(figure, panels, (width - beside) / width, 1 - above / tall, direct)
    if legend and not direct:
        side_legend(panels[0][0], figure, (page.right, page.top), legend)
    return page


def only_words(figure: Figure, text: str, size: tuple[float, float] | None = None) -> None:
    """A figure that only says why there is nothing to draw. It has no panel; where figures are written to files, the
    words are told and no file is made."""
    look = current()
    width, tall = size or (look.width(2), 1.6 * look.scale)
    figure.set_size_inches(width, tall)
    describe(figure, [text])
    figure.text(
        0.5,
        0.5,
        textwrap.fill(text, max(20, int(0.9 * width / look.letter_inches * look.small / look.normal))),
        ha="center",
        va="center",
        color=GREY,
        fontsize=look.normal,
        linespacing=1.5,
    )


def nothing_drawn(figure: Figure) -> str:
    """Why a figure has no panel; "" where it has one."""
    return (
        ""
        if figure.axes
        else " ".join(text.get_text().replace("\n", " ") for text in figure.texts) or "nothing"
    )


def dress(axes: Axes) -> None:
    """The look of a panel."""
    axes.tick_params(labelsize=current().small, which="both", pad=2.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.set_axisbelow(True)


def title(axes: Axes, name: str, form: str = "", room: float = 0.0, withheld: Sequence[str] = ()) -> None:
    """A panel's name, and its formula in smaller letters on a line below, typeset, where the panel, or `room` inches,
    has room for it; and which of its parameters are withheld."""
    look = current()
    panel = room or inches(axes, "x")
    letters = int((panel + 0.4 * look.scale) / look.letter_inches)
    kept = f"{', '.join(map(symbol, withheld))} withheld" if withheld else ""
    plain = f"{', '.join(withheld)} withheld" if withheld else ""
    if len(form) + (len(plain) + 3 if plain else 0) > letters:
        form = "" if plain or len(form) > 1.3 * letters else form
    if len(plain) > letters:
        kept = clip(plain, letters)
    below = " · ".join(
        filter(None, [formula(form) if set("^*/(") & set(form) else form.replace("$", r"\$"), kept])
    )
    axes.set_title(
        name
        if name.startswith("$")
        else clip(name, int(panel / (look.letter_inches * look.large / look.small))),
        fontsize=look.large,
        loc="left",
        pad=16 * look.scale if below else 6 * look.scale,
    )
    if below:
        axes.annotate(
            below,
            (0, 1),
            (0, 5 * look.scale),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=look.small,
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
    major = log_ticks(low, high, max(2, int(inches(axes, which) / (TICK * current().scale))))
    axis.set_major_locator(ticker.FixedLocator(major))
    axis.set_major_formatter(ticker.FixedFormatter([label(column, at) for at in major]))
    axis.set_minor_formatter(ticker.NullFormatter())
    name_axis(axes, which, text)


def name_axis(axes: Axes, which: str, text: str) -> None:
    """What an axis shows, without its unit where the panel is too small for both."""
    look = current()
    each = look.letter_inches * look.normal / look.small
    if len(text) * each > inches(axes, which) + 0.45 * look.scale:
        text = text.partition(" (")[0]
    (axes.set_xlabel if which == "x" else axes.set_ylabel)(text, fontsize=look.normal, labelpad=3)


def room_for_ticks(axes: Axes, most: int) -> int:
    """How many labels of a few digits fit below a panel, 1 to `most`."""
    return max(1, min(most, int(inches(axes, "x") / (TICK * current().scale))))


def loss_axis(axes: Axes, losses: NDArray[Any], text: str) -> None:
    """The y axis of losses: logarithmic where they span more than `LOG_LOSS`."""
    low, high = float(losses.min()), float(losses.max())
    if low > 0 and high / low > LOG_LOSS:
        log_axis(axes, "y", np.array([low * (low / high) ** 0.02, high]), "loss", text)
    else:
        room = MARGIN * (high - low or high)
        axes.set_ylim(low - room, high + room)
        name_axis(axes, "y", text)


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
        "markersize": 2.8,
        "markeredgewidth": 0.0,
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
    """Names from elsewhere: long ones with their middle cut out, and a dollar is no beginning of mathematics."""
    if len(text) > most:
        head = (most - 1) * 2 // 3
        text = f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"
    return text.replace("$", r"\$")


def note(axes: Axes, text: str, **where: Any) -> None:
    """A remark inside a panel that has room for it."""
    look: dict[str, Any] = {**_NOTE, "fontsize": current().small, "transform": axes.transAxes, **where}
    axes.text(0.5, 0.5, text, **look)


_NOTE: dict[str, Any] = {"ha": "center", "va": "center", "color": GREY, "linespacing": 1.3}
