"""`pack.json`: what a folder of shards holds, from what and how it was made, and the size and hash of every file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from fvlm_core.utils.atomic_files import write_json
from fvlm_core.utils.data_files import NOTES, read_data
from fvlm_core.utils.errors import UsageError

MANIFEST = "pack.json"
INDEX = "index.arrow"
SKIPPED = "skipped.jsonl"
FORMAT = "fvlm-shards/1"


@frozen
class PackedFile:
    """A file of a pack: its size and SHA-256 when it was written. samples: in it, 0 for the index."""

    file: str
    bytes: int
    sha256: str
    samples: int = 0


@frozen
class Manifest:
    """A pack. recipe: what it was made from and how, as plain values; it decides whether a pack can be continued.

    skipped, left_out: samples that could not be packed, and rows that the source could not list; `skipped.jsonl` names
    each with its reason.
    """

    recipe: dict[str, Any]
    samples: int
    frames: int
    skipped: int
    left_out: int
    shards: tuple[PackedFile, ...]
    index: PackedFile

    def write(self, folder: Path) -> None:
        """Write it into the folder, whole or not at all."""
        write_json(folder / MANIFEST, {"format": FORMAT, **asdict(self)})


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder. Raises `UsageError` when there is none that can be read."""
    file = folder / MANIFEST
    try:
        content = read_data(file, NOTES, inside=folder)
    except OSError as error:
        raise UsageError(f"{file}: not the manifest of a pack: {error}") from error
    return parse_manifest(content, str(file))


def parse_manifest(content: bytes, file: str) -> Manifest:
    """What stands in a manifest. file: its name, for messages. Raises as `read_manifest`."""
    try:
        record = json.loads(content)
        if record.pop("format") != FORMAT:
            raise UsageError(
                f"{file}: expected the format {FORMAT}: pack again, or use the fvlm that wrote it"
            )
        record["shards"] = tuple(PackedFile(**shard) for shard in record["shards"])
        record["index"] = PackedFile(**record["index"])
        return Manifest(**record)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(f"{file}: not the manifest of a pack: {error}") from error


def wrong_sizes(folder: Path, manifest: Manifest) -> list[str]:
    """Every file that is missing or has another size than when it was written, a message each; one stat a file."""
    wrong: list[str] = []
    for packed in (*manifest.shards, manifest.index):
        file = folder / packed.file
        try:
            size = file.stat().st_size
        except OSError as error:
            wrong.append(f"{file}: {error.strerror or error}; it held {packed.samples:,} samples")
            continue
        if size != packed.bytes:
            what = "cut short" if size < packed.bytes else "altered"
            wrong.append(f"{file}: {what}: {size:,} bytes, written with {packed.bytes:,}")
    return wrong
