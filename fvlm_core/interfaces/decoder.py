"""Decoders: what makes the frames of a video file. Imports nothing heavy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fvlm_core.interfaces.data import VideoFile


@frozen(kw_only=True)
class PyAVSettings:
    """Settings of the core's own decoder: it has none."""


class Decoder(ABC):
    """Decodes video files. Picklable, and cheap to copy: every data worker and every sample of a source holds it.

    The component's target is `build(config) -> Decoder`. A run uses one decoder for training and validation, and names
    it with its versions: another decoder gives other pixels, so that it is another run.
    """

    @abstractmethod
    def decode(self, video: VideoFile, size: int) -> tuple[NDArray[np.uint8], Sequence[float]]:
        """The frames of a clip, uint8 RGB [T, 3, size, size], and the time of each, in seconds after its first picture.

        Frame k is the picture on screen k / video.fps seconds after the first one, up to the clip's end. When that
        makes more than `video.max_frames`, the rate is lowered until exactly `max_frames` span the whole clip, so that
        1 <= T <= video.max_frames. Pictures are turned upright and mirrored as the file says (its display matrix),
        their pixels made square, what is transparent laid on white, the short side scaled to `size`, and the centre
        cropped. The same file gives the same frames, in whatever process.

        video.member: where it is set, the clip is that member of an archive, read in place with `open_member`.
        Raises `BadSample`, naming `video.path`, for a file that cannot be decoded whole: it is counted and replaced.
        Anything else that is raised ends the run.
        """

    @abstractmethod
    def count_frames(self, video: VideoFile) -> int:
        """The T of `decode`, without decoding: from `video.seconds` where that is known, else from the file's header.

        Plans are made of it before the data are there, so it opens no file when `video.seconds` is known. It may differ
        from T by what a header does not say. Raises `BadSample` when a file must be opened and cannot be.
        """

    @abstractmethod
    def versions(self) -> Mapping[str, str]:
        """Versions of everything that decides the pixels, by name: {"acme-decode": "2.1", "libvpx": "1.14"}.

        They are recorded with runs and packs; a run that continues under others is refused until that is accepted.
        """
