"""Members of archives as files: read in place, from archives in one file or in several parts."""

from __future__ import annotations

import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import IO

from fvlm_core.interfaces.data import Member
from fvlm_core.media.seekable_gzip import open_gz
from fvlm_core.utils.data_files import data_handle

MAX_MEMBER = 2 << 30
"""Largest member that is opened, in bytes."""

MAX_UNPACKED = 512 << 20
"""Largest member that is unpacked, in bytes: it is held in memory while it is decoded."""

_CHUNK = 1 << 20
_LOCAL = struct.Struct("<4s5H3I2H")
"""A zip's header before each member: signature, ..., lengths of name and extra field last."""


def open_member(member: Member) -> IO[bytes]:
    """A member for reading, with random access. Raises OSError or ValueError, with the reason in words."""
    limit = MAX_MEMBER if member.packing in ("tar", "zip-stored") else MAX_UNPACKED
    if max(member.size, member.packed) > limit:
        raise ValueError(f"{member.name}: {member.size:,} bytes, where at most {limit:,} are read")
    if member.packing == "tar.gz":
        return BytesIO(_unpacked_gz(member))
    parts = Parts(member.files)
    try:
        if member.packing == "tar":
            return BufferedReader(parts.window(member.start, member.size))
        start, checksum = _data_of(parts, member)
        if member.packing == "zip-stored":
            return BufferedReader(parts.window(start, member.size))
        with parts:
            return BytesIO(_inflated(parts.window(start, member.packed), member, checksum))
    except BaseException:
        parts.close()
        raise


class Parts(RawIOBase):
    """Files one after the other as one file, for reading; a window shows some bytes of it alone.

    Unbuffered: a read ends where a file ends. Wrap it in a `BufferedReader` for whoever expects all that was asked for.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        super().__init__()
        self._handles: list[int] = []
        try:
            for file in files:
                self._handles.append(data_handle(file))
        except OSError:
            self.close()
            raise
        self._ends: list[int] = []
        for handle in self._handles:
            self._ends.append((self._ends[-1] if self._ends else 0) + os.fstat(handle).st_size)
        self._first, self._last, self._at = 0, self._ends[-1], 0

    def window(self, start: int, length: int) -> Parts:
        """This file, reduced to `length` bytes from `start` on. Raises OSError when they are not all there."""
        if start + length > self._last:
            raise OSError(0, f"cut short: bytes {start:,} to {start + length:,} are not all there")
        self._first, self._last, self._at = start, start + length, 0
        return self

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from one of the files; how many bytes there were."""
        place = self._first + self._at
        number = bisect_right(self._ends, place)
        wanted = min(len(buffer), self._last - place)
        if wanted <= 0 or number == len(self._ends):
            return 0
        begin = self._ends[number - 1] if number else 0
        content = os.pread(self._handles[number], min(wanted, self._ends[number] - place), place - begin)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As a file's."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._last - self._first}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """As a file's."""
        return self._at

    def close(self) -> None:
        """Close the files."""
        while self._handles:
            os.close(self._handles.pop())
        super().close()


def _data_of(parts: Parts, member: Member) -> tuple[int, int]:
    """Where a zip member's data begin, and its checksum (0 if the header does not say)."""
    parts.seek(member.start)
    header = b""
    while len(header) < _LOCAL.size and (piece := parts.read(_LOCAL.size - len(header))):
        header += piece
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        raise ValueError(f"{member.name}: its header is not at byte {member.start:,} of the zip")
    fields = _LOCAL.unpack(header)
    return member.start + _LOCAL.size + fields[-2] + fields[-1], fields[6]


def _inflated(packed: Parts, member: Member, checksum: int) -> bytes:
    """A deflated member, unpacked to the size it declares and no further."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    pieces: list[bytes] = []
    room = member.size + 1  # one more, to notice a member that is longer than declared
    try:
        while room and not inflate.eof:
            content = inflate.unconsumed_tail or packed.read(_CHUNK) or b""
            if not content:
                break
            pieces.append(inflate.decompress(content, room))
            room -= len(pieces[-1])
    except zlib.error as error:
        raise ValueError(f"{member.name}: corrupt in the zip: {error}") from error
    whole = b"".join(pieces)
    if len(whole) != member.size or (checksum and zlib.crc32(whole) != checksum):
        raise ValueError(f"{member.name}: corrupt in the zip: size or checksum is not the declared one")
    return whole


def _unpacked_gz(member: Member) -> bytes:
    file = open_gz(member.files[0])
    file.seek(member.start)
    whole = file.read(member.size)
    if len(whole) != member.size:
        raise ValueError(f"{member.name}: cut short in the archive")
    return whole
