"""Figures for papers, of what was fitted and what was not: `scaling_law_plot` is the one that every fit leaves behind.

One file a figure; `fvlm_core.report.catalogue` knows them by name, `style` is what they share, `view` what they get to
see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from fvlm_core.interfaces.figure import LawReport
from fvlm_core.report.catalogue import load_figure
from fvlm_core.report.figures import loss, style
from fvlm_core.report.figures.files import DPI, check_format, house_style, save
from fvlm_core.report.figures.style import COLOURS
from fvlm_core.report.figures.view import view
from fvlm_core.scaling.fit.report import FitReport
from fvlm_core.utils.file_names import file_stem

__all__ = ["COLOURS", "check_format", "draw_figures", "law_figure", "scaling_law_plot"]

SIZE_INCHES = (8.0, 5.0)
"""1600 x 1000 pixels."""

SCREEN_DPI = 100
"""Of a figure that is shown in a notebook; whoever saves it says another."""


def scaling_law_plot(reports: Sequence[FitReport], file: Path, nothing: str = "", heading: str = "") -> None:
    """Draw loss against data, one panel a report, and write it to `file` (PNG, PDF or SVG by its suffix).

    Points by size (colour) and run (marker), fitted curves with their 95 % band, and in words what was withheld.
    nothing: what to say when there are no reports. heading: above everything. Raises `UsageError` for another suffix.
    """
    check_format(file)
    with house_style():
        figure = Figure(figsize=SIZE_INCHES, dpi=DPI)
        if reports:
            loss.panels([view(report) for report in reports], figure, "d", size=SIZE_INCHES)
        else:
            style.only_words(figure, nothing, SIZE_INCHES)
        if heading:
            figure.text(0.5, 0.995, heading, ha="center", va="top", fontsize=style.LARGE, color="#b00020")
        save(figure, file)


def draw_figures(
    reports: Sequence[FitReport], names: Sequence[str], folder: Path, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Draw figures by name, each to `folder/NAME.FORMAT`, and return the files.

    Raises `LookupFailure` for a name that nobody offers, before anything is drawn.
    """
    loaded = {name: load_figure(name) for name in names}
    seen = [view(report) for report in reports]
    files: list[Path] = []
    for name, draw in loaded.items():
        with house_style():
            figure = _drawn(draw, seen)
            for suffix in formats:
                files.append(folder / f"{file_stem(name)}.{suffix}")
                save(figure, files[-1])
    return files


def law_figure(reports: Sequence[FitReport], name: str) -> Figure:
    """One figure by its name, not saved. Raises `LookupFailure` for a name that nobody offers."""
    draw = load_figure(name)
    with house_style():
        return _drawn(draw, [view(report) for report in reports], SCREEN_DPI)


def _drawn(
    draw: Callable[[Sequence[LawReport], Figure], None], seen: Sequence[LawReport], dpi: int = DPI
) -> Figure:
    figure = Figure(dpi=dpi)
    draw(seen, figure)
    return figure
