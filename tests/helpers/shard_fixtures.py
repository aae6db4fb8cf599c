"""Shards in the founding project's layouts, written as its own tools do."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from videos import picture


def jpeg(index: int, width: int = 224, height: int = 224, kind: str = "JPEG") -> bytes:
    """A picture that carries its index."""
    out = io.BytesIO()
    Image.fromarray(picture(index, width, height)).save(
        out, kind, **({"quality": 90} if kind == "JPEG" else {})
    )
    return out.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes | dict[str, Any]]) -> Path:
    """A tar with fractional times in extended headers, as webdataset writes; dicts become JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            data = json.dumps(content).encode() if isinstance(content, dict) else content
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1_700_000_000.25
            archive.addfile(info, io.BytesIO(data))
    return path


def clip(key: str, record: dict[str, Any], frames: int, *, first: int = 0, size: int = 224) -> dict[str, Any]:
    """The members of a clip whose frames carry first, first + 1, ..."""
    pictures = {f"{key}.{n:03d}.jpg": jpeg(first + n, size, size) for n in range(frames)}
    return {f"{key}.json": record, **pictures}
