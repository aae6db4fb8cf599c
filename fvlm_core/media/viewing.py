"""How a model is shown things: as its training data showed them, whatever command or export shows it anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from attrs import evolve, field, fields, frozen
from attrs.validators import ge, gt, lt
from numpy.typing import NDArray

from fvlm_core.interfaces.data import Fit, ImageFile, Sample, Turn, VideoFile
from fvlm_core.interfaces.decoder import Decoder
from fvlm_core.media.frames import decode_frames
from fvlm_core.media.moving_pictures import shows_still

QUESTION = "Describe what happens in this video."
"""What is asked where no question of the training data is the same for all of a source's samples."""


@frozen(kw_only=True)
class Shown:
    """How one source of the training data shows its videos, or its pictures.

    weight: its share of the training data. fps, max_frames: of its videos; None where that is not recorded. fit: of its
    pictures. prompt: the user's first turn, empty where every sample has one of its own. system: the system turn, empty
    where there is none.
    """

    source: str
    kind: Literal["videos", "pictures"]
    weight: float
    fps: float | None = None
    max_frames: int | None = None
    fit: Fit | None = None
    prompt: str = ""
    system: str = ""

    def __str__(self) -> str:
        said = [f'asked "{self.prompt}"'] if self.prompt else []
        if self.kind == "pictures":
            return ", ".join([f"{self.source}: pictures, {self.fit}", *said])
        chosen = [sampling(self.fps, self.max_frames)] if self.fps and self.max_frames else []
        return f"{self.source}: {', '.join([*chosen, *said]) or 'how its frames were chosen is not recorded'}"


@frozen(kw_only=True)
class Viewing:
    """How a model is shown things. Of several sources, the one with the largest share of the training data decides.

    size: side of a frame in pixels. fps, max_frames: frames a second of a video; one that would give more gives
    `max_frames`, evenly spaced. fit: how a picture becomes a square. repeats: frames that a lone picture makes.
    prompt, picture_prompt: the user's turn about a video, and about a picture. system: the system turn; empty for the
    chat format's own. source: what decided about videos (pictures, where there is no video); empty where no training
    data said anything. sources: all that there were, the largest share first.
    """

    size: int = field(validator=ge(1))
    fps: float = field(default=1.0, validator=[gt(0), lt(math.inf)])
    max_frames: int = field(default=64, validator=ge(1))
    fit: Fit = "letterbox"
    repeats: int = field(default=1, validator=ge(1))
    prompt: str = QUESTION
    picture_prompt: str = QUESTION
    system: str = ""
    source: str = ""
    sources: tuple[Shown, ...] = ()

    def frames(self, file: Path, decoder: Decoder | None = None) -> NDArray[np.uint8]:
        """What a model sees of a video or a picture: uint8 RGB [T, 3, size, size]. Raises `BadSample`.

        decoder: of videos, None for the core's own.
        """
        if shows_still(file):
            sample = Sample("", "", (), images=(ImageFile(file, fit=self.fit),))
        else:
            sample = Sample("", "", (), VideoFile(file, self.fps, self.max_frames, decoder=decoder))
        return decode_frames(sample, self.size, self.repeats)

    def question(self, file: Path) -> str:
        """What the user asks about a file."""
        return self.picture_prompt if shows_still(file) else self.prompt

    def asked(self, question: str) -> list[Turn]:
        """The chat up to a question."""
        return [*([Turn("system", self.system)] if self.system else []), Turn("user", question)]

    def told(self, **otherwise: Any) -> Viewing:
        """With what somebody says instead, by name; None stands for nothing. A `prompt` is one about pictures too.

        Raises ValueError for a value that cannot be.
        """
        said = {name: value for name, value in otherwise.items() if value is not None}
        if "prompt" in said:
            said["picture_prompt"] = said["prompt"]
        return evolve(self, **said)

    def note(self, otherwise: Mapping[str, Any], *, pictures: bool = False) -> str:
        """How things are shown, where that comes from, and what else there was, in one line.

        otherwise: what `told` is given. pictures: whether any are shown.
        """
        said = {name: value for name, value in otherwise.items() if value is not None}
        now = self.told(**said)
        told = [f"{name} {value} in place of {getattr(self, name)}" for name, value in said.items()]
        origin = (
            f"as in training on {self.source}"
            if self.source
            else "by default, for no record says how in training"
        )
        parts = [f"{origin}{', but ' if told else ''}{', '.join(told)}: {now._video()}"]
        if pictures or any(shown.kind == "pictures" for shown in self.sources):
            parts.append(now._picture())
        if now.system:
            parts.append(f'system turn "{now.system}"')
        others = [
            str(shown) for shown in self.sources if shown.source != self.source and self._differs(shown)
        ]
        if others:
            parts.append(f"its other data were shown otherwise ({' · '.join(others)})")
        return "; ".join(parts)

    def _video(self) -> str:
        return f'{sampling(self.fps, self.max_frames)}, asked "{self.prompt}"'

    def _picture(self) -> str:
        frames = "1 frame" if self.repeats == 1 else f"{self.repeats} frames"
        return f'pictures {self.fit}, {frames}, asked "{self.picture_prompt}"'

    def _differs(self, shown: Shown) -> bool:
        if shown.kind == "pictures":
            return (shown.fit, shown.prompt or self.picture_prompt) != (self.fit, self.picture_prompt)
        own = (self.fps, self.max_frames, self.prompt)
        return (
            shown.fps or self.fps,
            shown.max_frames or self.max_frames,
            shown.prompt or self.prompt,
        ) != own


def sampling(fps: float, max_frames: int) -> str:
    """How frames are chosen, in words."""
    every = "1 frame a second" if fps == 1 else f"{fps:g} frames a second"
    return f"{every}, at most {max_frames}"


def viewing(sources: Sequence[Shown], size: int, *, repeats: int = 1, system: str = "") -> Viewing:
    """How a model is shown things that was trained on these sources.

    Of those that say something, the one with the largest share decides, the first of equal ones: about videos, about
    pictures, and about the question, where one source may know what another does not. system: the chat format's own.
    """
    ranked = sorted(sources, key=lambda shown: -shown.weight)
    videos = [shown for shown in ranked if shown.kind == "videos"]
    pictures = [shown for shown in ranked if shown.kind == "pictures"]

    def first(name: str, of: Sequence[Shown], otherwise: Any) -> Any:
        return next((value for shown in of if (value := getattr(shown, name))), otherwise)

    known = [shown for shown in videos if shown.fps]
    defaults = fields(Viewing)
    return Viewing(
        size=size,
        fps=first("fps", known, defaults.fps.default),
        max_frames=first("max_frames", known, defaults.max_frames.default),
        fit=first("fit", pictures, defaults.fit.default),
        repeats=repeats,
        prompt=first("prompt", [*videos, *pictures], QUESTION),
        picture_prompt=first("prompt", [*pictures, *videos], QUESTION),
        system=first("system", [*videos, *pictures], system),
        source=first("source", [*known, *videos, *pictures], ""),
        sources=tuple(ranked),
    )
