"""Whatever a sample shows, to frames: one place that knows every kind of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fvlm_core.interfaces.data import FrameArray, Sample, StoredFrames
from fvlm_core.media.arrays import count_array, decode_array, frames_of_array
from fvlm_core.media.decoders import count_frames as count_of_video
from fvlm_core.media.decoders import decode_timed
from fvlm_core.media.named_media import refuse_blind
from fvlm_core.media.pictures import decode_stored
from fvlm_core.media.stills import decode_still


def decode_frames(sample: Sample, size: int, repeats: int = 1) -> NDArray[np.uint8]:
    """The frames of a sample: uint8 RGB [T, 3, size, size]; T = 0 for text only. Raises `BadSample`, also for a text
    that marks other pictures or videos than there are.

    repeats: how often a still image is shown, as a video that does not move; several images of one sample once each.
    """
    refuse_blind(sample)
    if sample.images:
        frames = np.stack([decode_still(image, size) for image in sample.images]).transpose(0, 3, 1, 2)
        return np.concatenate([frames] * repeats) if len(frames) == 1 else frames
    if sample.video is None:
        return np.zeros((0, 3, size, size), dtype=np.uint8)
    if isinstance(sample.video, StoredFrames):
        frames = decode_stored(sample.video, size)
        return np.concatenate([frames] * repeats) if sample.video.still and repeats > 1 else frames
    if isinstance(sample.video, FrameArray):
        return decode_array(sample.id, sample.video, size)[0]
    return decode_timed(sample.video, size)[0]


def frames_of(sample: Sample, size: int) -> Iterator[NDArray[np.uint8]]:
    """The frames of a sample, uint8 RGB [3, size, size] each, in order. Those of an array are read as they are asked
    for, all others first. Raises `BadSample`."""
    if isinstance(sample.video, FrameArray):
        refuse_blind(sample)
        yield from frames_of_array(sample.id, sample.video, size)
    else:
        yield from decode_frames(sample, size)


def count_frames(sample: Sample, repeats: int = 1) -> int:
    """How many frames `decode_frames` gives, without decoding. Raises `BadSample` when a file cannot be opened."""
    if sample.images:
        return repeats if len(sample.images) == 1 else len(sample.images)
    if sample.video is None:
        return 0
    if isinstance(sample.video, StoredFrames):
        return len(sample.video.starts) * (repeats if sample.video.still else 1)
    if isinstance(sample.video, FrameArray):
        return count_array(sample.id, sample.video)
    return count_of_video(sample.video)
