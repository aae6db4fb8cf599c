"""The run store: folders `RUNS/<recipe>/<run id>/`, and what can be read from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attrs import field, frozen

from fvlm_core.runs import record_shapes as shape
from fvlm_core.runs.metrics import Row, read_metrics
from fvlm_core.runs.record_shapes import MUST
from fvlm_core.utils.atomic_files import read_json
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.json_shape import Shape, misfit
from fvlm_core.utils.listing import listed
from fvlm_core.utils.paths import user_path

if TYPE_CHECKING:
    from fvlm_core.runs.index import RunIndex

RECIPE = "recipe.json"
SUMMARY = "summary.json"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
TOKENIZER = "tokenizer.json"
ENVIRONMENT = "environment.json"
BAD_SAMPLES = "bad_samples.jsonl"
ATTEMPTS = "attempts.jsonl"
FAILURE = "failure.json"
QUEUED = ".queued.json"
"""Beside a record: a start was submitted and has not begun. A job that somebody takes out of the queue leaves it until
the runs are started again."""

ARCHITECTURES = "architectures_read"
"""In a record: the `config.json` of pretrained weights that the model was made after, by the recipe's name for them."""

IMPORTED = "imported"
"""In a record: where the run comes from, when this program did not make it; also the folder of imported weights."""


@frozen
class StoredRun:
    """A run on disk. record: `recipe.json`: what was decided before the first step.

    index: of its store, when it remembers what was read of the metrics.
    """

    folder: Path
    record: dict[str, Any]
    index: RunIndex | None = field(default=None, eq=False, repr=False)

    @property
    def id(self) -> str:
        """The run's id, unique within its recipe."""
        return self.record["id"]

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return self.record["recipe"]

    @property
    def size(self) -> str:
        """The model size's label ("135M")."""
        return self.record.get("size", "")

    @property
    def total_params(self) -> int | None:
        """All parameters of the model, trained or not; None of an imported run whose files do not say."""
        return self.record.get("total_params")

    @property
    def schedule(self) -> str:
        """The learning-rate schedule."""
        return self.record.get("schedule", "")

    @property
    def in_fits(self) -> bool:
        """Whether its points enter scaling fits; controls (a blind run) do not."""
        return self.record.get("in_fits", True)

    @property
    def state(self) -> str:
        """ "complete" when it trained to its last step; "imported" when only its measurements are here; else
        "interrupted"."""
        if self.has_recipe:
            return "complete" if self.summary.get("complete") else "interrupted"
        return "imported"

    @property
    def has_recipe(self) -> bool:
        """Whether its model is known, and with it its weights; not so of imported measurements."""
        return "resolved" in self.record

    @property
    def summary(self) -> dict[str, Any]:
        """`summary.json`, brought up to date at every evaluation; empty before the first. Raises `UsageError` when
        it is damaged."""
        file = self.folder / SUMMARY
        return read_part(file) if file.exists() else {}

    def rows(self) -> list[Row]:
        """All metrics rows in force, in order."""
        return read_metrics(self.folder / METRICS)

    def evaluations(self, *columns: str) -> list[Row]:
        """Evaluation rows, one a step. columns: those that are needed; none stands for all."""
        return self._rows("eval", columns)

    def train_rows(self, *columns: str) -> list[Row]:
        """Training rows, one a logged step. columns: those that are needed; none stands for all."""
        return self._rows("train", columns)

    def columns(self) -> list[str]:
        """Names of the columns that its rows may have, in the order in which they first stand."""
        if self.index is None:
            return _columns(self.rows())
        return self.index.recall("columns", self.folder, (METRICS,), self.rows, _columns)

    def _rows(self, event_type: str, columns: tuple[str, ...]) -> list[Row]:
        def take(rows: list[Row]) -> list[Row]:
            kind = [row for row in rows if row["event_type"] == event_type]
            if not columns:
                return kind
            return [{name: row[name] for name in columns if row.get(name) is not None} for row in kind]

        if self.index is None or not columns:
            return take(self.rows())
        return self.index.recall(" ".join((event_type, *columns)), self.folder, (METRICS,), self.rows, take)


def _columns(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def open_run(folder: Path) -> StoredRun:
    """The run in a folder. Raises `UsageError` when its record is damaged."""
    return StoredRun(folder, read_part(folder / RECIPE))


def read_part(file: Path) -> dict[str, Any]:
    """A small file of a record, checked against its shape. Raises `UsageError` when it is damaged."""
    expected, must = _SHAPES.get(file.name, ({}, ()))
    found: Any = None
    try:
        found = read_json(file)
        wrong = misfit(found, expected, must)
    except ValueError as error:
        wrong = str(error)
    if wrong:
        raise UsageError(f"{file}: damaged: {wrong}{_way_out(file)}")
    return cast(dict[str, Any], found)


_SHAPES: Mapping[str, tuple[Shape, tuple[str, ...]]] = {
    RECIPE: (shape.RECORD, MUST["recipe"]),
    SUMMARY: (shape.SUMMARY, ()),
    ENVIRONMENT: (shape.ENVIRONMENT, ()),
    FAILURE: ({"message": shape.TEXT}, ("message",)),
}


def _way_out(file: Path) -> str:
    again = file.name in (SUMMARY, ENVIRONMENT, FAILURE)
    return ". Remove this file: `fvlm run` writes it again" if again else ""


def no_run(folder: Path) -> str:
    """Why a folder is no run, and what to give instead."""
    for depth, store in ((f"*/*/{RECIPE}", folder), (f"*/{RECIPE}", folder.resolve().parent)):
        if count := sum(1 for _ in folder.glob(depth)):
            runs = "1 run" if count == 1 else f"{count} runs"
            name = "" if store == folder else f" {folder.resolve().name}"
            return f"{folder}: a folder of {runs}, not a run; give --runs {store}{name}"
    return (
        f"{folder}: a folder without {RECIPE}, so no run; expected a run's folder or name; `fvlm runs list` shows "
        "those that are kept"
    )


def find_run(name: str, root: Path) -> StoredRun:
    """A run by its folder, there or in the store, by "recipe/id", or by its id alone when that is unambiguous. Raises
    `UsageError`. Other runs whose record is damaged do not matter."""
    for folder in (user_path(name), root / name):
        if (folder / RECIPE).is_file():
            return open_run(folder)
    runs: list[StoredRun] = []
    for file in root.glob(f"*/*/{RECIPE}"):
        with suppress(OSError, UsageError):
            runs.append(open_run(file.parent))
    runs = in_order(runs)
    found = [run for run in runs if name in (run.id, f"{run.recipe}/{run.id}")]
    if len(found) == 1:
        return found[0]
    names = [f"{run.recipe}/{run.id}" for run in found or runs]
    if found:
        raise UsageError(f'"{name}" is the id of several runs under {root}: {listed(names)}')
    if Path(name).is_dir():
        raise UsageError(no_run(Path(name)))
    near = get_close_matches(name, [*names, *(run.id for run in runs)], n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    there = f"; runs there: {listed(names)}" if names and not hint else ""
    raise UsageError(f'no run folder and no run under {root} is called "{name}"{hint}{there}')


def list_runs(root: Path, passed_over: Callable[[str], None] | None = None) -> list[StoredRun]:
    """Every run under a run store, by recipe and in the order the recipe has them.

    passed_over: is told of every run whose record is damaged; without it, the first of them is a `UsageError`.
    """
    runs: list[StoredRun] = []
    for file in root.glob(f"*/*/{RECIPE}"):
        try:
            runs.append(open_run(file.parent))
        except (OSError, UsageError) as error:
            if passed_over is None:
                raise
            passed_over(f"{file.parent.parent.name}/{file.parent.name} is passed over: {error}")
    return in_order(runs)


def in_order(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Runs by recipe and in the order the recipe has them, each once."""
    each = {run.folder: run for run in runs}
    return sorted(each.values(), key=lambda run: (run.recipe, run.record["order"], run.id))
