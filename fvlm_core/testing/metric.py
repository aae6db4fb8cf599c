"""What a metric promises; see `Metric`. It is tried on answers that are right, wrong, empty and of many writings."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from attrs import evolve

from fvlm_core.interfaces.metric import Answer, Metric
from fvlm_core.testing.finding import Promise, expect, promises, skip
from fvlm_core.testing.subject import ComponentUnderTest

PROMISES: list[Promise] = []

_QUESTION = "Which one moves?\nA. the red square\nB. the blue circle\nC. nothing\nAnswer with the letter."
_CHOICES = ("the red square", "the blue circle", "nothing")
_SAID = (  # generated, reference
    ("a red square moves left", "A red square moves to the left."),
    ("a red square moves to the left", "A red square moves to the left."),
    ("a blue circle", "A red square moves to the left."),
    ("", "A red square moves to the left."),
    ("red red red red red red red red red red", "red"),
    ("Ein Quadrat fährt nach links.", "Ein Quadrat fährt nach links!"),
    ("红色方块", "红色方块向左移动"),
    (" \n\t", "two  squares"),
    ("7", "7.0"),
    ("?!", "..."),
)
ANSWERS = (
    *(Answer(f"s{at}", "tried", "Describe the clip.", *said) for at, said in enumerate(_SAID)),
    *(
        Answer(f"c{at}", "tried", _QUESTION, said, "B", _CHOICES, 1)
        for at, said in enumerate(
            ("B", "b.", "(C)", "The answer is B.", "the blue circle", "", "none of them")
        )
    ),
)


class Judge:
    """The metric under test."""

    def __init__(self, subject: ComponentUnderTest) -> None:
        self.component = subject.component
        self.config = subject.config
        self.target = subject.load()

    @cached_property
    def metric(self) -> Any:
        """As built."""
        return self.target(self.config)

    @cached_property
    def scores(self) -> list[Any]:
        """Of all the answers."""
        return self.score(ANSWERS)

    def score(self, answers: Sequence[Answer]) -> list[Any]:
        """Of these answers."""
        return list(self.metric.score(answers))


def prepare(subject: ComponentUnderTest) -> Judge:
    """The metric under test."""
    return Judge(subject)


@promises(PROMISES, "build(config) makes a metric", Metric, "The component's target is")
def _build(judge: Judge) -> None:
    made = judge.metric
    expect(isinstance(made, Metric), f"{judge.component.target} makes a {type(made).__name__}")


@promises(PROMISES, "its column has a name", Metric, "column: the name of its column in evaluations")
def _column(judge: Judge) -> None:
    column = getattr(judge.metric, "column", None)
    named = isinstance(column, str) and re.fullmatch(r"[a-z][a-z0-9_]*", column)
    expect(named, f"column is {column!r}")


@promises(PROMISES, "every answer has its score", Metric.score, "One score for each answer")
def _each(judge: Judge) -> None:
    expect(len(judge.scores) == len(ANSWERS), f"{len(ANSWERS)} answers have {len(judge.scores)} scores")
    expect(not judge.score(()), "no answer has a score")


@promises(PROMISES, "scores are finite numbers", Metric.score, "One score for each answer")
def _finite(judge: Judge) -> None:
    for answer, score in zip(ANSWERS, judge.scores, strict=False):
        number = score is None or (isinstance(score, int | float) and math.isfinite(score))
        expect(number, f"{_shown(answer)} scores {score!r}")
    expect(any(score is not None for score in judge.scores), f"none of {len(ANSWERS)} answers has a score")


@promises(
    PROMISES, "an answer's score is its own", Metric.score, "An answer's score is a function of that answer"
)
def _alone(judge: Judge) -> None:
    expect(
        judge.score(ANSWERS) == judge.scores, "the same answers score otherwise when they are asked for again"
    )
    backwards = judge.score(ANSWERS[::-1])[::-1]
    for answer, score, other in zip(ANSWERS, judge.scores, backwards, strict=False):
        expect(
            score == other, f"{_shown(answer)} scores {score}, and {other} among the same in another order"
        )
        [alone] = judge.score([answer])
        expect(score == alone, f"{_shown(answer)} scores {score} among others and {alone} alone")


@promises(PROMISES, "a second one scores alike", Metric, "config score alike")
def _again(judge: Judge) -> None:
    other = list(judge.target(judge.config).score(ANSWERS))
    for answer, score, again in zip(ANSWERS, judge.scores, other, strict=False):
        expect(
            score == again, f"{_shown(answer)} scores {score}, and {again} by a second metric of this config"
        )


@promises(PROMISES, "the reference scores highest", Metric.score, "A larger score is a better answer")
def _best(judge: Judge) -> None:
    right = judge.score([evolve(answer, generated=answer.reference) for answer in ANSWERS])
    compared = 0
    for answer, score, best in zip(ANSWERS, judge.scores, right, strict=False):
        if score is not None and best is not None:
            compared += 1
            expect(score <= best, f"{_shown(answer)} scores {score}, and the reference itself {best}")
    if not compared:
        skip("no answer has a score beside its reference")
    apart = any(score != best for score, best in zip(judge.scores, right, strict=False))
    expect(apart, "every answer scores as the right one does")


def _shown(answer: Answer) -> str:
    return f'"{answer.generated.strip()}" for "{answer.reference}"'
