"""Which files are videos and which are pictures, by the ends of their names: one list for folders, archives and shards.

Imports nothing heavy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from os.path import splitext

ANIMATED_SUFFIXES = (".gif", ".webp", ".apng")
"""Files that are read as videos and may hold a still picture, which is a video of one frame."""

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".ismv", ".mj2"),  # the family of QuickTime
    *(".mkv", ".mk3d", ".webm", ".avi", ".divx", ".flv", ".wmv", ".asf", ".ogv", ".ogm"),
    *(".ts", ".mts", ".m2ts", ".m2t", ".mpg", ".mpeg", ".mpe", ".vob", ".m1v", ".m2v", ".m2p", ".mpv"),
    *(".mxf", ".dv", ".rm", ".rmvb", ".wtv", ".nut", ".ivf", ".y4m"),
    *(".h264", ".264", ".avc", ".h265", ".265", ".hevc"),
    *ANIMATED_SUFFIXES,
)
"""Files that are read as videos."""

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp")
"""Files that are read as still pictures; of a WebP that moves, the first frame where a picture is asked for."""


def is_video(name: str) -> bool:
    """Whether a file of this name, in upper or lower case, is read as a video."""
    return name.lower().endswith(VIDEO_SUFFIXES)


def is_picture(name: str) -> bool:
    """Whether a file of this name, in upper or lower case, is read as a still picture."""
    return name.lower().endswith(PICTURE_SUFFIXES)


def by_kind(names: Iterable[str]) -> str:
    """How many files there are of each kind, the most frequent first: `.jpg (10), .docx (2), without a suffix (1)`."""
    kinds = Counter(splitext(name)[1].lower() or "without a suffix" for name in names)
    return ", ".join(
        f"{kind} ({count:,})" for kind, count in sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    )
