"""The model's own answers to validation samples, of a run's best and latest evaluations, and what they score.

`answers/step-00000320.jsonl` in the run's folder holds a JSON object an answer: `id` ("source/id"), `prompt`,
`reference`, `generated`, `scores` by metric (null where a metric says nothing of the sample), and `category` where the
sample has one. In the metrics a metric X is three columns of an evaluation: its mean X, and the ends X_low and X_high
of the mean's interval at 95 %. Where samples have categories, the column `answers_by_category` holds the same of each
of them, beside `answers`, how many there are, and `chance`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from attrs import asdict, fields, frozen

from fvlm_core.utils.atomic_files import read_rows, refuse_link, write_text
from fvlm_core.utils.errors import UsageError

ANSWERS = "answers"
BY_CATEGORY = "answers_by_category"
COUNT, CHANCE = "answers", "chance"
"""Of a category in that column: how many answers it has, and the odds of a guess."""


@frozen
class ScoredAnswer:
    """One answer. id: "source/id". scores: by metric, None where it says nothing of the sample. category: of the
    sample, empty where it has none."""

    id: str
    prompt: str
    reference: str
    generated: str
    scores: Mapping[str, float | None]
    category: str = ""


@frozen
class MetricMean:
    """A metric's mean over the samples and its interval, None where there is none; as an evaluation has it."""

    mean: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.mean is None:
            return "no sample"
        interval = (
            f" [{self.low:.4g}, {self.high:.4g}]" if self.low is not None and self.high is not None else ""
        )
        return f"{self.mean:.4g}{interval}"


def metric_names(columns: Iterable[str]) -> list[str]:
    """The metrics among the columns of evaluations, in their order: those beside which both ends stand."""
    there = dict.fromkeys(columns)
    return [name for name in there if f"{name}_low" in there and f"{name}_high" in there]


def metric_columns(columns: Iterable[str]) -> list[str]:
    """All the columns of metrics among these, each mean before its ends."""
    return [column for name in metric_names(columns) for column in (name, f"{name}_low", f"{name}_high")]


def metric_means(row: Mapping[str, Any]) -> dict[str, MetricMean]:
    """The metrics of an evaluation, by name."""
    found = {name: (row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in metric_names(row)}
    known = {
        name: values
        for name, values in found.items()
        if all(value is None or type(value) in (int, float) for value in values)  # a file may hold anything
    }
    return {name: MetricMean(*values) for name, values in known.items()}


def category_rows(row: Mapping[str, Any]) -> list[tuple[str, int, float | None, str, MetricMean]]:
    """Of an evaluation: category, how many answers, chance, metric, its mean there; a row a metric in a category."""
    kept = row.get(BY_CATEGORY) or {}
    return [
        (name, found.get(COUNT) or 0, found.get(CHANCE), metric, mean)
        for name, found in kept.items()
        for metric, mean in metric_means(found).items()
    ]


def write_answers(folder: Path, step: int, answers: Sequence[ScoredAnswer], best: int | None) -> None:
    """Write the answers of an evaluation below a run's folder; those of others than the one at step `best` go."""
    refuse_link(folder / ANSWERS)
    (folder / ANSWERS).mkdir(exist_ok=True)
    lines = [json.dumps(plain(each), ensure_ascii=False, allow_nan=False) for each in answers]
    file = _file(folder, step)
    if file.is_symlink():
        file.unlink()
    write_text(file, "".join(f"{line}\n" for line in lines))
    kept = {file, _file(folder, best) if best is not None else None}
    for other in (folder / ANSWERS).glob("step-*.jsonl"):
        if other not in kept:
            other.unlink()


def read_answers(folder: Path, step: int) -> list[ScoredAnswer] | None:
    """The answers of the evaluation at a step, in the set's order; None when they were not kept.

    Raises `UsageError`, naming the file, where it holds anything else, or cannot be read.
    """
    file = _file(folder, step)
    if not file.is_file():
        return None
    try:
        return [_answer(row, line) for line, row in read_rows(file)]
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {error}") from None


def plain(answer: ScoredAnswer) -> dict[str, Any]:
    """An answer as JSON has it."""
    found = asdict(answer)
    return found if answer.category else {name: value for name, value in found.items() if name != "category"}


def _answer(row: Any, line: int) -> ScoredAnswer:
    """Raises `ValueError` for what is no answer."""
    names = [field.name for field in fields(ScoredAnswer) if field.name not in ("scores", "category")]
    if not isinstance(row, dict) or {*row} - {"category"} != {*names, "scores"}:
        raise ValueError(f"line {line}: expected an object of {', '.join((*names, 'scores'))}")
    found = ScoredAnswer(**cast("dict[str, Any]", row))
    given = asdict(found)
    if wrong := [name for name in (*names, "category") if not isinstance(given[name], str)]:
        raise ValueError(f"line {line}: {wrong[0]}: expected a text, got {given[wrong[0]]!r}")
    scores: Any = given["scores"]
    numbers = scores.values() if isinstance(scores, dict) else [scores, ""]
    if not all(value is None or type(value) in (int, float) for value in numbers):
        raise ValueError(f"line {line}: scores: expected a number or null by metric, got {scores!r}")
    return found


def _file(folder: Path, step: int) -> Path:
    return folder / ANSWERS / f"step-{step:08d}.jsonl"
