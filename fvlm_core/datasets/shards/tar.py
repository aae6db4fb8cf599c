"""Tar files: written byte for byte the same each time, and listed without ever being extracted."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from attrs import frozen

from fvlm_core.media.suffixes import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from fvlm_core.media.tar_headers import Headers
from fvlm_core.utils.data_files import open_data
from fvlm_core.utils.errors import FvlmError

PICTURES = frozenset(suffix[1:] for suffix in PICTURE_SUFFIXES)
VIDEOS = frozenset(suffix[1:] for suffix in VIDEO_SUFFIXES) - PICTURES
TEXTS = frozenset(("json", "txt"))
"""Kinds of members that are read. Others (pickles, arrays, code) are named in the report and never opened."""

ANNOTATIONS = frozenset(
    (
        *(
            "cls",
            "cls2",
            "class",
            "count",
            "index",
            "inx",
            "id",
            "pyd",
            "pickle",
            "pkl",
            "text",
            "transcript",
            "md",
        ),
        *(
            "jsn",
            "jsonl",
            "csv",
            "tsv",
            "xml",
            "yaml",
            "yml",
            "srt",
            "vtt",
            "wav",
            "mp3",
            "flac",
            "ogg",
            "m4a",
            "aac",
        ),
    )
)
"""Kinds of members that are not read and show nothing: labels, notes, subtitles, sound. A sample does without them."""

MAX_JSON = 4 << 20
MAX_PICTURE = 64 << 20
MAX_VIDEO = 2 << 30
"""Largest members that are read, in bytes."""

_BROKEN = (
    *(tarfile.TarError, OSError, EOFError, ValueError, OverflowError, IndexError),
    *(MemoryError, RecursionError),
)
"""What tarfile raises for files that are damaged."""

BLOCK = 512
_END = bytes(2 * BLOCK)


class BadShard(FvlmError):
    """A shard that is not whole: the file, the place, and why."""


@frozen
class TarMember:
    """A file in a tar. start, size: of its content, in bytes. unread: why a link, a device or the like is not read."""

    name: str
    start: int
    size: int
    unread: str = ""

    @property
    def key(self) -> str:
        """The name up to its first dot; see `sample_keys`."""
        folder, _, leaf = self.name.rpartition("/")
        return f"{folder}/{leaf.partition('.')[0]}" if folder else leaf.partition(".")[0]

    @property
    def kind(self) -> str:
        """The name from its last dot on, in lower case."""
        return self.name.rpartition(".")[2].lower()

    @property
    def annotation(self) -> bool:
        """Whether it shows nothing, so that its sample loses no picture and no video without it."""
        return self.kind in ANNOTATIONS

    def refused(self) -> str:
        """Why it is not read; empty if it is."""
        if self.unread:
            return self.unread
        if "." not in self.name.rpartition("/")[2]:
            return "a member without a suffix is not read"
        if self.kind not in PICTURES | VIDEOS | TEXTS:
            return f"a member of kind .{self.kind} is not read"
        limit = MAX_JSON if self.kind in TEXTS else MAX_PICTURE if self.kind in PICTURES else MAX_VIDEO
        if self.size > limit:
            return f"{self.size:,} bytes, where at most {limit:,} are read"
        if not self.size:
            return "empty (0 bytes)"
        parts = self.name.split("/")
        if self.name.startswith("/") or ".." in parts or not self.key.rpartition("/")[2]:
            return "the name leads out of the archive"
        return ""


class TarWriter:
    """Members one after the other; times, owners and modes are constants, so that the same content is the same file."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._at = 0
        self._taken = sha256()

    def add(self, name: str, content: bytes) -> TarMember:
        """Append a member. Raises ValueError for a name that a plain header cannot hold (100 bytes)."""
        info = tarfile.TarInfo(name)
        info.size = len(content)
        header = info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
        padding = bytes(-len(content) % BLOCK)
        self._out.write(header + content + padding)
        self._taken.update(header + content + padding)
        member = TarMember(name, self._at + len(header), len(content))
        self._at += len(header) + len(content) + len(padding)
        return member

    def digest(self) -> bytes:
        """The SHA-256 of what was written since this was asked last: whole members, with headers and padding."""
        taken, self._taken = self._taken, sha256()
        return taken.digest()

    def close(self) -> None:
        """Write the end of the archive; the file stays open."""
        self._out.write(_END)


def tar_members(path: Path) -> Iterator[TarMember]:
    """The files in a tar, in order, without folders. Nothing is read but headers.

    Raises `BadShard` when the file cannot be opened, a header is damaged, or the archive does not end as it should:
    tarfile itself stops at such a place without a word, and the samples behind it would be lost.
    """
    try:
        with open_data(path) as file:
            for header in (headers := Headers(file)):
                yield TarMember(*header)
    except _BROKEN as error:
        raise BadShard(f"{path}: {_what(path, error)}") from error
    _check_end(path, headers.end)


def sample_keys(members: Sequence[TarMember]) -> list[str]:
    """What the files of one sample share, of each member: the name up to its first dot.

    Where there is no text of that name, up to the last dot of a text that another file goes with: `Track 2.0.mp4` and
    `Track 2.0.txt` are a sample called `Track 2.0`.
    """
    whole = {member.key for member in members if member.name[len(member.key) + 1 :].lower() in TEXTS}
    rest = [member for member in members if member.key not in whole]
    stems = {member.name.rpartition(".")[0] for member in rest if member.kind in TEXTS}
    shared = {
        stem for member in rest if member.kind not in TEXTS for stem in _stems(member.name) if stem in stems
    }
    return [next((stem for stem in _stems(member.name) if stem in shared), member.key) for member in members]


def _stems(name: str) -> Iterator[str]:
    """The name up to each of its dots, the longest first."""
    leaf = name.rfind("/") + 1
    while (dot := name.rfind(".", leaf)) >= 0:
        name = name[:dot]
        yield name


def _check_end(path: Path, end: int) -> None:
    """Where tarfile saw no further header, zeros follow to the file's end, two blocks at least."""
    size = path.stat().st_size
    if size - end < len(_END):
        raise BadShard(f"{path}: cut short: it ends at byte {size:,} without the mark of its end")
    with path.open("rb") as file:
        file.seek(end)
        while rest := file.read(1 << 20):
            if rest != bytes(len(rest)):
                raise BadShard(f"{path}: altered: no header of a member at byte {end:,} of {size:,}")


def _what(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    if not path.stat().st_size:
        return "empty file (0 bytes)"
    with path.open("rb") as file:
        head = file.read(BLOCK).lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "not a tar but a web page (a download that failed?)"
    return f"cut short, altered, or not a tar: {error}"


def read_at(handle: int, start: int, size: int) -> bytes:
    """`size` bytes of an open file; fewer when it ends before."""
    content = os.pread(handle, size, start)
    while 0 < len(content) < size:  # a call gives 2 GB at most
        more = os.pread(handle, size - len(content), start + len(content))
        if not more:
            break
        content += more
    return content
