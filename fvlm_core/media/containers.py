"""What a container's own structure says of a file: whether its end is missing, and how many pictures an AVI shows.

Headers state durations and counts, which tools leave behind wrong in healthy files. Sizes are another matter: a reader
finds its way by them, and where they lead beyond the end of the file, the rest of it is lost.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import IO

import numpy as np
from numpy.typing import NDArray

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_FLV_TAGS = (8, 9, 18)
"""Sound, picture, script."""


def lost_bytes(file: IO[bytes], container: str) -> int | None:
    """How many bytes of a file are missing at its end, 0 for none; None for a container whose structure does not tell.

    container: FFmpeg's name of it.
    """
    for name, end in _ENDS.items():
        if name in container.split(","):
            size = file.seek(0, os.SEEK_END)
            return max(0, end(file, size) - size)
    return None


def avi_pictures(file: IO[bytes], stream: int) -> int:
    """How many pictures an AVI's stream shows: chunks, an empty one of which shows the picture before it once more."""
    names = (b"%02ddc" % stream, b"%02ddb" % stream)
    size = file.seek(0, os.SEEK_END)
    return sum(_count(file, start, min(end, size), names) for start, end in _avi_lists(file, size))


def track_matrix(file: IO[bytes], track: int) -> NDArray[np.int64] | None:
    """The display matrix [9] of a QuickTime file's track, that of the whole film applied after it; None where none is
    found. track: its number in the file. See `turn_of`."""
    size = file.seek(0, os.SEEK_END)
    film: NDArray[np.int64] | None = None
    for start, end in _boxes(file, 0, size, b"moov"):
        for place, _ in _boxes(file, start, end, b"mvhd"):
            film = _nine(file, place, 36)[1]
        for inner, stop in _boxes(file, start, end, b"trak"):
            for place, _ in _boxes(file, inner, stop, b"tkhd"):
                number, own = _nine(file, place, 40)
                if number == track and film is not None:
                    both = own.reshape(3, 3)[:2, :2] @ film.reshape(3, 3)[:2, :2] // (1 << 16)
                    return np.pad(both, (0, 1)).ravel()
    return None


def _nine(file: IO[bytes], place: int, at: int) -> tuple[int, NDArray[np.int64]]:
    """The number of a track and the matrix, `at` bytes into a header whose three times are four bytes each."""
    file.seek(place)
    content = file.read(at + 48)
    wide = content[:1] == b"\1"  # the times are eight bytes each
    after = 20 if wide else 12
    matrix = np.frombuffer(content[at + 12 * wide :][:36], ">i4").astype(np.int64)
    return int.from_bytes(content[after : after + 4], "big"), matrix


def _boxes(file: IO[bytes], start: int, end: int, wanted: bytes) -> Iterator[tuple[int, int]]:
    """The boxes of a name in a part of a QuickTime file: where what each holds begins and ends."""
    while start + 8 <= end:
        file.seek(start)
        length, name, head = int.from_bytes(file.read(4), "big"), file.read(4), 8
        if length == 1:
            length, head = int.from_bytes(file.read(8), "big"), 16
        stop = end if length == 0 else start + length
        if stop < start + head:
            return
        if name == wanted:
            yield start + head, min(stop, end)
        start = stop


def _count(file: IO[bytes], start: int, end: int, names: tuple[bytes, ...]) -> int:
    count = 0
    for name, place, length in _chunks(file, start, end):
        count += _count(file, place + 4, place + length, names) if name == b"LIST" else name in names
    return count


def _chunks(file: IO[bytes], start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a RIFF file between two places: name, place and length of what each holds."""
    while start + 8 <= end:
        file.seek(start)
        name, length = file.read(4), int.from_bytes(file.read(4), "little")
        if not name.strip().isalnum():  # a hole, such as a download leaves
            return
        yield name, start + 8, length
        start += 8 + length + length % 2


def _avi_lists(file: IO[bytes], size: int) -> Iterator[tuple[int, int]]:
    """Where the lists of pictures and sound of an AVI begin and should end; a large AVI is several files in one."""
    for _, riff, length in _chunks(file, 0, size):
        for name, place, held in _chunks(file, riff + 4, min(riff + length, size)):
            file.seek(place)
            if name == b"LIST" and file.read(4) == b"movi":
                # a recorder that was switched off leaves 0 here: whatever follows is all there is
                yield place + 4, place + held if held > 4 else size


def _avi_end(file: IO[bytes], size: int) -> int:
    return max((end for _, end in _avi_lists(file, size)), default=size)


def _matroska_end(file: IO[bytes], size: int) -> int:
    place = 0
    while place < size:
        file.seek(place)
        name, _ = _vint(file, keep=True)
        length, width = _vint(file, keep=False)
        if (
            name not in (_EBML, _SEGMENT) or length == (1 << 7 * width) - 1
        ):  # all ones: a live recording, of any length
            break
        place = file.tell() + length
        if name == _SEGMENT:
            return place
    return size


def _vint(file: IO[bytes], *, keep: bool) -> tuple[int, int]:
    """A number of Matroska's and its width in bytes. keep: with the bit that marks the width, as names have it."""
    first = (file.read(1) or b"\0")[0]
    width = 9 - first.bit_length() if first else 1
    value = first if keep else first & ((1 << 8 - width) - 1)
    return int.from_bytes(bytes([value]) + file.read(width - 1), "big"), width


def _quicktime_end(file: IO[bytes], size: int) -> int:
    """Of a file in fragments: any other has one index of all its pictures, whose absence FFmpeg does not let pass."""
    place, fragmented = 0, False
    while place + 8 <= size:
        file.seek(place)
        length, name = int.from_bytes(file.read(4), "big"), file.read(4)
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        if (
            length < 8 or not name.isalnum() or name == b"mfra"
        ):  # up to the end; appended; an index of the fragments
            return size
        place += length
        fragmented |= name == b"moof"
    if not fragmented:
        return size
    return place if place >= size else place + 8  # not even the size of the next box is there


def _flv_end(file: IO[bytes], size: int) -> int:
    """After every tag stands its size; where the last one is no tag's, at least those four bytes are missing."""
    file.seek(size - 4)
    tag = size - 4 - int.from_bytes(file.read(4), "big")
    if tag < 9:
        return size + 4
    file.seek(tag)
    header = file.read(4)
    whole = header[0] & 31 in _FLV_TAGS and tag + 11 + int.from_bytes(header[1:], "big") == size - 4
    return size if whole else size + 4


def _asf_end(file: IO[bytes], size: int) -> int:
    file.seek(0)
    head = file.read(1 << 16)
    place = head.find(_ASF_FILE)
    if not head.startswith(_ASF) or place < 0 or len(head) < place + 92:
        return size
    live = head[place + 88] & 1
    return size if live else int.from_bytes(head[place + 40 : place + 48], "little")


_ENDS: dict[str, Callable[[IO[bytes], int], int]] = {
    "avi": _avi_end,
    "matroska": _matroska_end,
    "mov": _quicktime_end,
    "flv": _flv_end,
    "asf": _asf_end,
}
"""Where a file should end, by container; its present size where nothing says that it should be longer."""
