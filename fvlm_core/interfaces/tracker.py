"""Trackers: mirrors of a run's metrics in somebody's tool. Imports nothing heavy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen


@frozen
class TrackedRun:
    """The run that a tracker mirrors.

    recipe, id: its names. folder: the run's own; a tracker may write into a folder of its own there. resolved: the
    recipe, every default filled in, as JSON values. from_step: the step it begins or continues at: rows of later steps
    that an earlier attempt wrote are superseded.
    """

    recipe: str
    id: str
    folder: Path
    resolved: Mapping[str, Any]
    from_step: int


class Tracker(ABC):
    """Takes the rows of one attempt of one run.

    The component's target is `build(config, run: TrackedRun) -> Tracker`; its module is imported before training, and
    everything else happens in a thread that the run does not wait for. Rows wait in a bounded queue; when a tracker is
    slower than the run, rows are left out of the mirror and counted. An exception ends the mirror, is said once,
    and never reaches the run, whose own record (`metrics.jsonl`) needs no tracker.
    """

    @abstractmethod
    def log(self, row: Mapping[str, Any]) -> None:
        """One row of the metrics, as in `metrics.jsonl`: `event_type` is "train" or "eval", `step` an int.

        Rows come in order. Values are numbers, None where nothing is known, strings, or tables of numbers.
        """

    def close(self) -> None:
        """The attempt is over: flush what is open. A run waits a few seconds for it, no longer."""
        return


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row by "train/NAME" or "eval/NAME", those of tables as "train/NAME/KEY"; no step, no attempt."""
    return {f"{row['event_type']}/{name}": value for name, value in _numbers(row, "")}


def _numbers(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name not in _NO_SCALAR:
            yield f"{prefix}{name}", float(value)


_NO_SCALAR = ("step", "attempt")
