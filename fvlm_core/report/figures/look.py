"""How figures look where they go: in a paper's column, on a slide, on a screen. Widths in millimetres.

`using` says which look holds while something is drawn; `style` asks for it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from attrs import field, frozen
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fvlm_core.utils.errors import UsageError
from fvlm_registry.nearest import did_you_mean

MM = 1 / 25.4
"""Inches of a millimetre."""


@frozen(kw_only=True)
class Look:
    """column, page: millimetres of a figure of one panel, and of one of several. highest: of a figure of one row at
    most so many; None: as high as its rows ask for. small, normal, large: sizes of letters in points, of ticks, legends
    and remarks; of axis labels; of titles. letter: mean width of a letter, as a part of its size. stroke: how much
    thicker lines and marks are than on paper. dpi: of pictures made of pixels. settings: matplotlib's own.
    """

    name: str
    column: float
    page: float
    highest: float | None = None
    small: float
    normal: float
    large: float
    letter: float
    stroke: float = 1.0
    dpi: int
    settings: Mapping[str, Any] = field(factory=dict[str, Any])

    def width(self, panels: int) -> float:
        """Inches of a figure with so many panels beside each other."""
        return (self.page if panels > 1 else self.column) * MM

    @property
    def scale(self) -> float:
        """Lengths of what surrounds panels, beside those of letters of 6.5 points."""
        return self.small / 6.5

    @property
    def letter_inches(self) -> float:
        """Mean width of a small letter."""
        return self.letter * self.small / 72


_STIX = {"font.family": "STIXGeneral", "mathtext.fontset": "stix"}

PAPER = Look(
    name="paper", column=84, page=174, small=7.0, normal=8.0, large=9.0, letter=0.47, dpi=600, settings=_STIX
)
"""One column, and both: 84 and 174 mm, as most journals have them. In letters like those of Times, which matplotlib
brings along."""

SLIDE = Look(
    name="slide", column=120, page=146, highest=76, small=7.5, normal=8.5, large=10.0, letter=0.58, stroke=1.25, dpi=300
)  # fmt: skip
"""A frame of 160 x 90 mm, which is the size that LaTeX's beamer has at 16:9; other programs scale it."""

SCREEN = Look(name="screen", column=160, page=178, small=6.5, normal=7.5, large=8.5, letter=0.58, dpi=200)
"""For notebooks and pages."""

LOOKS = {look.name: look for look in (PAPER, SLIDE, SCREEN)}


def look_called(name: str) -> Look:
    """Raises `UsageError` for a name that no look has."""
    if name not in LOOKS:
        near = did_you_mean(name, list(LOOKS)) or f"; expected one of {', '.join(LOOKS)}"
        raise UsageError(f'style "{name}": there is no such one{near}')
    return LOOKS[name]


_current: ContextVar[Look] = ContextVar("look", default=SCREEN)


def current() -> Look:
    """The look that holds now."""
    return _current.get()


@contextmanager
def using(look: Look) -> Generator[None]:
    """Let a look hold."""
    token = _current.set(look)
    try:
        yield
    finally:
        _current.reset(token)


def inches(axes: Axes, which: str) -> float:
    """Of a panel's width, "x", or height, "y"."""
    box, whole = axes.get_position(), axes.figure.get_figure(root=True).get_size_inches()
    return float(box.width * whole[0] if which == "x" else box.height * whole[1])


def thicken(figure: Figure, factor: float) -> None:
    """Lines and marks so many times as thick."""
    if factor == 1:
        return
    for line in _found(figure, Line2D):
        line.set_linewidth(line.get_linewidth() * factor)
        line.set_markersize(line.get_markersize() * factor)
        line.set_markeredgewidth(line.get_markeredgewidth() * factor)
    for one in _found(figure, Collection):
        one.set_linewidth([width * factor for width in one.get_linewidth()])  # type: ignore[union-attr]


def _found(figure: Figure, kind: type[Artist]) -> list[Any]:
    return figure.findobj(kind)
