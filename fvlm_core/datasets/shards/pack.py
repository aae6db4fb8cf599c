"""A data source to a folder of shards: planned, written in parallel, continued after a kill, joined and sealed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256 as sha256_of
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import PIL
from attrs import asdict, frozen

from fvlm_core.datasets.shards.index import join_indexes
from fvlm_core.datasets.shards.manifest import INDEX, MANIFEST, SKIPPED, Manifest, PackedFile, read_manifest
from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.datasets.shards.shard import WORK, PackJob, ShardReport, finished_shard, part_file
from fvlm_core.datasets.shards.workers import write_shards
from fvlm_core.interfaces.chat import Chat
from fvlm_core.interfaces.data import DataSource, Progress
from fvlm_core.media.decoders import versions_of
from fvlm_core.media.shown import sampling_of
from fvlm_core.recipes.resolved import plain
from fvlm_core.recipes.schema import Chosen
from fvlm_core.utils.atomic_files import read_json, sha256, sync_folder, write_json
from fvlm_core.utils.errors import FvlmError, UsageError
from fvlm_core.utils.folder_lock import holder, writing
from fvlm_core.utils.listing import listed


@frozen
class Packed:
    """What came of packing. skipped: samples left out, by reason. already: it was complete before."""

    folder: Path
    manifest: Manifest
    skipped: dict[str, int]
    already: bool = False


def pack(
    source: DataSource,
    origin: dict[str, Any],
    folder: Path,
    settings: PackSettings,
    *,
    chat: Chat | None = None,
    processes: int = 1,
    progress: Progress = lambda what, done, total: None,
) -> Packed:
    """Pack every sample of a source into `folder`; what an earlier call finished is kept.

    origin: what the source is, as plain values; it is recorded. The same source, settings and libraries give the same
    bytes in every file, whatever the processes. Raises `UsageError` when the folder holds another pack or something
    else, or no sample could be packed; `FvlmError` when another process writes it.
    """
    recipe = recipe_of(source, origin, settings, chat)
    if complete := begun_with(folder, recipe):
        return complete
    with writing(folder / WORK):
        nobody_else(folder)
        plan = folder / WORK / "recipe.json"
        if not plan.exists():
            write_json(plan, recipe)
        job = PackJob(source, settings, folder, chat)
        reports = written(job, range(job.shards), processes, progress)
        return seal(folder, recipe, reports, left_out(source))


def begun_with(folder: Path, recipe: dict[str, Any]) -> Packed | None:
    """Make the folder of a pack under way; the pack, where it is complete. Raises `UsageError` where another pack, or
    something else, is in it."""
    if (folder / MANIFEST).exists():
        same_recipe(folder, read_manifest(folder).recipe, recipe)
        return Packed(folder, read_manifest(folder), reasons_of(folder), already=True)
    if folder.exists() and any(folder.iterdir()) and not (folder / WORK).is_dir():
        raise UsageError(
            f"{folder} is there, not empty, and no pack under way; give another folder with --to DIR"
        )
    (folder / WORK).mkdir(parents=True, exist_ok=True)
    if (plan := folder / WORK / "recipe.json").exists():
        same_recipe(folder, read_json(plan), recipe)
    for note in part_notes(folder):
        same_recipe(folder, note["recipe"], recipe)
    return None


def part_folder(folder: Path, number: int) -> Path:
    """Where part `number` of a pack under way keeps its note and its lock."""
    return folder / WORK / "parts" / f"{number:05d}"


def part_notes(folder: Path) -> Iterator[dict[str, Any]]:
    """What each part that was begun wrote down: the number of `parts`, the `recipe`, and what was `left_out`."""
    for file in sorted((folder / WORK / "parts").glob("*/note.json")):
        with suppress(FileNotFoundError):
            yield read_json(file)


def nobody_else(folder: Path) -> None:
    """For who has the lock of a pack under way. Raises `FvlmError` where a process writes a part of it."""
    for part in sorted((folder / WORK / "parts").glob("*")):
        if owner := holder(part):
            raise FvlmError(
                f"{folder}: part {int(part.name)} is being written by {owner}; wait for it or stop it"
            )


def left_out(source: DataSource) -> list[str]:
    """What the source could not list, in words."""
    return [str(problem) for problem in source.problems()]


def origin_of(chosen: Chosen, split: str) -> dict[str, Any]:
    """What a component's samples are, for the record: its name, its config and the split."""
    return {**plain(chosen), "split": split}


def written(
    job: PackJob, numbers: range, processes: int, progress: Progress, *, hashes: bool = False
) -> list[ShardReport]:
    """A report of each of these shards, written now or before. hashes: see `finished_shard`."""
    reports: dict[int, ShardReport] = {}
    for number in numbers:
        report = finished_shard(job.folder, number, hashes=hashes)
        if report is not None:
            reports[number] = report
    missing = [number for number in numbers if number not in reports]
    seen = {place for number in reports for place in job.places(number)}
    count = sum(len(job.places(number)) for number in numbers)
    what = f"packing {job.source.name}"
    progress(what, len(seen), count)

    def begun(place: int) -> None:
        seen.add(place)
        progress(what, len(seen) - 1, count)

    for report in write_shards(job, missing, processes, begun):
        reports[report.number] = report
    progress(what, count, count)
    return [reports[number] for number in numbers]


def seal(
    folder: Path, recipe: dict[str, Any], reports: Sequence[ShardReport], left_out: Sequence[str]
) -> Packed:
    """Join the parts of the index, name what was left out, and write the manifest, last; then nothing is under way.

    Raises `UsageError` when no sample could be packed. Called with the lock of the pack.
    """
    with (folder / SKIPPED).open("w", encoding="utf-8") as out:
        for problem in left_out:
            out.write(json.dumps({"sample": "", "reason": problem}, ensure_ascii=False) + "\n")
        for report in reports:
            for one in report.skipped:
                out.write(json.dumps({"sample": one.sample, "reason": one.reason}, ensure_ascii=False) + "\n")
    shards = [report.packed for report in reports if report.packed is not None]
    if not shards:
        raise UsageError(
            f"{folder}: no sample could be packed; {folder / SKIPPED} names every one with its reason"
        )
    whole = [report.number for report in reports if report.packed is not None]
    index = folder / INDEX
    with TemporaryDirectory(dir=folder / WORK) as scratch:
        joined = Path(scratch) / INDEX
        join_indexes(joined, [part_file(folder, number) for number in whole])
        joined.replace(index)
    sync_folder(folder)
    manifest = Manifest(
        recipe=recipe,
        samples=sum(shard.samples for shard in shards),
        frames=sum(report.frames for report in reports),
        skipped=sum(len(report.skipped) for report in reports),
        left_out=len(left_out),
        shards=tuple(shards),
        index=PackedFile(INDEX, index.stat().st_size, sha256(index)),
    )
    manifest.write(folder)
    shutil.rmtree(folder / WORK)
    return Packed(folder, manifest, reasons_of(folder))


def recipe_of(
    source: DataSource, origin: dict[str, Any], settings: PackSettings, chat: Chat | None
) -> dict[str, Any]:
    """Everything that decides the bytes of a pack. Raises `UsageError` for a source with more than a shard can hold."""
    if source.modalities:
        raise UsageError(
            f"{source.name} gives {listed(source.modalities)} beside frames and text, which a shard has no place for: "
            "name the source itself in the recipe"
        )
    how = asdict(settings) | sampling_of(source, settings.fps, settings.max_frames)
    del how["timeout"]
    return {
        "source": {
            "name": source.name,
            "samples": len(source),
            "fingerprint": source.fingerprint(),
            **origin,
        },
        "settings": {**how, "resize": "short side, bicubic, centre crop", "subsampling": "4:2:0"},
        "versions": {**versions_of(source), "pillow": PIL.__version__},
        "tokenizer": _tokenizer_hash(chat) if chat else "",
    }


def _tokenizer_hash(chat: Chat) -> str:
    with TemporaryDirectory() as scratch:
        file = Path(scratch) / "tokenizer.json"
        chat.save(file)
        return sha256_of(file.read_bytes()).hexdigest()


def same_recipe(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise `UsageError` for a pack of other samples or settings than it was begun with."""
    changed = [f"  {key}: {a} -> {b}" for key, a, b in _differences(before, json.loads(json.dumps(now)))]
    if changed:
        raise UsageError(
            "\n".join(
                [
                    f"{folder} holds a pack of other samples or settings; what differs:",
                    *changed,
                    "Give another folder with --to DIR, or remove that one.",
                ]
            )
        )


def _differences(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            yield from _differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif before != now:
        yield key, before, now


def reasons_of(folder: Path) -> dict[str, int]:
    """How many samples were left out for each reason, the most frequent first."""
    counts: dict[str, int] = {}
    with (folder / SKIPPED).open(encoding="utf-8") as file:
        for line in file:
            reason = json.loads(line)["reason"]
            counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
