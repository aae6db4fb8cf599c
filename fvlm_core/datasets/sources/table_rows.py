"""Data sets in Parquet tables: which rows are samples of which split, and what is wrong with the others."""

from __future__ import annotations

import json
from abc import abstractmethod
from array import array
from hashlib import blake2b
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from fvlm_core.datasets.sources.parquet import Parquet
from fvlm_core.datasets.sources.rows import Record, Refused, of_another_shape
from fvlm_core.datasets.sources.ties import tied_rows
from fvlm_core.interfaces.data import DataSource, Fit, ImageFile, Sample, Split, Turn
from fvlm_core.media.named_media import media_keys, unshown
from fvlm_core.utils.disk_cache import keep_arrays, load_arrays, state_key
from fvlm_core.utils.errors import Problem, UsageError
from fvlm_core.utils.paths import cache_folder

_VERSION = 4
"""Of what is kept in the cache: to be raised when rows come to mean something else."""


@frozen
class TableEntry:
    """What a row says: a chat, encoded pictures, and the chat with a worse last answer where the set has one."""

    turns: tuple[Turn, ...]
    pictures: tuple[bytes, ...] = ()
    rejected: tuple[Turn, ...] = ()


@frozen(eq=False)
class TableListing:
    """rows: the usable ones. groups: of each, what decides its split. unusable, faults: the others, and an index into
    `reasons` for each: a text, and `Problem.unseen`."""

    rows: NDArray[np.int64]
    groups: NDArray[np.uint64]
    unusable: NDArray[np.int64]
    faults: NDArray[np.int64]
    reasons: tuple[tuple[str, str], ...]


class TableRows(DataSource):
    """Rows of one split of a table, in its order. A child says what a row means: `entry`.

    With a `holdout`, a row's split is decided by a hash of its pictures' bytes: rows that share a picture, also by way
    of a third row, are on the same side. To find that out, every row is read once; what was found is kept in the cache.
    Rows are read by whole row groups: in random order, a table of pictures is read many times over (pack it first).
    """

    def __init__(
        self,
        name: str,
        table: Parquet,
        split: Split,
        *,
        holdout: float = 0.0,
        fit: Fit = "letterbox",
        settings: tuple[object, ...] = (),
    ) -> None:
        """holdout: share of the pictures kept for validation; 0: the table holds one split alone. settings: of the
        config, those that decide which rows are usable.

        Raises `UsageError` when no row is usable or none falls into the split.
        """
        self.name, self.table = name, table
        self.fit: Fit = fit
        self.listing = self._listed(settings)
        if not len(self.listing.rows):
            problems = "\n".join(f"  {problem}" for problem in self.problems()[:5])
            raise UsageError(f"{table.files[0]}: none of its {len(table):,} rows can be used:\n{problems}")
        self._rows = self.listing.rows
        if holdout:
            held_out = self.listing.groups < np.uint64(round(holdout * 2**64))
            self._rows = self._rows[held_out if split == "validation" else ~held_out]
        if not len(self._rows):
            text = f"holdout = {holdout} of {len(self.listing.rows):,} rows leaves none for {split}"
            raise UsageError(f"{table.files[0]}: {text}")

    @abstractmethod
    def entry(self, record: Record) -> TableEntry:
        """What a row says. Raises `Refused`."""

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        row = int(self._rows[index])
        entry = self.entry(self.table.row(row))
        path, number = self.table.place(row)
        name = f"{path.parent.name}/{path.name.split('.')[0]}/{number}"
        images = tuple(
            ImageFile(path, None, data, f"row {number}, picture {place}", self.fit)
            for place, data in enumerate(entry.pictures)
        )
        return Sample(name, self.name, entry.turns, None, images, entry.rejected)

    def problems(self) -> tuple[Problem, ...]:
        """The rows left out, in either split."""
        found: list[Problem] = []
        for row, fault in zip(self.listing.unusable, self.listing.faults, strict=True):
            path, number = self.table.place(int(row))
            text, unseen = self.listing.reasons[fault]
            found.append(Problem(text, str(path), key=f"row {number}", unseen=unseen))
        return tuple(found)

    def fingerprint(self) -> str:
        """Of the files' names, sizes and row counts, and of the rows chosen; the rows themselves are not read."""
        digest = blake2b(self._rows.tobytes(), digest_size=8)
        for file in self.table.files:
            digest.update(repr((file.name, file.stat().st_size)).encode())
        return digest.hexdigest()

    def _listed(self, settings: tuple[object, ...]) -> TableListing:
        key = state_key(self.table.files, type(self).__name__, _VERSION, settings)
        kept = cache_folder("listings") / f"{key}.arrays"
        saved = load_arrays(kept)
        if saved is not None:
            rows, groups, unusable, faults = (
                saved[name] for name in ("rows", "groups", "unusable", "faults")
            )
            reasons = tuple((text, unseen) for text, unseen in json.loads(saved["reasons"].tobytes()))
            return TableListing(rows, groups, unusable, faults, reasons)
        listing = self._list()
        keep_arrays(
            kept,
            rows=listing.rows,
            groups=listing.groups,
            unusable=listing.unusable,
            faults=listing.faults,
            reasons=np.frombuffer(json.dumps(listing.reasons).encode(), np.uint8),
        )
        return listing

    def _list(self) -> TableListing:
        rows, unusable, faults = array("q"), array("q"), array("q")
        counts, keys = array("q"), array("Q")
        reasons: dict[tuple[str, str], int] = {}
        for row, record in self.table.records(lambda _: True):
            try:
                if isinstance(record, str):
                    raise Refused(record)
                with of_another_shape():
                    entry = self.entry(record)
                _refuse_blind(entry, record)
            except Refused as refused:
                unusable.append(row)
                faults.append(reasons.setdefault((str(refused), refused.unseen), len(reasons)))
                continue
            rows.append(row)
            counts.append(len(entry.pictures))
            for picture in entry.pictures:
                keys.append(int.from_bytes(blake2b(picture, digest_size=8).digest(), "big"))
        return TableListing(
            np.asarray(rows, np.int64),
            _groups(np.asarray(counts, np.int64), np.asarray(keys, np.uint64)),
            np.asarray(unusable, np.int64),
            np.asarray(faults, np.int64),
            tuple(reasons),
        )


def picture_of(value: Any) -> bytes:
    """The bytes of a picture in a table: a struct of bytes and path, as the hub stores them. Raises `Refused`."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(content, bytes) and content:
        return content
    path = value.get("path") if isinstance(value, dict) else None
    text = "a picture without bytes"
    raise Refused(f"{text} (only its path: {path})" if path else text, unseen=text)


def _refuse_blind(entry: TableEntry, record: Record) -> None:
    """Raise `Refused` for a row that names pictures or videos which the entry does not show.

    A row says `is_text_only` where a name in it only looks like one (`src/app.ts`), as a record of a shard does.
    """
    shown = (len(entry.pictures),) if entry.pictures else ()
    text_only: Any = record.get("is_text_only")
    if text_only is True and shown:
        raise Refused("is_text_only is true, and a picture is there")
    if text_only is False and not shown:
        text = "is_text_only is false, and no picture is there"
        raise Refused(text, unseen=text)
    if not shown and text_only is not True and (keys := media_keys(record)):
        text = f"names a picture or video that is not read ({', '.join(keys)})"
        raise Refused(text, unseen=text)
    if reason := unshown(entry.turns, *shown):
        raise Refused(reason, unseen=reason)


def _groups(counts: NDArray[np.int64], keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """For each row, the least key of all pictures that it is tied to; 0 for rows without pictures.

    counts: pictures of each row. keys: of the pictures, row after row.
    """
    owners = np.repeat(np.arange(len(counts)), counts)
    none, most = np.uint64(0), np.uint64(np.iinfo(np.uint64).max)  # numpy 2.5 takes a Python int for int64
    least = np.where(counts > 0, most, none)
    np.minimum.at(least, owners, keys)
    return tied_rows(least, owners, keys)
