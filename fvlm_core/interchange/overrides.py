"""What a user knows of imported runs that the files do not say, or say wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from attrs import frozen

from fvlm_core.interchange.measured import MeasuredRun
from fvlm_core.utils.errors import Problem, Problems
from fvlm_core.utils.parse_number import parse_count
from fvlm_registry.nearest import did_you_mean


@frozen
class Given:
    """Texts KEY=VALUE. A key is a run's id, a pattern for ids, or (for `total_params`) a size.

    samples_per_step: makes D of evaluations that only say their step.
    """

    total_params: tuple[str, ...] = ()
    size: tuple[str, ...] = ()
    schedule: tuple[str, ...] = ()
    samples_per_step: tuple[str, ...] = ()


def apply_given(given: Given, runs: Sequence[MeasuredRun]) -> dict[str, dict[str, int | str]]:
    """Put the values into the runs, summaries included; what was given, by run. Sizes come first: a count may be
    given for them. Raises `Problems` for keys that are of no run and values that cannot be."""
    problems: list[Problem] = []
    out: dict[str, dict[str, int | str]] = {}
    for option, column, texts in (
        ("--size", "model_size", given.size),
        ("--schedule", "lr_schedule", given.schedule),
        ("--total-params", "total_params", given.total_params),
        ("--samples-per-step", "samples_per_step", given.samples_per_step),
    ):
        chosen: dict[str, int | str] = {}
        for text in texts:
            key, equals, value = (part.strip() for part in text.rpartition("="))
            if not (key and equals and value):
                example = _EXAMPLES.get(column, "135M-C4-F=135M")
                problems.append(Problem(f'{option}: expected KEY=VALUE, such as {example}, got "{text}"'))
                continue
            meant = _meant(key, runs, sizes=column == "total_params")
            if not meant:
                known = [label for run in runs for label in (run.id, run.size) if label]
                near = did_you_mean(key, known)
                problems.append(Problem(f'{option}: no run{_or_size(column)} is called "{key}"{near}'))
            number = parse_count(value) if column in _COUNTED else None
            if column in _COUNTED and not (number and number > 0 and number == int(number)):
                expected = f"a whole number of {_COUNTED[column]}"
                problems.append(Problem(f'{option}: expected {expected}, got "{value}"'))
                continue
            chosen |= {run.id: value if number is None else int(number) for run in meant}
        for run in runs:
            if run.id in chosen:
                value = chosen[run.id]
                out.setdefault(run.id, {})[column] = value
                if column == "model_size":
                    run.size = str(value)
                elif column == "lr_schedule":
                    run.schedule = str(value)
                elif column == "samples_per_step":
                    run.count_samples(int(value))
                    continue
                else:
                    run.total_params = int(value)
                if run.summary is not None:
                    run.summary[column] = value
    if problems:
        raise Problems(problems)
    return out


_COUNTED = {"total_params": "parameters", "samples_per_step": "samples"}
_EXAMPLES = {"total_params": "360M=384912384", "samples_per_step": "'*=32'"}


def _or_size(column: str) -> str:
    return " and no size" if column == "total_params" else ""


def _meant(key: str, runs: Sequence[MeasuredRun], *, sizes: bool) -> list[MeasuredRun]:
    """A run's own id before a size, and a size before a pattern."""
    named = [run for run in runs if run.id == key]
    sized = [run for run in runs if sizes and run.size == key]
    return named or sized or [run for run in runs if fnmatchcase(run.id, key)]
