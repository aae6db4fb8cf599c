"""What a recipe says of the rendered clips. Imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from attrs import field, frozen
from attrs.validators import ge, in_, min_len

Level = Literal["easy", "gaze"]


def _cache() -> Path:
    return Path(os.environ.get("FVLM_CACHE", "~/.cache/fvlm")).expanduser() / "shapes"


@frozen(kw_only=True)
class Shapes:
    """Rendered clips.

    level: `easy` is what is seen in the clip; `gaze` is what can only be told by looking at the right place at the
    right time. clips, validation_clips: how many of each split. frames: of a clip, one a second. seed: of the scenes.
    prompt: the user's turn. pairs: whether each clip comes with a worse caption, wrong in one word, for preference
    training. cache: where the files are kept; they are drawn once and shared by all recipes.
    """

    level: Level = field(default="easy", validator=in_(("easy", "gaze")))
    clips: int = field(default=4096, validator=ge(1))
    validation_clips: int = field(default=256, validator=ge(1))
    frames: int = field(default=4, validator=ge(2))
    seed: int = field(default=0, validator=ge(0))
    prompt: str = field(default="Describe the clip.", validator=min_len(1))
    pairs: bool = False
    cache: Path = field(factory=_cache)
