"""What a recipe says of the rendered clips. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from attrs import evolve, field, frozen
from attrs.validators import deep_iterable, ge, in_, le, min_len

from fvlm_core.plugin_api import cache_folder

Level = Literal["easy", "gaze", "signals", "questions", "choices"]

ASKED = ("questions", "choices")
"""Levels that ask questions of their own."""

Category = Literal["what", "where", "when", "how many", "which came first"]

CATEGORIES: tuple[Category, ...] = get_args(Category)

MOST_CARDS = 8
"""Of a clip that is asked about: each has a colour of its own."""

_COMPARED = ("how many", "which came first")
"""Questions that a single card leaves nothing of."""

_PROMPT = "Describe the clip."

_FEW = 64
"""Clips of a rehearsal."""

_STAND_IN = 1000
"""Seeds of stand-ins begin here, so that they are nobody else's clips."""


@frozen(kw_only=True)
class Shapes:
    """Rendered clips.

    level: `easy` is what is seen in the clip; `gaze` is what can only be told by looking at the right place at the
    right time; `signals` is told in words drawn at stated odds, so that the least loss is known; `questions` asks
    what, where, when, how many and which came first, and `choices` the same with choices to pick from. categories: of
    the questions, in turns; none: all five. cards: most of a clip that is asked about. clips, validation_clips: how
    many of each split. frames: of a clip, one a second. shown: of these, evenly spaced; 0: all. seed: of the scenes.
    prompt: the user's turn, where the level asks nothing itself. files: whether clips are encoded as H.264 files, which
    are decoded as any other; without, the model gets the pictures as they were drawn, and nothing is kept. pairs:
    whether each clip comes with a worse caption, wrong in one word, for preference training. text_only: captions
    without clips. cache: where the files are kept; they are drawn once and shared by all recipes.
    """

    level: Level = field(default="easy", validator=in_(get_args(Level)))
    categories: tuple[Category, ...] = field(default=(), validator=deep_iterable(in_(CATEGORIES)))
    cards: int = field(default=MOST_CARDS, validator=[ge(1), le(MOST_CARDS)])
    clips: int = field(default=4096, validator=ge(1))
    validation_clips: int = field(default=256, validator=ge(1))
    frames: int = field(default=4, validator=ge(2))
    shown: int = field(default=0, validator=ge(0))
    seed: int = field(default=0, validator=ge(0))
    prompt: str = field(default=_PROMPT, validator=min_len(1))
    files: bool = True
    pairs: bool = False
    text_only: bool = False
    cache: Path = field(factory=lambda: cache_folder("shapes"))

    def __attrs_post_init__(self) -> None:
        if self.shown > self.frames:
            raise ValueError(f"shown: expected at most {self.frames}, the frames of a clip, got {self.shown}")
        if self.pairs and self.level not in ("easy", "gaze"):
            what = "caption of a signal" if self.level == "signals" else "wrong answer"
            raise ValueError(f'pairs: no {what} is worse than another; expected level "easy" or "gaze"')
        if self.level not in ASKED:
            for name, given in (("categories", self.categories), ("cards", self.cards < MOST_CARDS)):
                if given:
                    raise ValueError(f'{name}: level "{self.level}" asks nothing; expected none')
        elif self.cards == 1 and (compared := [one for one in self.asked if one in _COMPARED]):
            raise ValueError(
                f'cards: "{compared[0]}" is asked of several; expected at least 2, or other categories, got 1'
            )
        if len({*self.categories}) < len(self.categories):
            raise ValueError(f"categories: expected each once, got {', '.join(self.categories)}")
        if self.text_only and self.level in ASKED:
            raise ValueError("text_only: without its clip a question has no answer; expected false")
        if self.level in ASKED and self.prompt != _PROMPT:
            raise ValueError(
                f'prompt: clips of level "{self.level}" come with questions of their own; expected none, got '
                f'"{self.prompt}"'
            )
        if self.pairs and self.text_only:
            raise ValueError("text_only: pairs are two captions of a clip; expected false")

    @property
    def asked(self) -> tuple[Category, ...]:
        """The categories of the questions."""
        return self.categories or CATEGORIES

    def floor(self) -> str:
        """The least loss there can be, in words."""
        from fvlm_shapes.signals import SAID, entropy

        if self.level != "signals":
            return "0 nats: all that is said is decided by what is seen"
        word = entropy()
        return (
            f"{word:.4f} nats a word, {SAID * word:.4f} a caption of {SAID} words: with a token for each word and the "
            f"2 that end the answer, {SAID * word / (SAID + 2):.4f} a token"
        )

    def rehearsal(self) -> Shapes:
        """Fewer clips, for rehearsals."""
        few = {"clips": min(self.clips, _FEW), "validation_clips": min(self.validation_clips, _FEW // 4)}
        return evolve(self, **few)

    @classmethod
    def stand_in(
        cls, *, seed: int, contents: Literal["clips", "text", "pairs"], prompt: str | None
    ) -> Shapes:
        """What takes the place of other data in rehearsals."""
        return cls(
            clips=_FEW,
            validation_clips=_FEW // 4,
            seed=_STAND_IN + seed,
            prompt=prompt or _PROMPT,
            pairs=contents == "pairs",
            text_only=contents == "text",
        )


LONGEST = 512
"""Frames of a video with a needle, at most."""


@frozen(kw_only=True)
class Needles:
    """Long videos in which a coloured flag is shown for a few frames, and asked for.

    lengths: of the videos, in frames, which take turns; one a second. depths: where the flag is, from 0 (it begins the
    video) to 1 (it ends it), in turns; none: anywhere, all places equally likely. shown: frames that show it. clips,
    validation_clips: how many of each split. seed: of the videos.
    """

    lengths: tuple[int, ...] = field(
        default=(8, 16, 32), validator=[min_len(1), deep_iterable([ge(2), le(LONGEST)])]
    )
    depths: tuple[float, ...] = field(default=(), validator=deep_iterable([ge(0), le(1)]))
    shown: int = field(default=3, validator=ge(1))
    clips: int = field(default=4096, validator=ge(1))
    validation_clips: int = field(default=256, validator=ge(1))
    seed: int = field(default=0, validator=ge(0))

    def __attrs_post_init__(self) -> None:
        if self.shown > min(self.lengths):
            raise ValueError(
                f"shown: expected at most {min(self.lengths)}, the frames of the shortest video, got {self.shown}"
            )

    def floor(self) -> str:
        """The least loss there can be, in words."""
        return "0 nats: all that is said is decided by what is seen"

    def rehearsal(self) -> Needles:
        """Fewer and shorter videos, for rehearsals."""
        short = tuple(min(length, max(8, self.shown)) for length in self.lengths)
        few = {"clips": min(self.clips, _FEW), "validation_clips": min(self.validation_clips, _FEW // 4)}
        return evolve(self, lengths=short, **few)
