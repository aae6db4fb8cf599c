"""Clips that are arrays already, of a simulator, HDF5 or zarr: chosen, scaled and cropped as those of files are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from fvlm_core.interfaces.data import FrameArray
from fvlm_core.media.bad_sample import BadSample, Unusable
from fvlm_core.media.upright import FrameTransform
from fvlm_core.media.video import CLOCK, look_times, on_screen


def decode_array(id: str, clip: FrameArray, size: int) -> tuple[NDArray[np.uint8], list[float]]:
    """The frames of a clip, uint8 RGB [T, 3, size, size], and their times in seconds after its first picture.

    They are those that `fvlm_core.media.video.decode_timed` gives of a file with these pictures. Only pictures that are
    shown are read. Raises `BadSample`, with the sample's id, for an array of another form, and for one that cannot be
    read.
    """
    times, chosen = _looks(id, clip)
    try:
        seen = {at: _squared(clip, at, size) for at in sorted({*chosen})}
    except Unusable as error:
        raise BadSample(id, str(error)) from error
    except OSError as error:
        raise BadSample(id, error.strerror or str(error)) from error
    return np.stack([seen[at] for at in chosen]), [*times]


def frames_of_array(id: str, clip: FrameArray, size: int) -> Iterator[NDArray[np.uint8]]:
    """The frames that `decode_array` gives, [3, size, size] each, one by one: one picture is held at a time."""
    for at in _looks(id, clip)[1]:
        try:
            frame = _squared(clip, at, size)
        except Unusable as error:
            raise BadSample(id, str(error)) from error
        except OSError as error:
            raise BadSample(id, error.strerror or str(error)) from error
        yield frame


def count_array(id: str, clip: FrameArray) -> int:
    """How many frames `decode_array` gives; no picture is read. Raises `BadSample`."""
    return len(_looks(id, clip)[0])


def _looks(id: str, clip: FrameArray) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """When to look, and the picture on screen at each time. Raises `BadSample` for what is no clip: a wrong axis or
    type would be shown as noise, and trained on."""
    shape, dtype = tuple(clip.frames.shape), clip.frames.dtype
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise BadSample(id, f"frames are {dtype} {list(shape)}; expected RGB as uint8 [T, H, W, 3]")
    for name, value in (("rate", clip.rate), ("fps", clip.fps), ("max_frames", clip.max_frames)):
        if not 0 < value < math.inf:
            raise BadSample(id, f"{name} is {value}; expected a number above 0")
    return _looks_of(shape[0], clip.rate, clip.fps, clip.max_frames)


@lru_cache(64)  # clips of one data set are often of one length: a tenth of what a small clip costs to read
def _looks_of(
    count: int, rate: float, fps: float, max_frames: int
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    times = look_times(count / rate, fps, max_frames)
    on_screen_at = np.searchsorted(np.arange(count) / rate, np.array(times) + CLOCK, side="right") - 1
    return tuple(times), tuple(on_screen_at.tolist())


def _squared(clip: FrameArray, at: int, size: int) -> NDArray[np.uint8]:
    """One picture scaled and cropped, [3, size, size]."""
    picture = _checked(_read(clip, at), clip.frames.shape[1:])
    if picture.shape[:2] == (size, size):
        # FFmpeg's scaler would leave it as it is, and take a third of the time that a small run reads.
        return np.ascontiguousarray(picture.transpose(2, 0, 1))
    frame = VideoFrame.from_ndarray(picture, "rgb24")
    [seen] = on_screen(iter([(0.0, frame)]), [0.0], size, FrameTransform())
    return seen


def _read(clip: FrameArray, at: int) -> Any:
    """One picture of a clip, which a lazy array reads now. Raises `OSError`, and `Unusable` for all else that its
    library raises."""
    try:
        return np.asarray(clip.frames[at])
    except OSError:
        raise
    except Exception as error:
        raise Unusable(f"picture {at} cannot be read: {type(error).__name__}: {error}") from error


def _checked(picture: Any, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    found = np.ascontiguousarray(picture)
    if found.dtype != np.uint8 or found.shape != shape:
        raise Unusable(f"a picture is {found.dtype} {list(found.shape)}; expected uint8 {list(shape)}")
    return found
