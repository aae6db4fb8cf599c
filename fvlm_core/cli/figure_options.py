"""The options of `fvlm fit` that ask for figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import frozen

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.offered import completing
from fvlm_core.cli.path_types import FOLDER_PATH

if TYPE_CHECKING:
    from fvlm_core.report.figures import Drawn, Look
    from fvlm_core.scaling.fit.report import FitReport

F = TypeVar("F", bound=Callable[..., Any])

FOLDER = "figures"
"""Where figures go when no folder is named: beside the plot."""


@frozen
class FigureRequest:
    """names: as written. folder: None for `FOLDER` beside the plot. formats: without dots. style: a look's name."""

    names: tuple[str, ...]
    folder: Path | None
    formats: tuple[str, ...]
    style: str = "screen"

    def check(self) -> list[str]:
        """The figures asked for, each once. Raises `LookupFailure` for a name that nobody offers, and click's
        `UsageError` when a folder or a format is named and no figure."""
        if not self.names:
            if self.folder or self.formats:
                raise click.UsageError("--figures-to and --format need --figures: write --figures all")
            return []
        from fvlm_core.report.catalogue import load_figure, names

        written = [name.strip() for part in self.names for name in part.split(",") if name.strip()]
        found = [name for one in written for name in (names() if one == "all" else [one])]
        for name in found:
            load_figure(name)
        return list(dict.fromkeys(found))

    def into(self, plot: Path) -> Path:
        """The folder they are drawn into."""
        return self.folder or plot.parent / FOLDER

    def look(self) -> Look:
        """How they look."""
        from fvlm_core.report.figures import LOOKS

        return LOOKS[self.style]

    def draw(self, names: Sequence[str], reports: Sequence[FitReport], plot: Path) -> Drawn:
        """Draw them all."""
        from fvlm_core.report.figures import draw_figures

        formats = self.formats or (("pdf",) if self.style == "paper" else ("png",))
        return draw_figures(reports, names, self.into(plot), formats, self.look())


def figure_options(command: F) -> F:
    """`--figures`, `--figures-to`, `--format` and `--style`, handed on as `figures`, a `FigureRequest`."""
    from functools import update_wrapper

    def collected(
        *arguments: Any,
        figures: tuple[str, ...],
        figures_to: Path | None,
        formats: Any,
        style: str,
        **rest: Any,
    ) -> Any:
        request = FigureRequest(figures, figures_to, tuple(dict.fromkeys(formats)), style)
        return command(*arguments, figures=request, **rest)

    wrapped: Any = update_wrapper(collected, command)
    options = [
        click.option(
            "--figures",
            multiple=True,
            metavar="NAME[,NAME]",
            shell_complete=completing("figure"),
            help="Draw figures beside the plot: all, or names such as residuals,profiles. May be repeated.",
        ),
        click.option(
            "--figures-to",
            type=FOLDER_PATH,
            metavar="DIR",
            help="Where figures go. Default: figures/ beside the plot.",
        ),
        click.option(
            "--format",
            "formats",
            multiple=True,
            type=NearestChoice(["png", "svg", "pdf"]),
            help="The format of figures; may be repeated. Default: png; of --style paper, pdf.",
        ),
        click.option(
            "--style",
            type=NearestChoice(["paper", "slide", "screen"], {"print": "paper", "beamer": "slide"}),
            default="screen",
            show_default=True,
            help="How plot and figures look: in the columns of a paper (84 or 174 mm), on a slide, or on a screen. "
            "What they show is written beside them, as text and for LaTeX.",
        ),
    ]
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped
