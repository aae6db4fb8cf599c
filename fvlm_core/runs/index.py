"""What was read of the runs of a store, remembered in one SQLite file: `RUNS/.cache/index.sqlite3`.

A row holds what files of a run said, the stamp that they had when they were read, and a checksum. There is one rule: a
row counts while its files have that stamp and its checksum is right. So nothing that befalls the file makes an answer
wrong: what a kill, another machine's writing or a bad disk has damaged is read again. A file that is no such index is
made again; where none can be opened, locked or written (a read-only store, a network disk without locks, a Python
without SQLite), everything is read from the runs' own files. It is safe to delete.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from attrs import define, field

from fvlm_core import __version__
from fvlm_core.utils.atomic_files import refuse_link
from fvlm_core.utils.errors import UsageError

if TYPE_CHECKING:
    import sqlite3

INDEX = Path(".cache") / "index.sqlite3"
"""Inside a run store."""

_NAME = f"fvlm_{__version__.replace('.', '_')}_1"
"""The table: which version has read the runs, and which layout this is. A file with another table is made again."""

_TABLE = (
    f"CREATE TABLE {_NAME} (part BLOB, run BLOB, stamp BLOB, content BLOB, seal INT, PRIMARY KEY (part, run)) "
    "WITHOUT ROWID"
)
_PATIENCE = 1.0
"""Seconds to wait for others who write; then it is done without the index."""

_BESIDE = ("-journal", "-wal", "-shm")
"""Ends of names of files that SQLite obeys. The index never has one: what lies there is somebody else's."""

_NAMES = ("utf-8", "surrogateescape")
"""How a folder's name is bytes, whatever it is."""

_NOT_NOW = {3, 5, 6, 7, 8, 9, 10, 13, 14, 15, 22, 23}
"""Codes of SQLite that say nothing against the file: PERM, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL,
CANTOPEN, PROTOCOL, NOLFS, AUTH."""

_value = json.JSONDecoder().raw_decode

T = TypeVar("T")


def stats_of(folder: str | Path, files: Iterable[str]) -> list[os.stat_result | None]:
    """What the system says of files of a folder; None of one that is not there."""
    return [_stat(f"{folder}/{name}") for name in files]


def _stat(file: str) -> os.stat_result | None:
    try:
        return os.stat(file)
    except OSError:
        return None


def stamp_of(files: Iterable[os.stat_result | None]) -> bytes:
    """Size, time of change in ns and inode of files in a fixed order; another stamp is another content.

    Small files of a run are replaced by renaming, which gives them another inode within one tick of the clock, too.
    """
    parts = [f"{s.st_size} {s.st_mtime_ns} {s.st_ino}" if s is not None else "-" for s in files]
    return ",".join(parts).encode()


@define
class RunIndex:
    """The index of a store. What is remembered is JSON values, by part (what was asked) and run (its folder below the
    store). Nothing here raises on its own account."""

    root: Path
    _parts: dict[str, dict[str, tuple[bytes, bytes]]] = field(factory=dict[str, Any])
    """What the file held when a part was first asked for."""
    _latest: tuple[Path | None, bytes, Any] = (None, b"", None)
    """What was read last: of which run, in which state."""
    _writable: bool = True

    def get(self, part: str, run: str, stamp: bytes) -> Any:
        """What is remembered of a run whose files have this stamp now; None when they must be read."""
        before, text = self._part(part).get(run, (b"", b""))
        return _value(text.decode())[0] if before == stamp else None

    def put(self, part: str, read: Iterable[tuple[str, bytes, Any]]) -> None:
        """Remember what was read: run, stamp of its files before they were read, value."""
        rows: list[tuple[bytes, bytes, bytes, bytes, int]] = []
        for run, stamp, value in read:
            row = (
                part.encode(),
                run.encode(*_NAMES),
                stamp,
                json.dumps(value, separators=(",", ":")).encode(),
            )
            rows.append((*row, _seal(row)))
        if rows:
            self._write(f"INSERT OR REPLACE INTO {_NAME} VALUES (?, ?, ?, ?, ?)", rows)

    def recall(
        self,
        part: str,
        folder: Path,
        files: Sequence[str],
        read: Callable[[], Any],
        take: Callable[[Any], Any] = lambda value: value,
    ) -> Any:
        """What `take` makes of what `read` gives, once for each state of these files of a run.

        Who asks for several parts of the same files, one after the other, has them read once. Raises as `read`, and
        remembers nothing then.
        """
        run = f"{folder.parent.name}/{folder.name}"
        stamp = stamp_of(stats_of(folder, files))
        value = self.get(part, run, stamp)
        if value is None:
            if self._latest[:2] != (folder, stamp):
                self._latest = folder, stamp, read()
            value = take(self._latest[2])
            self.put(part, [(run, stamp, value)])
        return value

    def forget_but(self, part: str, runs: Iterable[str]) -> None:
        """Forget all of the runs that this part knows and that are gone: `runs` are those that are there."""
        gone = self._part(part).keys() - set(runs)
        if gone:
            keys = [(part.encode(), run.encode(*_NAMES)) for run in gone]
            self._write(f"DELETE FROM {_NAME} WHERE part = ? AND run = ?", keys)
            kept = f"(SELECT run FROM {_NAME} WHERE part = ?)"
            self._write(f"DELETE FROM {_NAME} WHERE run NOT IN {kept}", [(part.encode(),)])

    def _part(self, part: str) -> dict[str, tuple[bytes, bytes]]:
        def rows(database: sqlite3.Connection) -> dict[str, tuple[bytes, bytes]]:
            found = database.execute(f"SELECT * FROM {_NAME} WHERE part = ?", (part.encode(),))
            return {row[1].decode(*_NAMES): row[2:4] for row in found if _seal(row[:4]) == row[4]}

        if part not in self._parts:
            self._parts[part] = _ask(self.root / INDEX, "ro", rows) or {}
        return self._parts[part]

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if self._writable:
            done = _ask(self.root / INDEX, "rw", lambda database: database.executemany(statement, rows))
            self._writable = done is not None  # what another one locks is waited for once


def _seal(columns: Sequence[bytes]) -> int:
    """The checksum of a row. Raises `TypeError` for columns that only damage can have made."""
    return zlib.crc32(b"\0".join(columns))


def _ask(file: Path, mode: str, ask: Callable[[sqlite3.Connection], T], *, again: bool = True) -> T | None:
    """What the database in a file answers; None when it cannot be asked. A damaged one is removed.

    mode: "ro" reads, "rw" writes, in one transaction, and makes the file where there is none.
    """
    try:
        import sqlite3
    except ImportError:
        return None
    try:
        refuse_link(file.parent, file)
        if mode == "rw":
            file.parent.mkdir(exist_ok=True)
            file.touch()  # with the modes of a new file; SQLite would give fewer
        for end in _BESIDE:
            file.with_name(file.name + end).unlink(missing_ok=True)
        place = f"file://{quote(os.fsencode(file.absolute()))}?mode={mode}"
        with closing(sqlite3.connect(place, uri=True, timeout=_PATIENCE)) as database, database:
            database.execute("PRAGMA journal_mode = MEMORY")
            database.execute("PRAGMA synchronous = OFF")  # what a loss of power damages is made again
            tables = list(database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))
            if tables and tables != [(_TABLE,)]:
                raise TypeError("another table")
            if not tables and mode == "ro":
                return None
            database.execute(_TABLE.replace("TABLE", "TABLE IF NOT EXISTS", 1))
            return ask(database)
    except (OSError, UsageError):
        return None
    except (sqlite3.Error, TypeError, UnicodeDecodeError) as error:
        # UnicodeDecodeError: SQLite's message for a damaged file may hold the file's own bytes.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NOT_NOW:
            return None
    with suppress(OSError):
        file.unlink(missing_ok=True)
        return _ask(file, mode, ask, again=False) if again and mode == "rw" else None
    return None
