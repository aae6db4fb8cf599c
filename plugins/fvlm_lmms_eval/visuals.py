"""What a task shows with a question, to the frames a model sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from attrs import asdict, evolve, frozen
from numpy.typing import NDArray
from PIL import Image

from fvlm_core.plugin_api import BadSample, Decoder, Viewing, fit_still

MOST = 64
"""Frames in all of a document that shows several videos or pictures, unless somebody says `max_frames`."""

_SOUNDS = (".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus")
_ELSEWHERE = ("http://", "https://", "s3://", "gs://", "hf://")
_Frames = NDArray[np.uint8]


@frozen(kw_only=True)
class Eye(Viewing):
    """How a model is shown things, with the decoder of its videos: None for the core's own.

    most: of several videos and pictures, the frames in all; more are thinned evenly. None stands for `max_frames`.
    """

    decoder: Decoder | None
    most: int | None = None

    @classmethod
    def of(cls, viewing: Viewing, decoder: Decoder | None, most: int) -> Eye:
        """An eye that sees as a viewing says."""
        return cls(**asdict(viewing, recurse=False), decoder=decoder, most=most)

    def see(self, visuals: Any) -> _Frames:
        """Frames uint8 RGB [T, 3, size, size] of what `doc_to_visual` gave, in its order; T = 0 for nothing.

        A video gives its frames, a picture (a Pillow image, or the path of one) gives one. Raises `BadSample`, also
        for what is neither.
        """
        shown = list(_flat(visuals))
        if not shown:
            return np.zeros((0, 3, self.size, self.size), dtype=np.uint8)
        alone = self if len(shown) == 1 else evolve(self, repeats=1)
        frames = np.concatenate([alone._frames(visual) for visual in shown])
        most = self.most or self.max_frames
        if len(shown) > 1 and len(frames) > most:
            frames = frames[np.arange(most) * len(frames) // most]
        return frames

    def _frames(self, visual: Any) -> _Frames:
        if not isinstance(visual, Image.Image):
            return self.frames(_path(visual), self.decoder)
        name = getattr(visual, "filename", "") or "a picture"
        try:
            picture = fit_still(visual, self.size, self.fit)
        except ValueError as error:
            raise BadSample(name, str(error)) from error
        return np.stack([picture.transpose(2, 0, 1)] * self.repeats)


def _flat(visuals: Any) -> Iterator[Any]:
    if isinstance(visuals, list | tuple):
        for visual in cast("list[Any]", visuals):
            yield from _flat(visual)
    elif visuals is not None:
        yield visuals


def _path(visual: Any) -> Path:
    """The file of a video or picture: a path, or a table with one under "url" or "path". Raises `BadSample`."""
    if isinstance(visual, Mapping):
        table = cast("Mapping[str, Any]", visual)
        place = table.get("url") or table.get("path")
        if {"video_start", "video_end"} & table.keys():
            raise BadSample(
                str(place), "a part of a video (video_start, video_end): fvlm shows whole videos only"
            )
    else:
        place = visual
    if not isinstance(place, str | Path):
        raise BadSample(type(visual).__name__, "expected a picture, or the path of a picture or a video")
    if str(place).startswith(_ELSEWHERE):
        raise BadSample(place, "not on this machine: expected the path of a file that is")
    if Path(place).suffix.lower() in _SOUNDS:
        raise BadSample(place, "sound: models of fvlm see pictures and videos")
    return Path(place)
