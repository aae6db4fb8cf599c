"""Trackers: mirrors of a run's metrics in somebody's tool. Imports nothing heavy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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


@frozen(eq=False)
class Prediction:
    """What the model said of a validation sample at an evaluation.

    id: "source/id". prompt, reference, generated: the question, the right answer, the model's own. scores: by metric,
    None where it says nothing of the sample. category: of the sample, empty where it has none. frames: uint8 RGB
    [T, 3, H, W], all that the model saw; T is 0 of a text, and of samples beyond the first few. gaze: by pass of the
    connector, each frame's attention on its patches, float32 [T, rows, columns]; empty where it has no queries.
    """

    id: str
    prompt: str
    reference: str
    generated: str
    scores: Mapping[str, float | None]
    category: str
    frames: NDArray[np.uint8]
    gaze: Mapping[str, NDArray[np.float32]]


class Tracker(ABC):
    """Takes the rows of one attempt of one run, and what else there is to show of it.

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

    def predicted(self, step: int, predictions: Sequence[Prediction]) -> None:
        """What the model said of some validation samples, the same ones each time, after step `step`.

        Called after evaluations of runs whose recipes have `[[eval.metrics]]`: no others are asked anything.
        """
        return

    def artefact(self, file: Path) -> None:
        """Keep a file with the run: its report, one HTML file of some MB.

        Called where the component's config has a field `report` (see `fvlm report --track`), by nobody else.
        """
        return

    def close(self) -> None:
        """The attempt is over: flush what is open. A run waits a few seconds for it, no longer."""
        return


def prediction_table(predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
    """The texts and scores of predictions, as columns of a table: `sample`, `category` where one has any, `prompt`,
    `truth`, `generated`, and one of each metric."""
    metrics = dict.fromkeys(name for each in predictions for name in each.scores)
    categories = {"category": [each.category for each in predictions]}
    return {
        "sample": [each.id for each in predictions],
        **(categories if any(categories["category"]) else {}),
        "prompt": [each.prompt for each in predictions],
        "truth": [each.reference for each in predictions],
        "generated": [each.generated for each in predictions],
        **{name: [each.scores.get(name) for each in predictions] for name in metrics},
    }


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
