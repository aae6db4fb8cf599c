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
    from fvlm_core.scaling.fit.report import FitReport

F = TypeVar("F", bound=Callable[..., Any])

FOLDER = "figures"
"""Where figures go when no folder is named: beside the plot."""


@frozen
class FigureRequest:
    """names: as written. folder: None for `FOLDER` beside the plot. formats: without dots."""

    names: tuple[str, ...]
    folder: Path | None
    formats: tuple[str, ...]

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

    def draw(self, names: Sequence[str], reports: Sequence[FitReport], plot: Path) -> list[Path]:
        """Draw them all."""
        from fvlm_core.report.figures import draw_figures

        return draw_figures(reports, names, self.into(plot), self.formats or ("png",))


def figure_options(command: F) -> F:
    """`--figures`, `--figures-to` and `--format`, handed on as `figures`, a `FigureRequest`."""
    from functools import update_wrapper

    def collected(
        *arguments: Any, figures: tuple[str, ...], figures_to: Path | None, formats: Any, **rest: Any
    ) -> Any:
        return command(
            *arguments, figures=FigureRequest(figures, figures_to, tuple(dict.fromkeys(formats))), **rest
        )

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
            help="The format of figures; may be repeated. Default: png.",
        ),
    ]
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped
