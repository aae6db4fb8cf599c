"""One shard: a range of a source's samples written to a tar, and what became of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import asdict, field, frozen

from fvlm_core.datasets.shards.encode import Encoded, encode
from fvlm_core.datasets.shards.index import IndexEntry, write_index
from fvlm_core.datasets.shards.manifest import PackedFile
from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.datasets.shards.tar import TarWriter
from fvlm_core.interfaces.chat import Chat
from fvlm_core.interfaces.data import DataSource
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.utils.atomic_files import read_json, sha256, sync_folder, write_json

WORK = ".packing"
"""The folder inside a pack under way that holds the reports and index parts of its finished shards."""


@frozen
class Skipped:
    """A sample left out: its place in the source, its id, and why."""

    place: int
    sample: str
    reason: str


@frozen
class ShardReport:
    """A finished shard. packed: None when none of its samples could be used, and there is no file. index: the SHA-256
    of its part of the index, where there is one."""

    number: int
    packed: PackedFile | None
    frames: int
    skipped: tuple[Skipped, ...]
    index: str = ""


@frozen(eq=False)
class PackJob:
    """What every worker is given. chat: counts tokens, if there is one. count: samples of the source."""

    source: DataSource
    settings: PackSettings
    folder: Path
    chat: Chat | None = None
    count: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "count", len(self.source))

    @property
    def shards(self) -> int:
        """How many shards there are at most."""
        return -(-self.count // self.settings.samples)

    def places(self, number: int) -> range:
        """The samples of a shard."""
        size = self.settings.samples
        return range(number * size, min((number + 1) * size, self.count))


def shard_name(number: int) -> str:
    """The file of a shard."""
    return f"shard-{number:06d}.tar"


def part_file(folder: Path, number: int) -> Path:
    """The index of one finished shard, while others are under way."""
    return folder / WORK / f"{number:06d}.arrow"


def write_shard(
    job: PackJob, number: int, blocked: Mapping[int, Skipped], begin: Callable[[int | None, str], None]
) -> ShardReport:
    """Write shard `number` and its part of the index, whole or not at all.

    blocked: places that are not tried: they ended a worker before. begin: told of each place before it is read, and
    once more, with the sample's id, before it is decoded; of None when none is any more.
    """
    file = job.folder / shard_name(number)
    temporary = job.folder / WORK / f"{file.name}.{os.getpid()}"
    entries: list[IndexEntry] = []
    skipped: list[Skipped] = []
    with temporary.open("wb") as out:
        tar = TarWriter(out)
        for place in job.places(number):
            if place in blocked:
                skipped.append(blocked[place])
                continue
            name = f"sample {place}"
            begin(place, name)
            try:
                sample = job.source[place]
                name = sample.id
                begin(place, name)
                encoded = encode(sample, job.settings, job.chat)
            except BadSample as error:
                skipped.append(Skipped(place, name, error.reason))
                continue
            except Exception as error:  # a file in a million may break a decoder in a way nobody has met
                skipped.append(Skipped(place, name, f"unexpected {type(error).__name__}: {error}"))
                continue
            entries.append(_add(tar, f"{place:09d}", encoded, number))
        begin(None, "")  # writing waits for the disk, and is no sample's fault
        tar.close()
        out.flush()
        os.fsync(out.fileno())
    frames = sum(entry.frames for entry in entries)
    packed, index = None, ""
    if entries:
        write_index(part_file(job.folder, number), entries)
        index = sha256(part_file(job.folder, number))
        packed = PackedFile(file.name, temporary.stat().st_size, sha256(temporary), len(entries))
        temporary.replace(file)
        sync_folder(job.folder)
    else:
        temporary.unlink()
    report = ShardReport(number, packed, frames, tuple(skipped), index)
    write_json(_report_file(job.folder, number), asdict(report))
    return report


def finished_shard(folder: Path, number: int, *, hashes: bool = False) -> ShardReport | None:
    """The report of a shard that an earlier call wrote; None when it has to be written. hashes: whether its files are
    compared with theirs too, and not their sizes alone."""
    try:
        record = read_json(_report_file(folder, number))
    except (OSError, ValueError):
        return None
    packed = PackedFile(**record["packed"]) if record["packed"] else None
    if packed is not None:
        file = folder / packed.file
        if not file.exists() or file.stat().st_size != packed.bytes or not part_file(folder, number).exists():
            return None
        if hashes and (sha256(file), sha256(part_file(folder, number))) != (
            packed.sha256,
            record.get("index"),
        ):
            return None
    skipped = tuple(Skipped(**one) for one in record["skipped"])
    return ShardReport(record["number"], packed, record["frames"], skipped, record.get("index", ""))


def _report_file(folder: Path, number: int) -> Path:
    return folder / WORK / f"{number:06d}.json"


def _add(tar: TarWriter, key: str, encoded: Encoded, shard: int) -> IndexEntry:
    text = tar.add(f"{key}.json", encoded.text)
    names = (
        [f"{key}.jpg"]
        if encoded.kind == "still"
        else [f"{key}.{n:03d}.jpg" for n in range(len(encoded.pictures))]
    )
    pictures = [tar.add(name, content) for name, content in zip(names, encoded.pictures, strict=True)]
    return IndexEntry(
        id=encoded.id,
        shard=shard,
        kind=encoded.kind,
        json_start=text.start,
        json_size=text.size,
        starts=tuple(picture.start for picture in pictures),
        sizes=tuple(picture.size for picture in pictures),
        times=encoded.times,
        frames=len(pictures),
        characters=encoded.characters,
        tokens=encoded.tokens,
        content=encoded.content,
        hashes=encoded.hashes,
        digest=tar.digest(),
    )
