"""The headers of a tar, one after the other: strict where tarfile ends without a word, none of them kept."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

from attrs import define

from fvlm_core.media.suffixes import is_picture, is_video

MAX_HEADER = 1 << 20
"""Largest header of names and times inside a tar, in bytes; one that declares more would fill the memory."""

_NOT_READ = "a link, a device or a sparse file, which are not read"

_EXTRA_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


class Header(NamedTuple):
    """A member: its name, where its content begins and how long it is, in bytes, and why it is not read, if it is
    not. A hard link has the content of the member that it names."""

    name: str
    start: int
    size: int
    refused: str = ""


@define
class Headers:
    """Every member of an uncompressed tar but its folders, in order; nothing is read but headers. end: of the last one,
    in bytes, once all were gone through.

    A folder that is called like a video, a picture or a text is no folder to whoever packed it, and is given, refused.
    Going through them raises `tarfile.TarError` where a header is damaged or the tar is cut short, `RecursionError`,
    OSError, ValueError.
    """

    stream: Any
    end: int = 0

    def __iter__(self) -> Iterator[Header]:
        places: dict[str, tuple[int, int]] = {}
        archive: Any
        with tarfile.open(fileobj=self.stream, mode="r:", tarinfo=_StrictInfo, errorlevel=1) as archive:
            while info := archive.next():
                archive.members = []  # it would keep every header
                if info.size < 0:  # of an extended header: the next member would be this one again, for ever
                    raise tarfile.ReadError(f"{info.name}: {info.size:,} bytes")
                refused = _refused(info, places)
                if not info.isdir() or refused:
                    start, size = places.get(_plain(info.name), (info.offset_data, 0))
                    yield Header(info.name.rstrip("/"), start, size, refused)
            self.end = archive.offset


def _refused(info: tarfile.TarInfo, places: dict[str, tuple[int, int]]) -> str:
    """Why a member is not read; nothing if it is: where its content lies is then in `places`."""
    name = _plain(info.name)
    if info.isdir():
        named = is_video(name) or is_picture(name) or name.lower().endswith((".json", ".txt"))
        return "a folder, not a file" if named else ""
    before = places.pop(name, None)
    if info.islnk() and (target := _plain(info.linkname)) in ({name} if before else places):
        places[name] = before or places[target]
        return ""
    if info.islnk():
        return f'{_NOT_READ} (a hard link to "{info.linkname}", which is no member before it)'
    if not info.isreg() or info.issparse():
        return _NOT_READ
    places[name] = info.offset_data, info.size
    return ""


def _plain(name: str) -> str:
    return posixpath.normpath(name)


class _StrictInfo(tarfile.TarInfo):
    """Headers that tell a damaged archive from one that ends: tarfile takes both for the end, without a word."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """As tarfile's. Raises `tarfile.ReadError` where the archive is cut short or a header is damaged."""
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":  # blocks of zeros: the end
                raise
            raise tarfile.ReadError(f"it ends too soon, or a header is damaged: {error}") from error
        if info.size > MAX_HEADER and info.type in _EXTRA_HEADERS:
            raise tarfile.ReadError(f"a header of {info.size:,} bytes")
        return info
