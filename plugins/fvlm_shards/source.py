"""The data source: every sample of every shard by its number, read by offset."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from fvlm_core.plugin_api import (
    KINDS,
    Address,
    BadSample,
    DataSource,
    Index,
    IndexEntry,
    Manifest,
    Member,
    MissingData,
    Problem,
    RemotePack,
    Sample,
    Signatures,
    Split,
    StoredFrames,
    UsageError,
    VideoFile,
    data_handle,
    find_remote_pack,
    lines,
    read_manifest,
    tied_rows,
    wrong_sizes,
)
from fvlm_shards.config import Shards
from fvlm_shards.founding import list_shards, split_key
from fvlm_shards.records import RecordText, UnusableRecord, read_record
from fvlm_shards.token_ids import TokenIds

PACK, FROZEN, UNFINISHED = "pack.json", "frozen.json", ".packing"


def build(config: Shards, split: Split) -> ShardSource:
    """The samples of a split.

    Raises `MissingData` when nothing is there, and `UsageError` naming every shard that is missing, cut short or
    altered in size: a run must not begin on half of its data.
    """
    return ShardSource(config, split)


class ShardSource(DataSource):
    """The samples of one split, in the order of the shards. Opens no shard before a sample of it is asked for."""

    def __init__(self, config: Shards, split: Split) -> None:
        self.config = config
        self._token_ids = TokenIds(config.tokenizer) if config.tokenizer else None
        self._problems: tuple[Problem, ...] = ()
        self._remote: RemotePack | None = None
        groups: NDArray[np.uint64] | None = None
        if isinstance(config.path, Address):
            whole = self._find_pack(config.path, split)
        else:
            whole, groups = self._find_folder(config.path, split)
        whole = whole or not config.holdout
        self._rows = None if whole else self._held(split, self._groups() if groups is None else groups)

    def _find_folder(self, folder: Path, split: Split) -> tuple[bool, NDArray[np.uint64] | None]:
        """Open what is in a folder: whether all of it is of the split, and what decides the split of each sample
        where its index does not."""
        if not folder.is_dir():
            raise MissingData(f"{folder}: no such folder; fvlm data pack makes one of shards")
        divided = [name for name in ("train", "validation") if (folder / name / PACK).is_file()]
        if divided:
            if split not in divided:
                raise UsageError(f"{folder}: no pack of the {split} split in it; it holds {divided[0]}")
            folder /= split
        if (folder / UNFINISHED).is_dir():
            raise UsageError(
                f"{folder}: packing was not finished; the same fvlm data pack command continues it"
            )
        frozen = (folder / FROZEN).is_file()
        if frozen and split == "train":
            raise UsageError(f"{folder}: a frozen validation set is not trained on")
        groups: NDArray[np.uint64] | None = None
        if (folder / PACK).is_file():
            self._open_pack(folder)
        else:
            self._chosen = _FOUNDING
            listed = list_shards(self.config, folder)
            self.name = f"shards:{folder.name}"
            self._files, self._index = listed.files, listed.index
            self._problems, self._fingerprint = listed.problems, listed.fingerprint
            groups = listed.groups
        return bool(divided) or frozen, groups

    def _find_pack(self, address: Address, split: Split) -> bool:
        """Open the pack at an address: whether all of it is of the split."""
        self._remote, divided = find_remote_pack(address, split)
        manifest = self._remote.manifest
        frozen = "frozen" in manifest.recipe["source"]
        if frozen and split == "train":
            raise UsageError(f"{address}: a frozen validation set is not trained on")
        self._index = self._remote.index
        self._describe(manifest)
        return divided or frozen

    def __len__(self) -> int:
        return len(self._index) if self._rows is None else len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        entry = self._entry(index)
        file: Path | str = self._files[entry.shard]
        data, base = None, 0
        if self._remote is None:
            text = self._text(entry.id, Path(file), entry.json_start, entry.json_size)
        else:
            data, base = self._remote.read(entry, str(file))
            file = self._remote.address.below(str(file))
            begin = entry.json_start - base
            text = self._record(entry.id, file, entry.json_start, data[begin : begin + entry.json_size])
        video: StoredFrames | VideoFile | None = None
        if entry.kind != "text":
            video = evolve(
                self._chosen,
                path=file,
                starts=entry.starts,
                sizes=entry.sizes,
                times=entry.times,
                still=entry.kind == "still",
                apart=entry.kind == "stills",
                data=data,
                base=base,
            )
        if entry.kind == "video" and isinstance(file, Path):
            start, size = entry.starts[0], entry.sizes[0]
            video = VideoFile(file, member=Member(entry.id, (file,), "tar", start, size, size))
        return Sample(
            entry.id,
            text.source or self.name,
            text.turns,
            video,
            rejected=text.rejected,
            category=text.category,
            chance=text.chance,
        )

    def _entry(self, index: int) -> IndexEntry:
        return self._index[index if self._rows is None else int(self._rows[index])]

    def sample_id(self, index: int) -> str:
        return self._index.id(index if self._rows is None else int(self._rows[index]))

    def read_ahead(self, indices: Sequence[int]) -> None:
        if self._remote is not None:
            entries = map(self._entry, indices)
            self._remote.read_ahead((entry, str(self._files[entry.shard])) for entry in entries)

    def problems(self) -> tuple[Problem, ...]:
        return self._problems

    def frame_counts(self) -> Sequence[int] | None:
        if (self._index.column("kind") == KINDS.index("video")).any():  # clips that are still to be decoded
            return None
        frames = self._index.column("frames")
        return (frames if self._rows is None else frames[self._rows]).tolist()

    def signatures(self) -> Signatures | None:
        """What every sample is recognised by; None for shards that were not packed here."""
        content = self._index.column("content")
        if not len(content) or not (content.any() or (self._index.column("kind") == 0).all()):
            return None
        rows = np.arange(len(self._index)) if self._rows is None else self._rows
        offsets, hashes = self._index.lists("hashes")
        names = list(self._index.ids())
        return Signatures(
            names=[f"{self.name}/{names[row]}" for row in rows],
            content=content[rows],
            owners=np.repeat(np.arange(len(rows)), np.diff(offsets)[rows]),
            hashes=np.concatenate([hashes[offsets[row] : offsets[row + 1]] for row in rows])
            if len(rows)
            else np.zeros(0, np.uint64),
        )

    def fingerprint(self) -> str:
        rows = b"" if self._rows is None else self._rows.tobytes()
        return blake2b(self._fingerprint.encode() + rows, digest_size=8).hexdigest()

    def _open_pack(self, folder: Path) -> None:
        manifest = read_manifest(folder)
        if wrong := wrong_sizes(folder, manifest):
            raise UsageError(
                f"{folder}: {len(wrong)} of its files are not what was written "
                f"(fvlm data check {folder} looks closer):\n" + lines(wrong, indent="  ")
            )
        self._index = Index(folder / manifest.index.file)
        self._describe(manifest)
        self._files = tuple(folder / name for name in self._files)

    def _describe(self, manifest: Manifest) -> None:
        """What a manifest says of the samples, wherever it lies: they have the same name, order and fingerprint."""
        self.name = str(manifest.recipe["source"]["name"])
        self._chosen = _as_packed(manifest.recipe)
        self._files = tuple(map(Path, _numbered([shard.file for shard in manifest.shards])))
        shards = [shard.sha256 for shard in manifest.shards]
        self._fingerprint = blake2b(repr((shards, manifest.index.sha256)).encode()).hexdigest()

    def _groups(self) -> NDArray[np.uint64]:
        """What decides the split of each sample of a pack: the same for all that were made from the same file."""
        keys = np.fromiter((split_key(name) for name in self._index.ids()), np.uint64, len(self._index))
        content = self._index.column("content")
        shown = np.flatnonzero(content)  # 0: text, which shows nothing
        return tied_rows(keys, shown, content[shown])

    def _held(self, split: Split, groups: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """The rows of a split, where both lie in the same shards."""
        held = groups < np.uint64(round(self.config.holdout * 2**64))
        rows = np.flatnonzero(held if split == "validation" else ~held).astype(np.uint32)
        if not len(rows):
            raise UsageError(
                f"{self.config.path}: holdout = {self.config.holdout} of {len(self._index):,} samples leaves none for "
                f"{split}"
            )
        return rows

    def _text(self, name: str, file: Path, start: int, size: int) -> RecordText:
        """What the record of a sample says. Raises `BadSample`: the shard was altered after it was indexed."""
        try:
            handle = data_handle(file)
            try:
                content = os.pread(handle, size, start)
            finally:
                os.close(handle)
        except OSError as error:
            raise BadSample(name, f"{file}: its text at byte {start:,}: {error}") from error
        return self._record(name, file, start, content)

    def _record(self, name: str, file: Path | str, start: int, content: bytes) -> RecordText:
        """What the bytes of a record say. Raises as `_text`."""
        try:
            return read_record(content, self.config.prompt, self._token_ids)
        except UnusableRecord as error:
            raise BadSample(name, f"{file}: its text at byte {start:,}: {error}") from error


_FOUNDING = StoredFrames("", (), (), fps=1.0, max_frames=64)
"""How the frames of the founding project's shards were chosen: it had no other way."""


def _as_packed(recipe: Mapping[str, Any]) -> StoredFrames:
    """How the frames of a pack were chosen and its pictures made square."""
    settings, fit = recipe["settings"], recipe["source"].get("fit", "letterbox")
    return StoredFrames("", (), (), fps=settings["fps"], max_frames=settings["max_frames"], fit=fit)


def _numbered(names: Sequence[str]) -> list[str]:
    """The shards by their number: shards without a usable sample were not written, and leave a hole."""
    by_number = {int(name.rpartition("-")[2].partition(".")[0]): name for name in names}
    return [by_number.get(number, "") for number in range(max(by_number) + 1)]
