"""Clips that are arrays already, of a simulator, HDF5 or zarr: chosen, scaled and cropped as those of files are."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
    times = _times(id, clip)
    begins = np.arange(clip.frames.shape[0]) / clip.rate
    shown = np.unique(np.searchsorted(begins, np.array(times) + CLOCK, side="right") - 1)

    def pictures() -> Iterator[tuple[float, VideoFrame]]:
        for at in shown.tolist():
            picture = _checked(_read(clip, at), clip.frames.shape[1:])
            yield float(begins[at]), VideoFrame.from_ndarray(picture, "rgb24")

    try:
        return np.stack(on_screen(pictures(), times, size, FrameTransform())), times
    except Unusable as error:
        raise BadSample(id, str(error)) from error
    except OSError as error:
        raise BadSample(id, error.strerror or str(error)) from error


def frames_of_array(id: str, clip: FrameArray, size: int) -> Iterator[NDArray[np.uint8]]:
    """The frames that `decode_array` gives, [3, size, size] each, one by one: one picture is held at a time."""
    begins = np.arange(clip.frames.shape[0]) / clip.rate
    for time in _times(id, clip):
        at = int(np.searchsorted(begins, time + CLOCK, side="right")) - 1
        try:
            picture = VideoFrame.from_ndarray(_checked(_read(clip, at), clip.frames.shape[1:]), "rgb24")
            [frame] = on_screen(iter([(float(begins[at]), picture)]), [time], size, FrameTransform())
        except Unusable as error:
            raise BadSample(id, str(error)) from error
        except OSError as error:
            raise BadSample(id, error.strerror or str(error)) from error
        yield frame


def count_array(id: str, clip: FrameArray) -> int:
    """How many frames `decode_array` gives; no picture is read. Raises `BadSample`."""
    return len(_times(id, clip))


def _times(id: str, clip: FrameArray) -> list[float]:
    """Raises `BadSample` for what is no clip: a wrong axis or type would be shown as noise, and trained on."""
    shape, dtype = tuple(clip.frames.shape), clip.frames.dtype
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise BadSample(id, f"frames are {dtype} {list(shape)}; expected RGB as uint8 [T, H, W, 3]")
    for name, value in (("rate", clip.rate), ("fps", clip.fps), ("max_frames", clip.max_frames)):
        if not 0 < value < math.inf:
            raise BadSample(id, f"{name} is {value}; expected a number above 0")
    return look_times(shape[0] / clip.rate, clip.fps, clip.max_frames)


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
