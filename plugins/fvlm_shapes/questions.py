"""Clips that are asked about: what, where, when, how many, which came first.

In every frame at most one card is seen, anywhere, for that frame alone. A question is of one of the categories in turn,
and the clip is drawn for it, so that all its possible answers are equally likely: who sees nothing is right by chance.
"""

from __future__ import annotations

from random import Random
from typing import ClassVar

from attrs import frozen
from PIL import Image

from fvlm_shapes.config import MOST_CARDS, Category
from fvlm_shapes.draw import COLOURS, GLYPHS, SIDE, blank, card
from fvlm_shapes.draws import pick, several

PLACES = (
    *("top left", "top", "top right", "left", "centre", "right"),
    *("bottom left", "bottom", "bottom right"),
)
"""Of the nine cells, row by row."""

CHOICES = 4
"""Most choices of a question."""

_HEADS = tuple(COLOURS)[:MOST_CARDS]
_BODIES = GLYPHS[:8]


@frozen
class Event:
    """A card that is seen in one frame."""

    frame: int
    cell: int
    colour: str
    glyph: str


@frozen
class Questioned:
    """A clip and a question about it. category: what is asked. answers: all that it may have, equally likely.

    choices: those that are offered, in the order of their letters; empty where the answer is free.
    """

    side: ClassVar[int] = SIDE
    length: int
    events: tuple[Event, ...]
    category: str
    question: str
    answer: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()

    def prompt(self) -> str:
        """The question, a line; below it the choices, a line each."""
        offered = (f"{letter}. {choice}" for letter, choice in zip("ABCD", self.choices, strict=False))
        return "\n".join((self.question, *offered))

    def caption(self) -> str:
        """The right answer, or its letter."""
        return "ABCD"[self.choices.index(self.answer)] if self.choices else self.answer

    def kind(self) -> str:
        """The category, and whether there are choices: answers of the two kinds are scored apart."""
        return f"{self.category}, choices" if self.choices else self.category

    def chance(self) -> float:
        """The odds of a guess."""
        return 1 / len(self.choices or self.answers)

    def nats(self) -> float:
        """Nothing: the answer is decided by what is seen."""
        return 0.0

    def frames(self) -> list[Image.Image]:
        """One picture a second."""
        pictures = [blank() for _ in range(self.length)]
        for event in self.events:
            card(pictures[event.frame], event.cell, event.colour, event.glyph)
        return pictures


def draw(random: Random, category: Category, frames: int, cards: int, offered: bool) -> Questioned:
    """A clip and a question of a category. cards: most of the clip. offered: whether with choices, which change
    nothing else."""
    most = min(frames, cards)
    least = 2 if category == "which came first" else 1
    count = pick(random, range(least, most + 1))
    seconds = sorted(several(random, range(frames), count))
    colours = several(random, _HEADS, count)
    events = tuple(
        Event(second, pick(random, range(len(PLACES))), colour, pick(random, _BODIES))
        for second, colour in zip(seconds, colours, strict=True)
    )
    asked = pick(random, events)
    if category == "what":
        question, answer, answers = f"What is on the {asked.colour} card?", asked.glyph, _BODIES
    elif category == "where":
        question, answer, answers = f"Where is the {asked.colour} card?", PLACES[asked.cell], PLACES
    elif category == "when":
        answers = tuple(str(second + 1) for second in range(frames))
        question, answer = f"In which second is the {asked.colour} card seen?", str(asked.frame + 1)
    elif category == "how many":
        question, answer = "How many cards are seen?", str(count)
        answers = tuple(str(number) for number in range(least, most + 1))
    else:
        first, second = sorted(several(random, events, 2), key=lambda event: event.frame)
        answers = tuple(several(random, (first.colour, second.colour), 2))
        question = f"Which came first, the {answers[0]} or the {answers[1]} card?"
        answer = first.colour
    choices: tuple[str, ...] = ()
    if offered:
        wrong = several(random, [one for one in answers if one != answer], min(CHOICES, len(answers)) - 1)
        choices = tuple(several(random, (answer, *wrong), len(wrong) + 1))
    return Questioned(frames, events, category, question, answer, answers, choices)
