"""Archives of a download: which there are, what is in them, where each member's bytes lie. Nothing is extracted."""

from __future__ import annotations

import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from attrs import frozen

from fvlm_core.interfaces.data import Packing
from fvlm_core.media.archive_members import Parts
from fvlm_core.media.seekable_gzip import open_gz, save_index
from fvlm_core.media.tar_headers import Headers
from fvlm_core.utils.disk_cache import (
    from_strings,
    keep_arrays,
    load_arrays,
    state_key,
    to_strings,
)
from fvlm_core.utils.errors import Problem
from fvlm_core.utils.paths import cache_folder

PACKINGS: tuple[Packing, ...] = ("tar", "tar.gz", "zip-stored", "zip-deflated")
"""By number, as they are kept."""

_VERSION = 2
"""Of the lists that are kept."""

_PART = re.compile(r"(?P<base>.+?)(?:\.zip)?_part_?(?P<part>[a-z]{2})(?:\.zip)?")
"""`OpenVid_part89_partaa`: what `split` makes of a zip."""
_KINDS = {".zip": "zip", ".tar": "tar", ".tar.gz": "tar.gz", ".tgz": "tar.gz"}
_BROKEN = (
    *(OSError, ValueError, EOFError, MemoryError, RuntimeError, NotImplementedError, OverflowError),
    *(zipfile.BadZipFile, tarfile.TarError, struct.error, zlib.error),
)
"""What zipfile, tarfile and indexed_gzip raise for files that are damaged."""


class ListedMember(NamedTuple):
    """A member: its name, and its bytes as in `Member`."""

    name: str
    packing: Packing
    start: int
    packed: int
    size: int


@frozen
class Archive:
    """An archive in one file or in parts, in order. kind: "zip", "tar" or "tar.gz"."""

    files: tuple[Path, ...]
    kind: str

    def members(self, suffixes: tuple[str, ...], problems: list[Problem]) -> Iterator[ListedMember]:
        """Every member whose name ends in one of `suffixes`; what cannot be read is added to `problems`.

        Headers lie all over a tar, and those of a zip are read one by one: a list once made is kept in the cache.
        """
        try:
            key = state_key(self.files, _VERSION, self.kind, suffixes)
        except OSError as error:
            problems.append(Problem(f"cannot be read: {error.strerror}", str(self.files[0])))
            return
        kept = cache_folder("archives") / f"{key}.arrays"
        saved = load_arrays(kept)
        if saved is not None:
            columns = (saved[name].tolist() for name in ("packings", "starts", "packed", "sizes"))
            for name, packing, start, packed, size in zip(to_strings(saved["names"]), *columns, strict=True):
                yield ListedMember(name, PACKINGS[packing], start, packed, size)
            return
        listed: list[ListedMember] = []
        found = len(problems)
        try:
            for member in (self._zip if self.kind == "zip" else self._tar)(suffixes, problems):
                listed.append(member)
                yield member
        except _BROKEN as error:
            text = str(error) or type(error).__name__
            problems.append(
                Problem(f"corrupt or cut short, so members of it are missing: {text}", str(self.files[0]))
            )
        # What is wrong with an archive is told each time, and what has no name of its own is not kept.
        if len(problems) == found and listed and not any("\0" in member.name for member in listed):
            keep_arrays(
                kept,
                names=from_strings(member.name for member in listed),
                packings=np.array([PACKINGS.index(member.packing) for member in listed], np.uint8),
                starts=np.array([member.start for member in listed], np.int64),
                packed=np.array([member.packed for member in listed], np.int64),
                sizes=np.array([member.size for member in listed], np.int64),
            )

    def _zip(self, suffixes: tuple[str, ...], problems: list[Problem]) -> Iterator[ListedMember]:
        with BufferedReader(Parts(self.files)) as parts, zipfile.ZipFile(parts) as archive:
            for info in archive.infolist():
                if info.is_dir() or not info.filename.lower().endswith(suffixes):
                    continue
                if reason := _unusable(info):
                    problems.append(Problem(f"{info.filename}: {reason}", str(self.files[0])))
                    continue
                packing = "zip-stored" if info.compress_type == zipfile.ZIP_STORED else "zip-deflated"
                yield ListedMember(
                    info.filename, packing, info.header_offset, info.compress_size, info.file_size
                )

    def _tar(self, suffixes: tuple[str, ...], problems: list[Problem]) -> Iterator[ListedMember]:
        found = len(problems)
        stream: Any = open_gz(self.files[0]) if self.kind == "tar.gz" else BufferedReader(Parts(self.files))
        stream.seek(0)
        for member in Headers(stream):
            if not member.name.lower().endswith(suffixes):
                continue
            if member.refused:
                problems.append(Problem(f"{member.name}: {member.refused}", str(self.files[0])))
                continue
            packing = "tar.gz" if self.kind == "tar.gz" else "tar"
            yield ListedMember(member.name, packing, member.start, member.size, member.size)
        if self.kind == "tar":
            stream.close()
        elif len(problems) == found:
            save_index(self.files[0])


def archive_kind(name: str) -> str:
    """What kind of archive a file's name stands for: "zip", "tar", "tar.gz", "part" of a zip, or nothing."""
    kind = next((kind for suffix, kind in _KINDS.items() if name.lower().endswith(suffix)), "")
    return "part" if kind in ("", "zip") and _PART.fullmatch(name) else kind


def archives(files: list[Path], problems: list[Problem]) -> list[Archive]:
    """The archives that `files` make, in order of name, those published in parts put together.

    A zip that is there whole and in parts is read whole. An archive with a missing part is left out and named.
    """
    whole: dict[Path, Archive] = {}
    parts: dict[Path, dict[str, Path]] = {}
    for file in files:
        kind = archive_kind(file.name)
        if kind == "part":
            match = _PART.fullmatch(file.name)
            assert match is not None
            parts.setdefault(file.with_name(f"{match['base']}.zip"), {})[match["part"]] = file
        elif kind:
            whole[file] = Archive((file,), kind)
    for base, found in parts.items():
        if base in whole:
            continue
        names = sorted(found)
        expected = [chr(97 + n // 26) + chr(97 + n % 26) for n in range(len(names))]
        if names != expected:
            missing = next(name for name in expected if name not in found)
            text = f"its part {missing} is not there (found {', '.join(names)}), so it cannot be read"
            problems.append(Problem(text, str(base)))
            continue
        whole[base] = Archive(tuple(found[name] for name in names), "zip")
    return [whole[base] for base in sorted(whole)]


def _unusable(info: zipfile.ZipInfo) -> str:
    """Why a member cannot be read in place; empty if it can."""
    if info.flag_bits & 0x1:
        return "encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"packed with method {info.compress_type}, where stored and deflated members are read"
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        return "declares two sizes"
    return ""
