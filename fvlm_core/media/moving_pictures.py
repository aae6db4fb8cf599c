"""Whether a picture moves, by its bytes: names are often wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from fvlm_core.media.suffixes import is_picture

_HEAD = 21
"""Bytes that tell: of a WebP, the last of them has the flag of animations."""


def is_still(file: IO[bytes]) -> bool | None:
    """Whether a file from its beginning on is a picture that does not move (JPEG, PNG, WebP) or one that does (PNG,
    WebP; a GIF counts as one): None for anything else."""
    head = file.read(_HEAD)
    if head[:3] == b"\xff\xd8\xff":
        return True
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return not (head[12:16] == b"VP8X" and head[20:] and head[20] & 2)
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        file.seek(8)
        return not _has_frames(file)
    return False if head[:4] == b"GIF8" else None


def shows_still(file: Path) -> bool:
    """Whether a file is shown as a still picture: by its bytes, and by its name where they are of another kind."""
    try:
        with file.open("rb") as opened:
            still = is_still(opened)
    except OSError:
        still = None
    # Of what is neither, a WebP would be a picture or a video; whoever looks says what is wrong with it.
    return still if still is not None else is_picture(file.name) and not file.name.lower().endswith(".webp")


def _has_frames(file: IO[bytes]) -> bool:
    """Whether a PNG from its first chunk on has an animation, which is announced before the picture."""
    while len(chunk := file.read(8)) == 8 and chunk[4:] != b"IDAT":
        if chunk[4:] == b"acTL":
            return True
        file.seek(int.from_bytes(chunk[:4], "big") + 4, os.SEEK_CUR)
    return False
