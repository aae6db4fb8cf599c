"""The data source: captions at once, clips when they are asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from random import Random

from filelock import FileLock

from fvlm_core.plugin_api import DataSource, FrameArray, Progress, Sample, Split, Turn, VideoFile
from fvlm_shapes.config import CATEGORIES, MOST_CARDS, Shapes
from fvlm_shapes.pairs import worse
from fvlm_shapes.questions import Questioned
from fvlm_shapes.render import Film, render
from fvlm_shapes.scenes import Pictures, Scene

_DRAWS = ("draw.py", "draws.py", "questions.py", "render.py", "scenes.py", "signals.py")
"""The modules that decide what the files hold: when one changes, nothing is taken from the cache of before."""


def build(config: Shapes, split: Split) -> ShapesSource:
    """The clips of one split."""
    return ShapesSource(config, split)


class ShapesSource(DataSource):
    """Clips of one level, seed and split. Captions need no file; `prepare` draws the files that are missing."""

    def __init__(self, config: Shapes, split: Split) -> None:
        self.name = "shapes"
        self.config = config
        self._series = f"{config.level}-{_told_apart(config)}{config.seed}-{split}"
        self.film = Film(
            *(
                _cache_folder(config),
                config.level,
                config.seed,
                split,
                config.frames,
                config.asked,
                config.cards,
            )
        )

    def __len__(self) -> int:
        return self.config.clips if self.film.split == "train" else self.config.validation_clips

    def __getitem__(self, index: int) -> Sample:
        config, drawn = self.config, self.film.scene(index)
        asked = drawn if isinstance(drawn, Questioned) else None
        return Sample(
            self.sample_id(index),
            self.name,
            (Turn("user", self._question(drawn)), Turn("assistant", drawn.caption())),
            None if config.text_only else self._file(index) if config.files else self._pictures(drawn),
            rejected=self._rejected(index, drawn) if config.pairs else (),
            nats=None if config.text_only else drawn.nats(),
            category=asked.kind() if asked else "",
            chance=asked.chance() if asked else None,
        )

    def sample_id(self, index: int) -> str:
        """Nothing is drawn for it."""
        return f"{self._series}-{index:06d}"

    def texts(self) -> Iterator[str]:
        """As `DataSource` has them, without the rest of each sample."""
        for index in range(len(self)):
            drawn = self.film.scene(index)
            yield self._question(drawn)
            yield drawn.caption()
            if self.config.pairs:
                yield from (turn.content for turn in self._rejected(index, drawn))

    def prepare(self, progress: Progress) -> None:
        """Draw what is missing, and write a manifest that the `clips` source reads. One process at a time draws."""
        if self.config.text_only or not self.config.files:
            return
        self.film.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.film.folder / f".{self.film.split}.lock"):
            missing = self.film.missing(len(self))
            if missing:
                render(self.film, missing, progress)
            self._write_manifest()

    def _question(self, drawn: Scene) -> str:
        return drawn.prompt() if isinstance(drawn, Questioned) else self.config.prompt

    def _rejected(self, index: int, drawn: Scene) -> tuple[Turn, ...]:
        film = self.film
        random = Random(f"worse/{film.level}/{film.seed}/{film.split}/{index}")
        return Turn("user", self.config.prompt), Turn("assistant", worse(drawn, random))

    def _file(self, index: int) -> VideoFile:
        frames = self.config.frames
        return VideoFile(self.film.file(index), max_frames=self.config.shown or frames, seconds=frames)

    def _pictures(self, drawn: Scene) -> FrameArray:
        frames = self.config.frames
        return FrameArray(Pictures(drawn, frames), rate=1.0, max_frames=self.config.shown or frames)

    def _write_manifest(self) -> None:
        """One row a clip; a manifest that lists as many or more stays."""
        file = self.film.folder / f"{self.film.split}.jsonl"
        if file.exists() and file.read_bytes().count(b"\n") >= len(self):
            return
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        with temporary.open("w", encoding="utf-8") as out:
            for index in range(len(self)):
                video, drawn = (
                    self.film.file(index).relative_to(self.film.folder).as_posix(),
                    self.film.scene(index),
                )
                asked = {"question": drawn.prompt()} if isinstance(drawn, Questioned) else {}
                out.write(json.dumps({"video": video, **asked, "caption": drawn.caption()}) + "\n")
        temporary.rename(file)


def _told_apart(config: Shapes) -> str:
    """What tells clips that are asked less from those of all categories and cards: two sources may have both."""
    if (config.asked, config.cards) == (CATEGORIES, MOST_CARDS):
        return ""
    initials = "+".join(category.replace(" ", "_") for category in config.asked)
    return f"{initials}-of-{config.cards}-"


def _cache_folder(config: Shapes) -> Path:
    """Named by a hash of everything that decides the files: how many there are does not."""
    digest = blake2b(digest_size=6)
    for name in _DRAWS:
        digest.update((Path(__file__).parent / name).read_bytes())
    digest.update(repr((config.seed, config.frames, version("av"), version("pillow"))).encode())
    digest.update(_told_apart(config).encode())
    return config.cache / f"{config.level}-{digest.hexdigest()}"
