"""Figures for papers, of what was fitted and what was not: `scaling_law_plot` is the one that every fit leaves behind.

One file a figure; `fvlm_core.report.catalogue` knows them by name, `style` is what they share, `view` what they get to
see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from matplotlib.figure import Figure

from fvlm_core.interfaces.figure import LawReport
from fvlm_core.report.catalogue import load_figure
from fvlm_core.report.figures import along, config, loss, optima, style
from fvlm_core.report.figures.captions import write_caption
from fvlm_core.report.figures.files import check_format, house_style, save
from fvlm_core.report.figures.look import LOOKS, PAPER, SCREEN, SLIDE, Look, thicken
from fvlm_core.report.figures.style import COLOURS
from fvlm_core.report.figures.view import view
from fvlm_core.scaling.fit.report import FitReport
from fvlm_core.utils.file_names import file_stem

__all__ = [
    "COLOURS",
    "LOOKS",
    "PAPER",
    "SCREEN",
    "SLIDE",
    "Drawn",
    "Look",
    "check_format",
    "draw_figures",
    "law_figure",
    "scaling_law_plot",
]

SIZE_INCHES = (8.0, 5.0)
"""1600 x 1000 pixels, on a screen."""

SCREEN_DPI = 100
"""Of a figure that is shown in a notebook; whoever saves it says another."""


def scaling_law_plot(
    reports: Sequence[FitReport],
    file: Path,
    nothing: str = "",
    heading: str = "",
    look: Look = SCREEN,
    *,
    captioned: bool = False,
) -> list[Path]:
    """Draw the laws, and write them to `file` (PNG, PDF or SVG by its suffix): the files.

    Loss against data, one panel a report, where that shows all of them: points by size (colour) and run (marker),
    fitted curves with their 95 % band. Parabolas and their minima of laws of those; else each law along the columns
    that it reads. nothing: what to say when there are no reports. heading: above everything. captioned: whether what it
    shows, and what was withheld and why, is written beside it, as text and for LaTeX. Raises `UsageError` for another
    suffix.
    """
    check_format(file)
    with house_style(look):
        figure = Figure(dpi=look.dpi)
        size = SIZE_INCHES if look is SCREEN else None
        if reports:
            _whole([view(report) for report in reports], figure, size)
        else:
            style.only_words(figure, nothing, size)
        if heading:
            figure.text(0.5, 0.995, heading, ha="center", va="top", fontsize=look.large, color="#b00020")
        thicken(figure, look.stroke)
        save(figure, file)
    return [file, *(write_caption(figure, file, [report.model for report in reports]) if captioned else ())]


@frozen
class Drawn:
    """files: of the figures that were drawn, with their captions. nothing: why, of those that had nothing to show."""

    files: tuple[Path, ...]
    nothing: Mapping[str, str]


def draw_figures(
    reports: Sequence[FitReport],
    names: Sequence[str],
    folder: Path,
    formats: Sequence[str] = ("png",),
    look: Look = SCREEN,
) -> Drawn:
    """Draw figures by name, each to `folder/NAME.FORMAT`, with its caption beside it: `NAME.txt`, and `NAME.tex`.

    A figure that has nothing to show is no file. Raises `LookupFailure` for a name that nobody offers, before anything
    is drawn.
    """
    loaded = {name: load_figure(name) for name in names}
    seen = [view(report) for report in reports]
    files: list[Path] = []
    nothing: dict[str, str] = {}
    for name, draw in loaded.items():
        with house_style(look):
            figure = _drawn(draw, seen, look.dpi)
            if why := style.nothing_drawn(figure):
                nothing[name] = why
                continue
            thicken(figure, look.stroke)
            for suffix in formats:
                files.append(folder / f"{file_stem(name)}.{suffix}")
                save(figure, files[-1])
            files += write_caption(figure, files[-1], [report.law for report in seen])
    return Drawn(tuple(files), nothing)


def law_figure(reports: Sequence[FitReport], name: str = "", look: Look = SCREEN) -> Figure:
    """One figure by its name, not saved; "" for the one that shows the laws. Raises `LookupFailure` for a name that
    nobody offers."""
    draw = load_figure(name) if name else _whole
    with house_style(look):
        figure = _drawn(
            draw, [view(report) for report in reports], SCREEN_DPI if look is SCREEN else look.dpi
        )
        thicken(figure, look.stroke)
        return figure


def _whole(reports: Sequence[LawReport], figure: Figure, size: tuple[float, float] | None = None) -> None:
    """The figure that shows the curves of all these laws."""
    minima: set[Any] = {report.trend.column for report in reports if report.trend is not None}
    if all(map(over_data, reports)):
        loss.panels(reports, figure, "d", size=size)
    elif len(minima) == 1 and all(report.trend is not None for report in reports):
        optima.draw(config.Optima(column=minima.pop()), reports, figure)
    else:
        along.panels(reports, figure)


def over_data(report: LawReport) -> bool:
    """Whether loss against D shows all of a law: one of N and D, or of schedules."""
    law = report.law
    known = bool(np.isfinite(report.points["d"]).any())
    own = any(one.name in (*law.inputs, law.target) for one in law.variables) or law.labels
    of_data = law.features or "d" in law.inputs or "compute" in law.inputs
    return known and law.target == "loss" and not own and bool(of_data) and law.split in (None, "size")


def _drawn(
    draw: Callable[[Sequence[LawReport], Figure], None], seen: Sequence[LawReport], dpi: int
) -> Figure:
    figure = Figure(dpi=dpi)
    draw(seen, figure)
    return figure
