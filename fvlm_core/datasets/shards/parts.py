"""A pack in parts: each a range of its shards, packed, continued and checked by itself on any machine; then joined.

A part touches its own files alone: shards and reports, whose names are those of packing in one go, and a note of what
it was made from. So the parts of a folder that machines share, or of folders copied into one, are sealed as a whole,
and what a part lacks is all that is made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen, validators

from fvlm_core.datasets.shards.check import THREADS
from fvlm_core.datasets.shards.manifest import MANIFEST, read_manifest
from fvlm_core.datasets.shards.pack import (
    Packed,
    begun_with,
    left_out,
    nobody_else,
    part_folder,
    part_notes,
    reasons_of,
    recipe_of,
    same_recipe,
    seal,
    written,
)
from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.datasets.shards.shard import WORK, PackJob, ShardReport, finished_shard
from fvlm_core.interfaces.chat import Chat
from fvlm_core.interfaces.data import DataSource, Progress
from fvlm_core.utils.atomic_files import write_json
from fvlm_core.utils.errors import FvlmError, UsageError
from fvlm_core.utils.folder_lock import holder, writing

PartState = Literal["done", "under way", "begun", "not begun"]
"""`begun`: some of it is there, and nobody makes the rest."""


@frozen
class Part:
    """Part `number` of `of`, counted from 1."""

    number: int
    of: int = field(validator=validators.ge(1))

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise UsageError(f"--part {self.number}: expected 1 to {self.of}, as --parts {self.of} says")

    def shards(self, every: int) -> range:
        """Its shards of all: as many as another part has, or one more."""
        return range((self.number - 1) * every // self.of, self.number * every // self.of)

    def __str__(self) -> str:
        return f"part {self.number} of {self.of}"


@frozen
class PackedPart:
    """What came of a part. made: shards written now. samples, bytes: in all of its shards. skipped: left out."""

    folder: Path
    part: Part
    shards: int
    made: int
    samples: int
    bytes: int
    skipped: int


def pack_part(
    source: DataSource,
    origin: dict[str, Any],
    folder: Path,
    settings: PackSettings,
    part: Part,
    *,
    chat: Chat | None = None,
    processes: int = 1,
    progress: Progress = lambda what, done, total: None,
) -> PackedPart | Packed:
    """Pack one part of a source into `folder`, beside the others; the pack, where it is complete and sealed.

    What an earlier call finished is compared with its hashes, and only what is lost or altered is made again. Raises as
    `fvlm_core.datasets.shards.pack.pack`, and `UsageError` where the others are parts of another number of parts.
    """
    recipe = recipe_of(source, origin, settings, chat)
    if complete := begun_with(folder, recipe):
        return complete
    _same_number(folder, part.of)
    own = part_folder(folder, part.number)
    own.mkdir(parents=True, exist_ok=True)
    with writing(own):
        if owner := holder(folder / WORK):
            raise FvlmError(
                f"{folder}: all of it is being packed, or joined, by {owner}; wait for it or stop it"
            )
        write_json(own / "note.json", {"parts": part.of, "recipe": recipe, "left_out": left_out(source)})
        job = PackJob(source, settings, folder, chat)
        numbers = part.shards(job.shards)
        there = sum(finished_shard(folder, number, hashes=True) is not None for number in numbers)
        reports = written(job, numbers, processes, progress, hashes=True)
    packed = [report.packed for report in reports if report.packed]
    return PackedPart(
        folder,
        part,
        len(numbers),
        len(numbers) - there,
        sum(one.samples for one in packed),
        sum(one.bytes for one in packed),
        sum(len(report.skipped) for report in reports),
    )


@frozen
class PartStatus:
    """How far a part is. lacking: its shards that are not there. by: who makes it."""

    part: Part
    state: PartState
    shards: int
    lacking: tuple[int, ...]
    by: str = ""

    def __str__(self) -> str:
        have = f"{self.shards - len(self.lacking):,} of {self.shards:,} shards"
        return f"{self.part}: {self.state}, {have}{f', by {self.by}' if self.by else ''}"


def part_status(folder: Path, part: Part, shards: int) -> PartStatus:
    """How far a part is, by the names and sizes of its files. shards: of the whole pack."""
    numbers = part.shards(shards)
    lacking = tuple(number for number in numbers if finished_shard(folder, number) is None)
    own = part_folder(folder, part.number)
    by = holder(own) if lacking and own.is_dir() else ""
    state: PartState = (
        "done" if not lacking else "under way" if by else "begun" if own.is_dir() else "not begun"
    )
    return PartStatus(part, state, len(numbers), lacking, by)


def packs_in_parts(root: Path) -> list[Path]:
    """The packs below a folder that are made in parts and not joined yet. Raises `UsageError` where there is none."""
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder")
    found = sorted({work.parent for work in root.rglob(WORK) if (work / "parts").is_dir()})
    if not found and not any(root.rglob(MANIFEST)):
        raise UsageError(
            f"{root}: no parts of a pack are in it; fvlm data pack --parts N --part K makes them"
        )
    return found


def join_parts(
    folder: Path, *, hashes: bool = True, progress: Progress = lambda what, done, total: None
) -> Packed:
    """Seal the parts of a pack as one: the same bytes, in every file, as packing in one go.

    hashes: whether every shard is compared with its hash, and not its size alone. Raises `FvlmError` naming each part
    that lacks something, or is being written; `UsageError` for parts that do not belong together.
    """
    if (folder / MANIFEST).exists():
        return Packed(folder, read_manifest(folder), reasons_of(folder), already=True)
    notes = list(part_notes(folder))
    if not notes:
        raise UsageError(f"{folder}: no part of it was begun")
    recipe, of = notes[0]["recipe"], notes[0]["parts"]
    for note in notes[1:]:
        same_recipe(folder, recipe, note["recipe"])
    _same_number(folder, of)
    with writing(folder / WORK):
        nobody_else(folder)
        shards = -(-recipe["source"]["samples"] // recipe["settings"]["samples"])
        reports = _reports(folder, shards, hashes, progress)
        lost = [number for number, report in enumerate(reports) if report is None]
        if lost:
            raise FvlmError(_lost(folder, [Part(number, of) for number in range(1, of + 1)], shards, lost))
        return seal(folder, recipe, [report for report in reports if report], notes[0]["left_out"])


def _same_number(folder: Path, parts: int) -> None:
    for note in part_notes(folder):
        if note["parts"] != parts:
            raise UsageError(
                f"{folder}: made in {note['parts']} parts, not {parts}: give --parts {note['parts']}"
            )


def _reports(folder: Path, shards: int, hashes: bool, progress: Progress) -> list[ShardReport | None]:
    what = f"{'hashing' if hashes else 'looking at'} {folder.name}, shards"
    found: list[ShardReport | None] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for report in pool.map(lambda number: finished_shard(folder, number, hashes=hashes), range(shards)):
            found.append(report)
            progress(what, len(found), shards)
    return found


def _lost(folder: Path, parts: Sequence[Part], shards: int, lost: Sequence[int]) -> str:
    lines: list[str] = []
    missing = set(lost)
    for part in parts:
        its = [number for number in part.shards(shards) if number in missing]
        if its:
            first = ", ".join(f"{number:06d}" for number in its[:5])
            more = f" and {len(its) - 5:,} more" if len(its) > 5 else ""
            begun = "" if part_folder(folder, part.number).is_dir() else ", not begun"
            lines.append(f"  {part}{begun}: {len(its):,} of {len(part.shards(shards)):,} shards are missing or not "
                         f"what was written: {first}{more}")  # fmt: skip
    head = f"{folder}: {len(lines):,} of {len(parts):,} parts are not whole; pack them again, each by --part:"
    return "\n".join((head, *lines))
