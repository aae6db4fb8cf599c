"""The index of a run store: what its listing shows of every run, kept right by size, date and inode of each file.

One file, `RUNS/.cache/listing.json`: a line that vouches for the rest (layout, checksum), and the rest. It is
replaced as a whole, so that readers and writers at the same time see the old one or the new one; the last writer
wins, and what another one knew is read again. Safe to delete; a damaged one is made again.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import define, field

from fvlm_core.utils.atomic_files import refuse_link
from fvlm_core.utils.errors import UsageError

INDEX = Path(".cache") / "listing.json"
"""Inside a run store."""

_PYTHON = str(sys.implementation.cache_tag)
"""Its hash of numbers is what the stamps are."""


class Stamp:
    """Size, time of change in ns and inode of a run's small files as one number; another number is another content.

    All of them are replaced by renaming, which gives them a new inode even within one tick of the clock.
    """

    @staticmethod
    def of(files: Sequence[os.stat_result | None]) -> int:
        """The stamp of files in a fixed order; None for one that is not there."""
        return hash(
            tuple((s.st_size, s.st_mtime_ns, s.st_ino) if s is not None else (0, 0, 0) for s in files)
        )


@define
class Index:
    """Values by run folder, each under the stamp its files had when they were read.

    layout: what the values are, in order; an index of other values is made again.
    """

    file: Path
    layout: str
    _old: dict[str, list[Any]]
    _new: dict[str, list[Any]] = field(factory=dict[str, list[Any]])
    _changed: bool = False

    @classmethod
    def open(cls, root: Path, fields: Sequence[str]) -> Index:
        """The index of a store; an empty one when it is damaged, holds other fields, or is not there."""
        layout = f"{_PYTHON} {' '.join(fields)}"
        file = root / INDEX
        try:
            head, _, body = file.read_bytes().partition(b"\n")
            about: dict[str, Any] = json.loads(head)
            if about["layout"] == layout and about["crc32"] == zlib.crc32(body):
                return cls(file, layout, json.loads(body))
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return cls(file, layout, {})

    def get(self, folder: str, stamp: int) -> list[Any] | None:
        """What is known of a run whose files have this stamp; None when they must be read."""
        found = self._old.get(folder)
        if found is None or found[0] != stamp:
            return None
        self._new[folder] = found
        return found[1]

    def put(self, folder: str, stamp: int, values: list[Any]) -> None:
        """Remember what was read of a run."""
        self._new[folder] = [stamp, values]
        self._changed = True

    def close(self) -> None:
        """Write it when something came, changed or went; a store that cannot be written to has none."""
        if not self._changed and len(self._new) == len(self._old):
            return
        body = json.dumps(self._new, separators=(",", ":")).encode()
        head = json.dumps({"layout": self.layout, "crc32": zlib.crc32(body)}).encode()
        temporary = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        try:
            refuse_link(self.file.parent)
            self.file.parent.mkdir(exist_ok=True)
            temporary.write_bytes(head + b"\n" + body)
            temporary.replace(self.file)
        except (OSError, UsageError):
            with suppress(OSError):
                temporary.unlink()
