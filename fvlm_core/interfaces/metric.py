"""Metrics: what an answer that a model gave is worth, beside the right one. Imports nothing heavy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from attrs import frozen


@frozen
class Answer:
    """What a model said of one sample, with nothing but the question before it.

    id, source: of the sample. prompt: the user's last turn. generated: the model's answer; reference: the sample's own.
    choices: where the prompt is a multiple-choice question, the text of each choice, the first one's letter being A;
    right: the index of the one that the reference names. None without choices. category, chance: of the sample.
    """

    id: str
    source: str
    prompt: str
    generated: str
    reference: str
    choices: tuple[str, ...] = ()
    right: int | None = None
    category: str = ""
    chance: float | None = None


class Metric(ABC):
    """Scores answers one by one. The component's target is `build(config) -> Metric`; all metrics that are built of one
    config score alike, so that a run that continues measures what it did before.

    What stands in the metrics of a run is the mean of the scores over the samples with its interval at 95 %, which the
    core makes of them: a metric knows neither.

    column: the name of its column in evaluations, lower-case letters, digits and _, a letter first; the ends of the
    interval are the columns `COLUMN_low` and `COLUMN_high`.
    """

    column: str

    @abstractmethod
    def score(self, answers: Sequence[Answer]) -> Sequence[float | None]:
        """One score for each answer, in their order: a finite number, or None for one that it says nothing of.

        An answer's score is a function of that answer alone: it depends neither on the others nor on how often it is
        asked for. A larger score is a better answer, and no answer scores higher than the reference itself.
        """
