"""Training the runs of a recipe."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attrs import frozen

from fvlm_core.api.checks import texts
from fvlm_core.api.explained import public
from fvlm_core.api.places import Root, runs_folder, warn
from fvlm_core.api.recipe import Recipe, as_recipe
from fvlm_core.api.trained import Trained
from fvlm_core.api.views.console import as_html, as_text, progress_console
from fvlm_core.api.views.display import Display
from fvlm_core.api.views.outcomes import say_skipped, show_outcomes
from fvlm_core.recipes import read
from fvlm_core.recipes.read import Run
from fvlm_core.utils.errors import UsageError
from fvlm_registry.nearest import did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

    from fvlm_core.api.fitted import FitResult
    from fvlm_core.execution.sequential import Outcome
    from fvlm_core.training.process_group import Ranks

EVENTS = ("skipped", "started", "stepped", "evaluated", "warned")
"""What an observer of training may be told: the methods of `Observer`."""


@public
def train(
    recipe: Recipe | str | PathLike[str] | Mapping[str, Any],
    runs: Root = None,
    callbacks: Any = (),
    *,
    allow_drift: str | Sequence[str] = (),
    force: bool = False,
) -> TrainResult:
    """Train every run of a recipe, then make its fits, as `fvlm run` does: what is complete is skipped, what was
    interrupted continues.

    recipe: a `Recipe`, a file, the name of a shipped one, or tables. runs: the folder where runs are kept; see
    `fvlm.runs`. callbacks: one or several: functions that are given each row of metrics (logged steps and evaluations),
    or objects with any of the methods of an observer: skipped, started, stepped, evaluated, warned. They are called
    between steps, in this process; what they raise ends the run, which continues from its last checkpoint. allow_drift,
    force: as the options of `fvlm run`. Raises `FvlmError`.
    """
    told = _several(callbacks)
    root = runs_folder(runs)
    checked = as_recipe(recipe).checked
    outcomes = train_all(checked, root, texts(allow_drift), progress_console(), told, force=force)
    fits = fits_of(checked, outcomes, root / checked.name) if checked.fits else []
    if fits:
        keep_fits(fits, root / checked.name)
    return TrainResult(tuple(outcomes), tuple(fits))


@frozen(eq=False, repr=False)
class TrainResult:
    """What came of the runs of a recipe, and its fits on them."""

    outcomes: tuple[Outcome, ...]
    fits: tuple[FitResult, ...]

    @property
    def runs(self) -> list[str]:
        """The ids of the runs."""
        return [outcome.run.id for outcome in self.outcomes]

    @public
    def __getitem__(self, run: str) -> Trained:
        """One run, by its id. Raises `FvlmError`."""
        from fvlm_core.runs.store import open_run

        for outcome in self.outcomes:
            if outcome.run.id == run:
                return Trained(open_run(outcome.folder), warn)
        near = did_you_mean(run, self.runs) or f"; there are {', '.join(self.runs)}"
        raise UsageError(f'no run of this recipe is called "{run}"{near}')

    def __repr__(self) -> str:
        return as_text(self._show)

    def _repr_html_(self) -> str:
        return as_html(self._show)

    def _show(self, console: Console) -> None:
        show_outcomes(console, self.outcomes)
        for outcome in self.outcomes:
            console.print(f"{outcome.run.id}: {outcome.folder}")


def train_all(
    recipe: read.Recipe,
    root: Path,
    allowed: tuple[str, ...],
    console: Console,
    callbacks: Sequence[Any] = (),
    ranks: Ranks | None = None,
    *,
    force: bool = False,
    rehearsal: bool = False,
) -> list[Outcome]:
    """Train what is not complete, with a display of it on a console. force: also what the estimate of memory says
    cannot fit.

    callbacks: as in `train`. rehearsal: whether the records say that this is one.
    """
    from fvlm_core.execution.begun import as_begun
    from fvlm_core.execution.sequential import complete_runs, completed, prepare, run_all
    from fvlm_core.planning.plan import refuse_misfits
    from fvlm_core.training.process_group import Ranks

    ranks = ranks or Ranks()
    outcomes = ranks.in_turn(lambda: completed(recipe, root, allowed))
    if outcomes is None:
        with Display(console, len(recipe.runs), [run.id for run in recipe.runs]) as display:
            observer = Observers(display, callbacks) if callbacks else display
            # Ctrl-C ends this at once: what is rendered stays
            data = ranks.in_turn(lambda: prepare(recipe, root, display.work))
            if not force:
                ranks.on_first(
                    lambda: refuse_misfits(
                        as_begun(recipe, root), data, complete_runs(recipe, root), ranks.size
                    )
                )
            with _stop_request() as stop:
                outcomes = run_all(recipe, root, data, observer, stop, allowed, ranks, rehearsal=rehearsal)
    say_skipped(console, recipe, outcomes)
    return outcomes


def fits_of(recipe: read.Recipe, outcomes: Sequence[Outcome], folder: Path) -> list[FitResult]:
    """The recipe's fits on its own runs, and what they predict of those that they hold out. folder: of the runs."""
    from fvlm_core.api.fitted import FitResult
    from fvlm_core.runs.store import open_run
    from fvlm_core.scaling.fit.fitting import fit_runs
    from fvlm_core.scaling.predict.holdout import score_runs

    runs = [open_run(outcome.folder) for outcome in outcomes]
    return [
        FitResult(report, score_runs(report, runs, fit.holdout) if fit.holdout else None)
        for report, fit in zip(fit_runs(runs, recipe.fits, str(folder)), recipe.fits, strict=True)
    ]


def keep_fits(fits: Sequence[FitResult], folder: Path, heading: str = "") -> tuple[Path, Path]:
    """Write the numbers of fits, and the picture of them, beside their runs: the two files. heading: of the picture."""
    from fvlm_core.interchange.export import FITS, PLOT, scaling_fits
    from fvlm_core.report.figures import scaling_law_plot
    from fvlm_core.utils.atomic_files import write_json

    reports = [fit.report for fit in fits]
    write_json(folder / FITS, {**scaling_fits(reports), "reports": [fit.to_dict() for fit in fits]})
    scaling_law_plot(reports, folder / PLOT, heading=heading, captioned=True)
    return folder / FITS, folder / PLOT


class Observers:
    """Tells a display and callbacks what happens; see `fvlm_core.training.callbacks.Observer`."""

    def __init__(self, display: Display, callbacks: Sequence[Any]) -> None:
        self._watching = [display, *(one for one in callbacks if _observes(one))]
        self._functions: list[Callable[[dict[str, Any]], Any]] = [
            one for one in callbacks if not _observes(one)
        ]

    def skipped(self, run: Run) -> None:
        """A run was complete already."""
        self._tell("skipped", run)

    def started(self, run: Run, step: int, steps: int) -> None:
        """A run begins or continues at `step`."""
        self._tell("started", run, step, steps)

    def stepped(self, step: int, row: dict[str, Any] | None) -> None:
        """A step is done."""
        self._tell("stepped", step, row)
        if row is not None:
            self._give(row)

    def evaluated(self, row: dict[str, Any]) -> None:
        """An evaluation is done."""
        self._tell("evaluated", row)
        self._give(row)

    def warned(self, text: str) -> None:
        """Something the user should know."""
        self._tell("warned", text)

    def _tell(self, event: str, *what: Any) -> None:
        for one in self._watching:
            method = getattr(one, event, None)
            if method is not None:
                method(*what)

    def _give(self, row: dict[str, Any]) -> None:
        for function in self._functions:
            function(dict(row))


def _several(callbacks: Any) -> tuple[Any, ...]:
    """Callbacks, of which a bare one is one. Raises `UsageError` for one that nothing can be told."""
    several = (callbacks,) if _observes(callbacks) or not isinstance(callbacks, Iterable) else callbacks
    found = tuple(cast("Iterable[Any]", several))
    for one in found:
        if not callable(one) and not _observes(one):
            raise UsageError(
                f"callbacks: expected functions, or objects with any of the methods {', '.join(EVENTS)}; got {one!r}"
            )
    return found


def _observes(callback: Any) -> bool:
    return any(hasattr(callback, event) for event in EVENTS)


def _stop_request() -> Any:
    """Signals become a request to stop; only the main thread hears of them."""
    from fvlm_core.training.signals import StopRequest

    main = threading.current_thread() is threading.main_thread()
    return StopRequest() if main else nullcontext(StopRequest())
