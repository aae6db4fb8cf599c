"""What recipes can say of every data set of videos, and of every one of pictures. Imports nothing heavy."""

from __future__ import annotations

import math
from pathlib import Path

from attrs import field, frozen, validators

from fvlm_core.utils.errors import MissingData


@frozen(kw_only=True)
class VideoSettings:
    """path: the folder of the download, as `fvlm data fetch NAME --to PATH` writes it.

    videos: the folder of the videos, unpacked or in archives, if it is not below `path`.
    fps, max_frames: frames a second; a clip that would give more gives `max_frames`, evenly spaced.
    """

    path: Path
    videos: Path | None = None
    fps: float = field(default=1.0, validator=[validators.gt(0), validators.lt(math.inf)])
    max_frames: int = field(default=64, validator=validators.ge(1))


@frozen(kw_only=True)
class HeldOutVideos(VideoSettings):
    """holdout: share of the videos kept for validation, chosen by a hash of the video, so that none is in both splits
    and none changes sides when others come or go. 0: both splits hold all."""

    holdout: float = field(default=0.01, validator=[validators.ge(0), validators.lt(1)])


def missing(path: Path, component: str, root: Path) -> MissingData:
    """A file or folder of a data set that is not there, with the command that fetches it."""
    return MissingData(
        f"{path}: no such file or folder; get it with: fvlm data fetch {component} --to {root}"
    )
