"""Every video of a download, in folders and archives, found by name and read where it lies."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from fvlm_core.datasets.sources.archives import PACKINGS, Archive, archive_kind, archives
from fvlm_core.interfaces.data import Member, VideoFile
from fvlm_core.media.suffixes import VIDEO_SUFFIXES
from fvlm_core.utils.data_files import leads_out, unreadable
from fvlm_core.utils.errors import Problem

By = Literal["name", "path"]
"""How rows name a video: by its file name, wherever it lies, or by the end of its path."""

ABSENT, AMBIGUOUS, EMPTY = -1, -2, -3
"""In place of an entry: no such video; two different ones; a file of 0 bytes."""

_IN_FOLDER = 255


def key_of(text: str) -> int:
    """A number below 2^64 that is the same for the same text everywhere."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


@frozen(eq=False)
class Media:
    """An index of videos: columns, so that a million of them cost 50 MB. Names are held as 64-bit hashes.

    keys: sorted, one or more for each entry. owners: the entry of each key. packings: 255 in a folder. places: number
    of the folder or archive. problems: archives and members that cannot be read.
    """

    by: By
    folders: tuple[str, ...]
    archives: tuple[Archive, ...]
    keys: NDArray[np.uint64]
    owners: NDArray[np.int64]
    packings: NDArray[np.uint8]
    places: NDArray[np.uint32]
    starts: NDArray[np.int64]
    packed: NDArray[np.int64]
    sizes: NDArray[np.int64]
    problems: tuple[Problem, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.sizes)

    def state(self) -> str:
        """What is there, as one name: another one once a video comes, goes, or changes its place or size."""
        digest = blake2b(repr((self.by, self.folders, self.archives)).encode("utf-8", "surrogateescape"))
        for column in (
            self.keys,
            self.owners,
            self.packings,
            self.places,
            self.starts,
            self.packed,
            self.sizes,
        ):
            digest.update(column.tobytes())
        return digest.hexdigest()

    def key(self, name: str) -> int:
        """What a row's name for a video is looked up by."""
        return key_of(name.rpartition("/")[2] if self.by == "name" else os.path.normpath(name))

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The entry of each key; or `ABSENT`, `AMBIGUOUS`, `EMPTY`."""
        if not len(self.keys):
            return np.full(len(keys), ABSENT)
        first = np.searchsorted(self.keys, keys)
        past = np.searchsorted(self.keys, keys, side="right")
        entries = self.owners[np.minimum(first, len(self.keys) - 1)].copy()
        entries[self.sizes[entries] == 0] = EMPTY
        for row in np.flatnonzero(past - first > 1):
            entries[row] = self._best(self.owners[first[row] : past[row]])
        entries[first == past] = ABSENT
        return entries

    def video(self, entry: int, name: str, fps: float, max_frames: int, seconds: float | None) -> VideoFile:
        """The video of an entry, which a row calls `name`."""
        leaf = name.rpartition("/")[2]
        place, packing = int(self.places[entry]), int(self.packings[entry])
        if packing == _IN_FOLDER:
            return VideoFile(Path(self.folders[place], leaf), fps, max_frames, seconds)
        files = self.archives[place].files
        member = Member(
            leaf,
            files,
            PACKINGS[packing],
            int(self.starts[entry]),
            int(self.packed[entry]),
            int(self.sizes[entry]),
        )
        return VideoFile(files[0], fps, max_frames, seconds, member)

    def _best(self, entries: NDArray[np.int64]) -> int:
        """Of several videos with one name: an unpacked one before those in archives; copies of one size are one."""
        unpacked = entries[self.packings[entries] == _IN_FOLDER]
        entries = unpacked if len(unpacked) else entries
        sizes = self.sizes[entries]
        if (sizes != sizes[0]).any():
            return AMBIGUOUS
        return int(entries[0]) if sizes[0] else EMPTY


def find_media(
    roots: Sequence[Path], *, by: By, skip: Sequence[Path] = (), suffixes: tuple[str, ...] = VIDEO_SUFFIXES
) -> Media:
    """Every video below `roots`, in folders and archives. skip: folders that are not looked into.

    Links that lead out of their root are not followed, but for those of a Hugging Face cache to its own blobs; they
    are named among the problems.
    """
    problems: list[Problem] = []
    folders: list[str] = []
    keys, owners, packings = array("Q"), array("q"), array("B")
    places, starts, packed, sizes = array("I"), array("q"), array("q"), array("q")

    def add(name: str, packing: int, place: int, start: int, stored: int, size: int) -> None:
        for key in [name.rpartition("/")[2]] if by == "name" else _tails(name):
            keys.append(key_of(key))
            owners.append(len(sizes))
        packings.append(packing)
        places.append(place)
        starts.append(start)
        packed.append(stored)
        sizes.append(size)

    files: list[Path] = []
    for root in dict.fromkeys(root.resolve() for root in roots):
        for folder, entries in _walk(root, {path.resolve() for path in skip}, problems):
            prefix = os.path.relpath(folder, root) + "/" if folder != str(root) else ""
            place = len(folders)
            for entry in entries:
                if entry.name.lower().endswith(suffixes):
                    if place == len(folders):
                        folders.append(folder)
                    add(prefix + entry.name, _IN_FOLDER, place, 0, 0, entry.stat().st_size)
                elif archive_kind(entry.name):
                    files.append(Path(entry.path))
    found = archives(list(dict.fromkeys(files)), problems)
    for place, archive in enumerate(found):
        for member in archive.members(suffixes, problems):
            if _leads_out(member.name):
                text = f"{member.name}: a name that leads out of the archive is not read"
                problems.append(Problem(text, str(archive.files[0])))
                continue
            add(os.path.normpath(member.name), PACKINGS.index(member.packing), place, *member[2:])
    order = np.argsort(np.asarray(keys, np.uint64), kind="stable")
    return Media(
        by,
        tuple(folders),
        tuple(found),
        np.asarray(keys, np.uint64)[order],
        np.asarray(owners, np.int64)[order],
        np.asarray(packings, np.uint8),
        np.asarray(places, np.uint32),
        np.asarray(starts, np.int64),
        np.asarray(packed, np.int64),
        np.asarray(sizes, np.int64),
        tuple(problems),
    )


def _walk(
    root: Path, skip: set[Path], problems: list[Problem]
) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Every folder below a root with its ordinary files, in order of name."""
    waiting = [str(root)]
    while waiting:
        folder = waiting.pop()
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        below: list[str] = []
        files: list[os.DirEntry[str]] = []
        for entry in entries:
            if entry.is_symlink() and leads_out(Path(entry.path), root):
                problems.append(Problem(f"a link that leads out of {root} is not followed", entry.path))
            elif entry.is_symlink() and not os.path.exists(entry.path):
                problems.append(
                    Problem(f"a link to a file that is not there: {os.readlink(entry.path)}", entry.path)
                )
            elif entry.is_file():
                files.append(entry)
            elif entry.name.startswith(".") or Path(entry.path) in skip:
                continue
            elif entry.is_dir(follow_symlinks=False):
                below.append(entry.path)
            elif not entry.is_dir():
                problems.append(Problem(unreadable(Path(entry.path)), entry.path))
        yield folder, files
        waiting += reversed(below)


def _tails(name: str) -> Iterator[str]:
    """A path and every shorter end of it: rows start theirs at the folder that an archive was unpacked in."""
    yield name
    while "/" in name:
        name = name.partition("/")[2]
        yield name


def _leads_out(name: str) -> bool:
    return name.startswith("/") or os.path.normpath(name).startswith("..") or "\0" in name or "\\" in name
