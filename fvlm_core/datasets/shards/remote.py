"""A pack that is read where it lies: its manifest and index first, then the samples that are asked for, each once."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from hashlib import sha256
from queue import SimpleQueue

from fvlm_core.datasets.remote.ranges import Refused, read_all, read_range
from fvlm_core.datasets.shards.index import Index, IndexEntry
from fvlm_core.datasets.shards.manifest import INDEX, MANIFEST, Manifest, parse_manifest
from fvlm_core.datasets.shards.tar import BLOCK, MAX_VIDEO
from fvlm_core.interfaces.data import Split
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.utils.address import Address
from fvlm_core.utils.data_files import NOTES
from fvlm_core.utils.errors import FvlmError, MissingData, UsageError
from fvlm_core.utils.parse_number import parse_count
from fvlm_core.utils.paths import cache_folder
from fvlm_core.utils.piece_cache import OtherContent, PieceCache

GIGABYTES = 50
"""Most that is kept on the local disk of what lies elsewhere, unless FVLM_REMOTE_GB says so."""

READERS = 8
"""Requests under way at a time in each process that reads ahead."""

_SHARD = re.compile(r"shard-\d{6,9}\.tar")


def remote_cache() -> PieceCache:
    """The pieces of remote files on this machine: below `FVLM_CACHE`, at most `FVLM_REMOTE_GB` (50) of them."""
    written = os.environ.get("FVLM_REMOTE_GB") or f"{GIGABYTES}"
    most = parse_count(written)
    if most is None or most <= 0:
        raise UsageError(f'FVLM_REMOTE_GB: expected a number of GB above 0, got "{written}"')
    return PieceCache(cache_folder("remote"), round(most * 1e9))


def find_remote_pack(address: Address, split: Split) -> tuple[RemotePack, bool]:
    """The pack at an address, or of a split below it; whether it is that of the split.

    Raises `MissingData` where there is neither, and as `RemotePack`.
    """
    divided = address.below(split)
    said: FvlmError | None = None
    for folder in (divided, address):
        file = folder.below(MANIFEST)
        try:
            content = read_all(file, NOTES)
        except (MissingData, Refused) as error:
            said = error
            continue
        return RemotePack(folder, parse_manifest(content, str(file))), folder is divided
    raise MissingData(
        f"{said}; nor {split}/{MANIFEST}: only packs are read where they lie (fvlm data pack makes them)"
    )


class RemotePack:
    """A pack at an address. Raises `UsageError` for one without the hashes of its samples.

    The index is held on the local disk while this process is there. Picklable: what another process reads is shared.
    """

    def __init__(self, address: Address, manifest: Manifest) -> None:
        for packed in manifest.shards:
            if not _SHARD.fullmatch(packed.file):
                raise UsageError(f"{address.below(MANIFEST)}: a shard of another name than shard-NUMBER.tar")
        self.address, self.manifest, self.cache = address, manifest, remote_cache()
        about = manifest.index
        file = self.cache.hold(
            about.sha256, about.bytes, lambda: read_range(address.below(INDEX), 0, about.bytes)
        )
        self.index = Index(file)
        if not self.index.hashed:
            raise UsageError(
                f"{address}: packed by an older fvlm, without a hash of each sample, so that a changed one would "
                "not be found: pack it again (JPEGs are taken over as they are), or copy it to this machine"
            )
        self._sizes = {packed.file: packed.bytes for packed in manifest.shards}

    def read(self, entry: IndexEntry, shard: str) -> tuple[bytes, int]:
        """A sample's part of its shard, and the byte at which it begins there.

        Raises `BadSample` for one that lies nowhere, and `FvlmError` for a shard that was changed since it was packed,
        or that nobody gives.
        """
        start, size = self._place(entry, shard)
        try:
            return self.cache.get(entry.digest.hex(), size, lambda: self._fetch(shard, start, size)), start
        except OtherContent as error:
            raise FvlmError(
                f"{self.address.below(shard)}: changed since it was packed: sample {entry.id}, bytes {start:,} to "
                f"{start + size:,}: {error}; pack it again, or put back what was written"
            ) from None

    def read_ahead(self, entries: Iterable[tuple[IndexEntry, str]]) -> None:
        """Begin to fetch samples, in this order. What fails is told to whoever reads it."""
        queue = _readers(os.getpid())
        for entry, shard in entries:
            queue.put((self, entry, shard))

    def ahead(self, entry: IndexEntry, shard: str) -> None:
        """Have a sample on the local disk."""
        start, size = self._place(entry, shard)
        self.cache.fetch(entry.digest.hex(), size, lambda: self._fetch(shard, start, size))

    def _fetch(self, shard: str, start: int, size: int) -> Iterator[bytes]:
        return read_range(self.address.below(shard), start, size)

    def _place(self, entry: IndexEntry, shard: str) -> tuple[int, int]:
        """Where the members of a sample begin, and their bytes, headers and padding too."""
        spans = zip((entry.json_start, *entry.starts), (entry.json_size, *entry.sizes), strict=True)
        end = max(start + size for start, size in spans)
        start, size = entry.json_start - BLOCK, -(-end // BLOCK) * BLOCK - entry.json_start + BLOCK
        inside = min(entry.json_start, *entry.starts) >= BLOCK and start + size <= self._sizes[shard]
        if not inside or not 0 < size <= MAX_VIDEO or len(entry.digest) != sha256().digest_size:
            raise BadSample(entry.id, f"{self.address.below(shard)}: its place in the index is none")
        return start, size


@cache
def _readers(process: int) -> SimpleQueue[tuple[RemotePack, IndexEntry, str]]:
    """What the threads of a process read ahead. They end with it, in the middle of a piece if need be."""
    queue: SimpleQueue[tuple[RemotePack, IndexEntry, str]] = SimpleQueue()

    def work() -> None:
        while True:
            pack, entry, shard = queue.get()
            with suppress(FvlmError, OSError):
                pack.ahead(entry, shard)

    for _ in range(READERS):
        threading.Thread(target=work, name="reads ahead", daemon=True).start()
    return queue
