"""The data source: captions at once, clips when they are asked for."""

from __future__ import annotations

import json
import os
from functools import cached_property
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

from attrs import define
from filelock import FileLock

from fvlm_core.interfaces import DataSource, Progress, Sample, Split, Turn, VideoFile
from fvlm_shapes.config import Shapes
from fvlm_shapes.render import clip_file, render
from fvlm_shapes.scenes import scene

_DRAWING = 1
"""Raise it when the same scene is drawn differently: files of another drawing are never mixed."""


@define(slots=False)
class ShapesSource(DataSource):
    """Clips of one level, seed and split. Captions need no file; the clips of both splits are drawn together."""

    config: Shapes
    split: Split
    name: str = "shapes"

    @cached_property
    def folder(self) -> Path:
        """The cache folder of everything that decides the pixels."""
        config = self.config
        decides = (_DRAWING, config.level, config.seed, config.frames, version("av"))
        digest = blake2b(repr(decides).encode(), digest_size=6).hexdigest()
        return config.cache / f"{config.level}-{digest}"

    def __len__(self) -> int:
        return self.config.clips if self.split == "train" else self.config.validation_clips

    def __getitem__(self, index: int) -> Sample:
        config = self.config
        drawn = scene(config.level, config.seed, self.split, index, config.frames)
        return Sample(
            f"{config.level}-{config.seed}-{self.split}-{index:06d}",
            self.name,
            (Turn("user", config.prompt), Turn("assistant", drawn.caption())),
            VideoFile(clip_file(self.folder, self.split, index), seconds=config.frames),  # one frame a second
        )

    def prepare(self, progress: Progress) -> None:
        """Draw what is missing, and write a manifest that the `clips` source reads. One process at a time draws."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            wanted = [
                (self.split, index)
                for index in range(len(self))
                if not clip_file(self.folder, self.split, index).exists()
            ]
            if not wanted:
                return
            config = self.config
            render(self.folder, config.level, config.seed, config.frames, wanted, progress)
            self._write_manifest()

    def _write_manifest(self) -> None:
        file = self.folder / f"{self.split}.jsonl"
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        with temporary.open("w") as out:
            for index in range(len(self)):
                sample = self[index]
                assert sample.video is not None
                video = sample.video.path.relative_to(self.folder)
                out.write(json.dumps({"video": str(video), "caption": sample.turns[-1].content}) + "\n")
        temporary.rename(file)


def build(config: Shapes, split: Split) -> ShapesSource:
    """The clips of one split."""
    return ShapesSource(config, split)
