"""Data sets of videos with rows of text: which rows are samples of which split, and what is wrong with the others."""

from __future__ import annotations

import json
from abc import abstractmethod
from array import array
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from fvlm_core.datasets.sources.media import ABSENT, AMBIGUOUS, EMPTY, Media, key_of
from fvlm_core.datasets.sources.rows import Record, Refused, RowFile, of_another_shape
from fvlm_core.datasets.sources.settings import VideoSettings
from fvlm_core.datasets.sources.ties import tied_rows
from fvlm_core.interfaces.data import DataSource, Sample, Split, Turn
from fvlm_core.media.named_media import unshown
from fvlm_core.utils.disk_cache import keep_arrays, load_arrays, state_key
from fvlm_core.utils.errors import MissingData, Problem, UsageError
from fvlm_core.utils.paths import cache_folder

_WHY = {
    ABSENT: "no such video",
    AMBIGUOUS: "several different videos are called",
    EMPTY: "empty video (0 bytes)",
}
_COLUMNS = ("rows", "entries", "repeats", "groups", "contents", "unusable", "faults")
_VERSION = 4
"""Of the listings that are kept: how rows are read."""
_SHOWN = 5
"""Problems spelt out when nothing is left."""


@frozen
class VideoEntry:
    """What a row says. id: of its sample; where rows share one, the second on has its number, too (`a.mp4#2`).
    video: its name as the row has it. turns: the chat.

    group: what decides the split, the same for all rows of one video. seconds: its length if the row states it.
    """

    id: str
    video: str
    turns: tuple[Turn, ...]
    group: str
    seconds: float | None = None


@frozen(eq=False)
class VideoRowTable:
    """The usable rows of all files, and the unusable ones; columns of numbers only.

    rows: [n, 4]: file, number, start, length. entries: the video of each. repeats: rows above with the same id.
    groups: what decides the split. contents: a hash of id and turns.
    unusable: [m, 4] as rows, with faults: an index into `reasons` (a text, and `Problem.unseen`), or below 0 as
    `Media.find` gives it.
    """

    files: tuple[RowFile, ...]
    media: Media
    rows: NDArray[np.int64]
    entries: NDArray[np.int64]
    repeats: NDArray[np.int64]
    groups: NDArray[np.uint64]
    contents: NDArray[np.uint64]
    unusable: NDArray[np.int64]
    faults: NDArray[np.int64]
    reasons: tuple[tuple[str, str], ...]
    unnamed: int


class _RowsRead:
    """Rows as they are read, in arrays of numbers: a file of ten million of them has no room for objects."""

    def __init__(self) -> None:
        self.rows, self.faulty, self.faults = array("q"), array("q"), array("q")
        self.names, self.ids, self.groups = array("Q"), array("Q"), array("Q")
        self.chats, self.contents = array("Q"), array("Q")
        self.reasons: dict[tuple[str, str], int] = {}

    def refuse(self, place: tuple[int, int, int, int], refused: Refused) -> None:
        """A row that is no sample. place: as in `Listing.rows`."""
        self.faulty.extend(place)
        self.faults.append(self._number_of(str(refused), refused.unseen))

    def take(self, place: tuple[int, int, int, int], entry: VideoEntry, video: int) -> None:
        """A row that says what `entry` does. video: the key of its video's name."""
        self.rows.extend(place)
        self.names.append(video)
        self.ids.append(key_of(entry.id))
        self.groups.append(key_of(entry.group))
        self.chats.append(key_of(repr(entry.turns)))
        self.contents.append(key_of(repr((entry.id, entry.turns))))

    def listing(self, files: tuple[RowFile, ...], videos: Media) -> VideoRowTable:
        """Every row by what became of it: its video is found, and no row before it says the same of it."""
        places = np.asarray(self.rows, np.int64).reshape(-1, 4)
        found = videos.find(np.asarray(self.names, np.uint64))
        code = np.where(found < 0, found, 0)
        # An unusable video has no copies: each of its rows is one that has none.
        shows = np.where(found < 0, ~np.arange(len(found)), found)
        said = np.stack([shows, np.asarray(self.chats, np.uint64).view(np.int64)], 1)
        _, first, back = np.unique(said, axis=0, return_index=True, return_inverse=True)
        for row in np.flatnonzero(first[back] != np.arange(len(back))):
            place = places[first[back[row]]]
            reason = f"the same sample as {files[place[0]].problem(int(place[1]), '')}"
            code[row] = 1 + self._number_of(reason.rstrip(": "), "")
        good = code == 0
        unusable = np.concatenate([np.asarray(self.faulty, np.int64).reshape(-1, 4), places[~good]])
        of_code = np.where(code > 0, code - 1, code)[~good]
        reason_of = np.concatenate([np.asarray(self.faults, np.int64), of_code])
        keys, which = np.asarray(self.groups, np.uint64)[good], np.arange(int(good.sum()))
        shown = np.concatenate([keys, found[good].astype(np.uint64)])  # a hash, and the number of a video
        order = np.lexsort((unusable[:, 1], unusable[:, 0]))
        return VideoRowTable(
            files,
            videos,
            places[good],
            found[good],
            _repeats(np.asarray(self.ids, np.uint64)[good]),
            tied_rows(keys, np.concatenate([which, which]), shown),
            np.asarray(self.contents, np.uint64)[good],
            unusable[order],
            reason_of[order],
            tuple(self.reasons),
            int((videos.sizes > 0).sum()) - len(np.unique(found[found >= 0])),
        )

    def _number_of(self, reason: str, unseen: str) -> int:
        return self.reasons.setdefault((reason, unseen), len(self.reasons))


class VideoRows(DataSource):
    """Rows of one split, in the order of the files: one sample a row, but for copies (the same video, the same chat),
    which count once.

    A row's split is decided by a hash of its video, so that no video is in both splits, by whatever names its rows call
    it, and none changes sides when others come or go. A child says what a row means: `entry`.
    """

    def __init__(
        self,
        name: str,
        config: VideoSettings,
        split: Split,
        files: Sequence[RowFile],
        media: Callable[[], Media],
        *,
        holdout: float,
    ) -> None:
        """name: of the component. media: called once for a listing that train and validation share. holdout: share of
        the videos kept for validation; 0: the files hold one split alone, or both splits hold all.

        Raises `MissingData` when every row's video is absent, `UsageError` when no row is usable or none falls into
        the split.
        """
        self.name = name
        self.config = config
        key = (type(self), config, tuple((file, file.state) for file in files))
        self.listing = _shared(key, lambda: self._list(files, media))
        if not len(self.listing.rows):
            raise self._nothing()
        self._chosen = np.arange(len(self.listing.rows))
        if holdout:
            held_out = self.listing.groups < np.uint64(round(holdout * 2**64))
            self._chosen = np.flatnonzero(held_out if split == "validation" else ~held_out)
        if not len(self._chosen):
            raise self._empty(split, holdout)

    @abstractmethod
    def entry(self, file: int, number: int, record: Record) -> VideoEntry:
        """What row `number` of file `file` says. Raises `Refused`."""

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Sample:
        listing, config = self.listing, self.config
        row = int(self._chosen[index])
        file, number, start, length = map(int, listing.rows[row])
        entry = self.entry(file, number, listing.files[file].read(start, length)[0])
        video = listing.media.video(
            int(listing.entries[row]), entry.video, config.fps, config.max_frames, entry.seconds
        )
        repeat = int(listing.repeats[row])
        return Sample(f"{entry.id}#{repeat + 1}" if repeat else entry.id, self.name, entry.turns, video)

    def problems(self) -> tuple[Problem, ...]:
        """The rows left out in either split, then what is wrong with the archives."""
        listing = self.listing
        found: list[Problem] = []
        for (number, row), fault in zip(enumerate(listing.unusable), listing.faults, strict=True):
            file = listing.files[row[0]]
            if fault >= 0:
                text, unseen = listing.reasons[fault]
            else:
                entry = self.entry(int(row[0]), int(row[1]), file.read(int(row[2]), int(row[3]))[0])
                unseen = _WHY[int(fault)]
                text = f"{unseen}: {entry.video}"
            found.append(file.problem(int(listing.unusable[number, 1]), text, unseen))
        found += listing.media.problems
        if listing.unnamed:
            text = f"videos that no row names, and that are not used: {listing.unnamed:,}"
            found.append(Problem(text, str(self.config.path)))
        return tuple(found)

    def fingerprint(self) -> str:
        """Of every sample's id and text, and of how its frames are chosen."""
        digest = blake2b(repr((self.config.fps, self.config.max_frames)).encode(), digest_size=8)
        digest.update(self.listing.contents[self._chosen].tobytes())
        return digest.hexdigest()

    def _list(self, files: Sequence[RowFile], media: Callable[[], Media]) -> VideoRowTable:
        videos = media()
        settings = (type(self).__name__, self.name, _VERSION, repr(self.config), videos.state())
        kept = cache_folder("listings") / f"{state_key([file.path for file in files], *settings)}.arrays"
        if (saved := load_arrays(kept)) is not None:
            return _restored(saved, tuple(files), videos)
        read = _RowsRead()
        for file, opened in enumerate(files):
            for number, start, length, record, error in opened.scan():
                place = (file, number, start, length)
                try:
                    if error:
                        raise Refused(error)
                    with of_another_shape():
                        entry = self.entry(file, number, record)
                    if reason := unshown(entry.turns, 1):
                        raise Refused(reason, unseen=reason)
                except Refused as refused:
                    read.refuse(place, refused)
                    continue
                read.take(place, entry, videos.key(entry.video))
        listing = read.listing(tuple(files), videos)
        keep_arrays(
            kept,
            **{name: getattr(listing, name) for name in _COLUMNS},
            reasons=np.frombuffer(json.dumps(listing.reasons).encode(), np.uint8),
            unnamed=np.array(listing.unnamed),
        )
        return listing

    def _nothing(self) -> UsageError:
        problems = self.problems()
        shown = "\n".join(f"  {problem}" for problem in problems[:_SHOWN])
        more = f"\n  and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
        text = f"{self.config.path}: none of its rows can be used:\n{shown}{more}"
        if self.listing.faults.size and (self.listing.faults == ABSENT).all():
            command = f"fvlm data fetch {self.name} --to {self.config.path}"
            return MissingData(f"{text}\n  get them with: {command}")
        return UsageError(text)

    def _empty(self, split: Split, holdout: float) -> UsageError:
        """Which holdout would leave the split a row: few videos, chosen by hash, may all fall to one side."""
        groups = self.listing.groups
        edge = int(groups.min()) if split == "validation" else int(groups.max())
        enough = -(-edge * 1000 // 2**64) / 1000 if split == "validation" else (edge * 1000 // 2**64) / 1000
        return UsageError(
            f"{self.config.path}: holdout = {holdout} of so few videos leaves none for {split}; "
            f"{enough:.3f} would leave one"
        )


def _restored(saved: dict[str, NDArray[Any]], files: tuple[RowFile, ...], media: Media) -> VideoRowTable:
    columns = {name: saved[name] for name in _COLUMNS}
    reasons = tuple((text, unseen) for text, unseen in json.loads(saved["reasons"].tobytes()))
    return VideoRowTable(files, media, **columns, reasons=reasons, unnamed=int(saved["unnamed"]))


def _repeats(ids: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Of each row, how many rows above it have the same id."""
    order = np.argsort(ids, kind="stable")
    alike = ids[order]
    repeats = np.empty(len(ids), np.int64)
    repeats[order] = np.arange(len(ids)) - np.searchsorted(alike, alike)
    return repeats


_LISTINGS: dict[Any, Any] = {}
_KEPT = 4


def _shared(key: Any, make: Callable[[], VideoRowTable]) -> VideoRowTable:
    """The listing of a key, made once: train and validation are opened one after the other."""
    if key not in _LISTINGS:
        if len(_LISTINGS) >= _KEPT:
            del _LISTINGS[next(iter(_LISTINGS))]
        _LISTINGS[key] = make()
    return _LISTINGS[key]
