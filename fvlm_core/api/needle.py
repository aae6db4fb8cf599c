"""Whether a trained model finds what is hidden in a long video: a table, a heat map, and a line in the run's record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from fvlm_core.api.checks import one_of, texts, within
from fvlm_core.api.explained import public
from fvlm_core.api.places import Root, runs_folder, warn
from fvlm_core.api.views.console import as_html, as_text, new_table, print_whole, progress_console
from fvlm_core.api.views.display import Display

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import Console

    from fvlm_core.evaluation.needle import NeedleGrid
    from fvlm_core.interfaces.data import Progress

SCORE = "needle"
"""Its name in the run's record."""

LIMIT = 16
"""Tokens of an answer, where nobody says."""


@public
def needle(
    run: str | PathLike[str],
    *,
    lengths: Sequence[int] = (),
    depths: Sequence[float] = (),
    samples: int | None = None,
    data: str = "needles",
    settings: str | Sequence[str] = (),
    metric: str = "exact-match",
    mode: str | None = None,
    device: str = "auto",
    weights: str | None = None,
    record: bool = True,
    root: Root = None,
) -> NeedleResult:
    """Ask the model of a run for what is hidden in videos of several lengths, at several depths, as `fvlm needle` does;
    the arguments are its options.

    lengths: in frames. depths: from 0, the beginning, to 1. record: whether the run keeps it, which the report then
    shows. Raises `FvlmError`.
    """
    one_of("device", device, ("auto", "cpu", "cuda"))
    within("samples", samples, 1, whole=True)
    for length in lengths:
        within("lengths", length, 1, whole=True)
    for depth in depths:
        within("depths", depth, 0, 1)
    with Display(progress_console(), 0) as display:
        return found_needles(
            str(run),
            runs_folder(root),
            lengths=lengths,
            depths=depths,
            samples=samples,
            data=data,
            settings=texts(settings),
            metric=metric,
            mode=mode,
            device=device,
            weights=weights,
            record=record,
            note=warn,
            progress=display.work,
        )


def found_needles(
    run: str,
    root: Path,
    *,
    lengths: Sequence[int],
    depths: Sequence[float],
    samples: int | None,
    data: str,
    settings: Sequence[str],
    metric: str,
    mode: str | None,
    device: str,
    weights: str | None,
    record: bool,
    note: Callable[[str], None],
    progress: Progress,
    limit: int | None = None,
) -> NeedleResult:
    """The body of `needle`. limit: longest answer, in tokens. note: is told what people should know."""
    from attrs import evolve

    from fvlm_core.evaluation.needle import DEPTHS, LENGTHS, SAMPLES, needles
    from fvlm_core.evaluation.subject import choose_metrics, open_subject
    from fvlm_core.recipes.schema import Answering
    from fvlm_core.runs.scores import write_scores
    from fvlm_core.runs.store import RECIPE, find_run
    from fvlm_core.utils.paths import user_path

    subject = open_subject(run, root, weights=weights)
    if subject.remark:
        note(subject.remark)
    [chosen] = choose_metrics(subject, [metric])
    answering = subject.eval.generation or evolve(Answering(), limit=LIMIT)
    grid = needles(
        subject,
        data=data,
        settings=settings,
        lengths=tuple(dict.fromkeys(lengths)) or LENGTHS,
        depths=tuple(dict.fromkeys(map(float, depths))) or DEPTHS,
        samples=samples or SAMPLES,
        metric=chosen,
        answering=answering if limit is None else evolve(answering, limit=limit),
        mode=mode,
        device=device,
        progress=progress,
    )
    result = NeedleResult(subject.name, subject.step, data, tuple(settings), grid)
    if record:
        folder = user_path(run)
        if (folder / "config.json").is_file() and not (folder / RECIPE).is_file():
            note(f"{folder}: exported weights, which have no record: nothing is kept")
        else:
            write_scores(find_run(run, root).folder, SCORE, {**result.to_dict(), "weights": weights})
    return result


@frozen(eq=False, repr=False)
class NeedleResult:
    """What was found. name, step: of the weights. data, settings: where the needles are from."""

    name: str
    step: int | None
    data: str
    settings: tuple[str, ...]
    grid: NeedleGrid

    @property
    def table(self) -> pd.DataFrame:
        """A row a cell: length, depth, answers, mean, low, high."""
        import pandas as pd

        return pd.DataFrame([asdict(cell) for cell in self.grid.cells])

    def to_dict(self) -> dict[str, Any]:
        """Everything, as `fvlm needle --json` prints it."""
        return {
            "model": self.name,
            "step": self.step,
            "data": self.data,
            "settings": list(self.settings),
            **asdict(self.grid),
            "cells": [asdict(cell) for cell in self.grid.cells],
        }

    def figure(self) -> Figure:
        """The heat map, a matplotlib Figure."""
        from fvlm_core.report.figures.files import house_style
        from fvlm_core.report.figures.needle import needle_map

        grid = self.grid
        with house_style():
            return needle_map(
                self.name,
                grid.lengths,
                grid.depths,
                [asdict(cell) for cell in grid.cells],
                grid.metric,
                grid.chance,
            )

    def save(self, to: str | PathLike[str]) -> None:
        """Write the heat map as .png, .pdf or .svg. Raises `FvlmError` for another suffix."""
        from fvlm_core.report.figures.files import check_format, house_style, save
        from fvlm_core.report.figures.look import SCREEN
        from fvlm_core.utils.outputs import writing
        from fvlm_core.utils.paths import user_path

        file = user_path(Path(to))
        check_format(file)
        figure = self.figure()
        figure.set_dpi(SCREEN.dpi)
        with writing(file), house_style():
            save(figure, file)

    def show(self, console: Console) -> None:
        """Print it: a row a depth, a column a length."""
        grid = self.grid
        lengths = [f"{length} frames" for length in grid.lengths]
        table = new_table("depth", *lengths, right=tuple(lengths))
        by_place = {(cell.length, cell.depth): cell for cell in grid.cells}
        for depth in grid.depths:
            cells = [by_place[length, depth] for length in grid.lengths]
            table.add_row(f"{depth:.0%}", *(_said(cell.mean, cell.low, cell.high) for cell in cells))
        print_whole(console, table)
        above = len(grid.above_chance())
        chance = (
            ""
            if grid.chance is None
            else f", chance {grid.chance:.3g}: {above} of {len(grid.cells)} cells above"
        )
        step = "" if self.step is None else f", step {self.step}"
        answers = sum(cell.answers for cell in grid.cells)
        console.print(
            f"{self.name}{step}: {grid.metric} of {answers} answers, watched {grid.watched}{chance}",
            soft_wrap=True,
        )

    def __repr__(self) -> str:
        return as_text(self.show)

    def _repr_html_(self) -> str:
        return as_html(self.show)


def _said(mean: float | None, low: float | None, high: float | None) -> str:
    if mean is None:
        return ""
    return f"{mean:.2f}" if low is None or high is None else f"{mean:.2f} [{low:.2f}, {high:.2f}]"
