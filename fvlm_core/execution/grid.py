"""A recipe's runs through a launcher: what is complete is found, data are made ready once, the rest becomes jobs."""

from __future__ import annotations

from attrs import frozen

from fvlm_core.execution.begun import run_folder
from fvlm_core.execution.grid_run import GridRun
from fvlm_core.execution.jobs import CommandLine, earlier_runs, make_job
from fvlm_core.execution.scheduler import Pool, RetryPolicy, Watcher
from fvlm_core.execution.sequential import Outcome, check_drift, completed_run, prepare
from fvlm_core.interfaces.data import Progress
from fvlm_core.interfaces.launcher import Launcher
from fvlm_core.recipes.read import Recipe
from fvlm_core.recipes.schema import Chosen
from fvlm_core.runs.store import SUMMARY
from fvlm_core.utils.atomic_files import read_json
from fvlm_core.utils.listing import listed
from fvlm_registry import registry


@frozen
class Grid:
    """A recipe's runs, in its order, and how their jobs are started."""

    recipe: Recipe
    line: CommandLine
    entries: list[GridRun]

    def pool(self, launcher: Launcher, slots: int, retries: int, watcher: Watcher[GridRun]) -> Pool[GridRun]:
        """The runs over a launcher's slots."""
        ambiguous = (1,) if launcher.processes > 1 else ()
        policy = RetryPolicy(slots, retries, ambiguous)
        return Pool(
            self.entries, launcher, policy, lambda entry: make_job(self.recipe, entry.run, self.line), watcher
        )

    def outcomes(self) -> list[Outcome]:
        """Of the runs that are complete."""
        return [
            Outcome(entry.run, entry.folder, read_json(entry.folder / SUMMARY), skipped=entry.found)
            for entry in self.entries
            if entry.state == "complete"
        ]

    def missing(self) -> list[GridRun]:
        """The runs that were not complete when it was opened."""
        return [entry for entry in self.entries if not entry.found]


def open_grid(recipe: Recipe, line: CommandLine) -> Grid:
    """See what is complete. Raises `UsageError` when a run on disk is another recipe's, as `fvlm run` does."""
    check_drift(recipe, line.root, line.allowed)
    entries: list[GridRun] = []
    for run in recipe.runs:
        after = earlier_runs(recipe, run, line.root)
        entry = GridRun(run_folder(line.root, recipe, run), run, after=after)
        if completed_run(recipe, run, line.root) is not None:
            entry.state, entry.found = "complete", True
        elif entry.after:
            entry.state, entry.note = "waiting", f"for {listed(entry.after)}"
        entries.append(entry)
    return Grid(recipe, line, entries)


def prepare_data(grid: Grid, progress: Progress) -> None:
    """Make the data of all runs ready, once, and compare them with what the runs on disk saw. Raises `UsageError`."""
    data = prepare(grid.recipe, grid.line.root, progress)
    check_drift(grid.recipe, grid.line.root, grid.line.allowed, data)


def open_launcher(chosen: Chosen, slots: int) -> Launcher:
    """The launcher. Raises `LookupFailure` or `UsageError` for settings that make no sense here."""
    found = registry()
    build = found.load(found.find("launcher", chosen.component).component.target)
    return build(chosen.config, slots)
