"""Whether shards are what was written: every file of a pack by size and hash, every other tar by its structure."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import frozen

from fvlm_core.datasets.shards.manifest import MANIFEST, PackedFile, read_manifest, wrong_sizes
from fvlm_core.datasets.shards.shard import WORK
from fvlm_core.datasets.shards.tar import BadShard, sample_keys, tar_members
from fvlm_core.interfaces.data import DataSource, Progress
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.utils.atomic_files import sha256
from fvlm_core.utils.errors import UsageError

THREADS = 4
"""Files that are hashed at a time: reading waits for the disk, and hashing leaves the interpreter's lock."""


@frozen
class Checked:
    """What a check found. wrong: a message for each file (or sample) that is not whole. by: what was compared."""

    files: int
    samples: int
    bytes: int
    wrong: tuple[str, ...]
    by: str


def shard_folders(root: Path) -> tuple[list[Path], list[Path]]:
    """The packs below a folder, and the tars that belong to none. Raises `UsageError` when there is neither."""
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder")
    packs = sorted(file.parent for file in root.rglob(MANIFEST))
    unfinished = sorted(folder.parent for folder in root.rglob(WORK) if folder.is_dir())
    others = [
        file
        for file in sorted(root.rglob("*.tar"))
        if not any(file.is_relative_to(folder) for folder in (*packs, *unfinished))
    ]
    if not packs and not others and not unfinished:
        raise UsageError(f"{root}: neither packs ({MANIFEST}) nor shards (*.tar) are in it")
    return packs, others


def check_pack(folder: Path, *, hashes: bool, progress: Progress) -> Checked:
    """Compare every file of a pack with its manifest. Raises `UsageError` for a manifest that cannot be read."""
    manifest = read_manifest(folder)
    wrong = wrong_sizes(folder, manifest)
    listed = {packed.file for packed in manifest.shards}
    for file in sorted(folder.glob("*.tar")):
        if file.name not in listed:
            wrong.append(f"{file}: not in the manifest: no sample of it is read")
    whole = [packed for packed in (*manifest.shards, manifest.index) if _has_size(folder, packed)]
    if hashes:
        wrong += _wrong_hashes(folder, whole, progress)
    files = (*manifest.shards, manifest.index)
    by = "size and SHA-256" if hashes else "size"
    return Checked(len(files), manifest.samples, sum(packed.bytes for packed in files), tuple(wrong), by)


def check_tars(files: list[Path], progress: Progress) -> Checked:
    """Walk the headers of tars that have no manifest: to the mark of the end, or to where they are damaged."""
    wrong: list[str] = []
    keys = 0
    for number, file in enumerate(files):
        progress("reading headers", number, len(files))
        try:
            keys += len(set(sample_keys(list(tar_members(file)))))
        except BadShard as error:
            wrong.append(str(error))
    progress("reading headers", len(files), len(files))
    size = sum(file.stat().st_size for file in files)
    return Checked(len(files), keys, size, tuple(wrong), "structure (there is no manifest to compare with)")


def check_samples(source: DataSource, size: int, progress: Progress) -> Iterator[str]:
    """Decode every sample of a source; a message for each that cannot be."""
    from fvlm_core.media.frames import decode_frames

    for number in range(len(source)):
        progress(f"decoding {source.name}", number, len(source))
        try:
            decode_frames(source[number], size)
        except BadSample as error:
            yield f"{source.name}: {error}"
    progress(f"decoding {source.name}", len(source), len(source))


def unfinished_packs(root: Path) -> list[str]:
    """Packs that were begun and not finished, a message each."""
    return [
        f"{folder.parent}: packing was not finished; the same fvlm data pack command continues it"
        for folder in sorted(root.rglob(WORK))
        if folder.is_dir()
    ]


def _has_size(folder: Path, packed: PackedFile) -> bool:
    file = folder / packed.file
    return file.is_file() and file.stat().st_size == packed.bytes


def _wrong_hashes(folder: Path, files: list[PackedFile], progress: Progress) -> Iterator[str]:
    what = f"hashing {folder.name}, MB"
    total = sum(packed.bytes for packed in files) >> 20
    done = 0
    progress(what, 0, max(total, 1))
    with ThreadPoolExecutor(THREADS) as pool:
        for packed, found in zip(files, pool.map(lambda one: sha256(folder / one.file), files), strict=True):
            done += packed.bytes
            progress(what, done >> 20, max(total, 1))
            if found != packed.sha256:
                yield (
                    f"{folder / packed.file}: altered: SHA-256 {found[:16]}…, written with {packed.sha256[:16]}…; "
                    f"it holds {packed.samples:,} samples"
                )
    progress(what, max(total, 1), max(total, 1))
