"""What a task shows with a question, to the frames a model sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from PIL import Image

from fvlm_core.data.bad import BadSample
from fvlm_core.data.decoders import decode_timed
from fvlm_core.data.kinds import is_picture
from fvlm_core.data.stills import decode_still, fit_still
from fvlm_core.interfaces.data import Fit, ImageFile, VideoFile
from fvlm_core.interfaces.decoder import Decoder

_SOUNDS = (".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus")
_ELSEWHERE = ("http://", "https://", "s3://", "gs://", "hf://")
_Frames = NDArray[np.uint8]


@frozen
class Eye:
    """How a model is shown things. size: side of a frame in pixels. fps, max_frames: of videos; more frames than
    `max_frames` in all are thinned evenly. fit: of pictures. repeats: frames that a lone picture makes, as in training.
    decoder: of videos, None for the core's own.
    """

    size: int
    fps: float
    max_frames: int
    fit: Fit
    repeats: int
    decoder: Decoder | None

    def see(self, visuals: Any) -> _Frames:
        """Frames uint8 RGB [T, 3, size, size] of what `doc_to_visual` gave, in its order; T = 0 for nothing.

        A video gives its frames, a picture (a Pillow image, or the path of one) gives one. Raises `BadSample`, also
        for what is neither.
        """
        shown = list(_flat(visuals))
        if not shown:
            return np.zeros((0, 3, self.size, self.size), dtype=np.uint8)
        seen = [self._frames(visual) for visual in shown]
        if len(shown) == 1 and _is_picture(shown[0]):
            seen *= self.repeats
        frames = np.concatenate(seen)
        if len(frames) > self.max_frames:
            frames = frames[np.arange(self.max_frames) * len(frames) // self.max_frames]
        return frames

    def _frames(self, visual: Any) -> _Frames:
        if isinstance(visual, Image.Image):
            name = getattr(visual, "filename", "") or "a picture"
            try:
                return _frame(fit_still(visual, self.size, self.fit))
            except ValueError as error:
                raise BadSample(name, str(error)) from error
        path = _path(visual)
        if _is_picture(path):
            return _frame(decode_still(ImageFile(path, fit=self.fit), self.size))
        clip = VideoFile(path, self.fps, self.max_frames, decoder=self.decoder)
        return decode_timed(clip, self.size)[0]


def _frame(picture: _Frames) -> _Frames:
    return picture.transpose(2, 0, 1)[None]


def _flat(visuals: Any) -> Iterator[Any]:
    if isinstance(visuals, list | tuple):
        for visual in cast("list[Any]", visuals):
            yield from _flat(visual)
    elif visuals is not None:
        yield visuals


def _is_picture(visual: Any) -> bool:
    if isinstance(visual, str | Path):
        return is_picture(str(visual))
    return isinstance(visual, Image.Image)


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
