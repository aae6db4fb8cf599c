"""Pieces of files that lie elsewhere, kept on the local disk by the SHA-256 of what they hold.

All processes of a machine share the folder. A piece is whole or absent; each is fetched by one of those who want it;
the sizes of all of them never add up to more than the limit, whoever is killed whenever; what was used longest ago
makes room. The disk is not trusted: what is read is compared with its name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN
from hashlib import file_digest, sha256
from pathlib import Path

from attrs import define, field

from fvlm_core.utils.errors import FvlmError, UsageError
from fvlm_core.utils.flocks import flock

_PART = ".part"
"""Ends the name of a piece that is being fetched. Whoever fetches it has locked the file."""

_SPARED = 0.9
"""Of the limit, what is left once room was made: to look at all files takes 0.5 s for 100,000 of them."""

PATIENCE = 60.0
"""Seconds to wait for room while all that is there is in use."""

Fetch = Callable[[], Iterable[bytes]]
"""Gives the content of a piece, from its beginning."""


class OtherContent(FvlmError):
    """What was fetched is not what was asked for."""


@define(eq=False)
class PieceCache:
    """See the module. limit: bytes. Picklable; a copy in another process shares the folder, and holds nothing."""

    folder: Path
    limit: int
    _held: dict[str, int] = field(factory=dict[str, int], init=False)

    def __getstate__(self) -> tuple[Path, int]:
        return self.folder, self.limit

    def __setstate__(self, state: tuple[Path, int]) -> None:
        self.folder, self.limit = state
        self._held = {}

    def get(self, digest: str, size: int, fetch: Fetch) -> bytes:
        """The piece of `size` bytes whose SHA-256 (hexadecimal) is `digest`, fetched where it is not there.

        Raises `OtherContent` where what is fetched is another, `UsageError` where it is larger than the limit, and
        what `fetch` raises.
        """
        file = self._file(digest)
        while True:
            with suppress(FileNotFoundError):
                content = file.read_bytes()
                if len(content) == size and sha256(content).hexdigest() == digest:
                    with suppress(FileNotFoundError):
                        os.utime(file)
                    return content
                self._drop(file)  # the disk's fault, or somebody's hand
            self.fetch(digest, size, fetch)

    def hold(self, digest: str, size: int, fetch: Fetch) -> Path:
        """The file of a piece, which stays where it is as long as this process, or one forked from it, is there.

        Raises as `get`.
        """
        file = self._file(digest)
        while True:
            with suppress(FileNotFoundError):
                handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
                flock(handle, LOCK_SH, self.folder)
                with open(handle, "rb", closefd=False) as opened:
                    whole = (
                        os.fstat(handle).st_size == size
                        and file_digest(opened, "sha256").hexdigest() == digest
                    )
                if whole and _is(file, handle):
                    os.utime(file)
                    self._held[digest] = handle
                    return file
                flock(handle, LOCK_UN, self.folder)
                os.close(handle)
                self._drop(file)
            self.fetch(digest, size, fetch)

    def fetch(self, digest: str, size: int, fetch: Fetch) -> None:
        """Have a piece there, if nobody has it removed at once. Raises as `get`."""
        if size > self.limit * _SPARED:
            raise UsageError(
                f"{self.folder}: {size / 1e9:,.2f} GB are read at once, and {self.limit / 1e9:,.2f} GB may be kept: "
                "raise FVLM_REMOTE_GB"
            )
        file = self._file(digest)
        if file.exists():
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(file.name + _PART)
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            flock(handle, LOCK_EX, self.folder)  # where another has it: waits until it is there
            if not _is(part, handle):
                return
            if file.exists():
                part.unlink()
                return
            self._fill(file, part, handle, size, digest, fetch)
        finally:
            flock(handle, LOCK_UN, self.folder)  # a process forked meanwhile has the handle, too
            os.close(handle)

    def _fill(self, file: Path, part: Path, handle: int, size: int, digest: str, fetch: Fetch) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            with self._counted() as count:
                total = self._made_room(size, but=part)
                count(total + size if total + size <= self.limit else total)
                if total + size <= self.limit:
                    os.ftruncate(handle, size)
                    break
            if time.monotonic() > end:
                part.unlink(missing_ok=True)
                raise FvlmError(
                    f"{self.folder}: {total / 1e9:,.2f} GB of it are in use, and {self.limit / 1e9:,.2f} GB may be "
                    "kept: raise FVLM_REMOTE_GB"
                )
            time.sleep(0.02)  # what others are fetching is free once they have it
        try:
            found, written = sha256(), 0
            for content in fetch():
                if written + len(content) > size:
                    raise OtherContent("more than was asked for")
                found.update(content)
                written += os.pwrite(handle, content, written)
            if written < size or found.hexdigest() != digest:
                raise OtherContent(f"SHA-256 {found.hexdigest()[:16]}… where {digest[:16]}… was written")
            with self._counted():  # whoever counts all files would see neither name
                part.rename(file)
        except BaseException:
            self._drop(part)
            raise

    def _file(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest[2:]

    def _drop(self, file: Path) -> None:
        """Remove a file, if it is still there."""
        with self._counted() as count, suppress(FileNotFoundError):
            size = file.stat().st_size
            file.unlink()
            count(max(0, self._total() - size))

    @contextmanager
    def _counted(self) -> Generator[Callable[[int], None]]:
        """Alone with the sum of all sizes; gives what keeps a new one. It is never less than what is there: added to
        before a file grows, and taken from after it is gone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder / ".sum", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            flock(lock, LOCK_EX, self.folder)

            def count(total: int) -> None:
                os.pwrite(lock, b"%020d" % total, 0)

            yield count
        finally:
            flock(lock, LOCK_UN, self.folder)
            os.close(lock)

    def _total(self) -> int:
        """The sum as it was kept; counted anew where it is not there. Called by whoever is alone with it."""
        text = (self.folder / ".sum").read_bytes()
        return int(text) if len(text) == 20 and text.isdigit() else sum(size for _, size, _ in self._files())

    def _files(self) -> list[tuple[int, int, Path]]:
        """When each was used, its size, and which it is."""
        found: list[tuple[int, int, Path]] = []
        for folder in os.scandir(self.folder):
            if folder.is_dir(follow_symlinks=False):
                for entry in os.scandir(folder):
                    with suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        found.append((status.st_mtime_ns, status.st_size, Path(entry.path)))
        return found

    def _made_room(self, size: int, but: Path) -> int:
        """Remove what was used longest ago until there is room, if what is in use leaves any; the sum of what stays."""
        if (total := self._total()) + size <= self.limit:
            return total
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, taken, file in files:
            if total + size <= self.limit * _SPARED:
                break
            if file != but and _removed(file):
                total -= taken
        return total


def _removed(file: Path) -> bool:
    """Remove a piece, unless somebody holds or fetches it; whether it is gone."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        flock(handle, LOCK_EX | LOCK_NB, file)
        file.unlink(missing_ok=True)
        flock(handle, LOCK_UN, file)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def _is(file: Path, handle: int) -> bool:
    """Whether a name still is that of an open file."""
    try:
        named = os.stat(file)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(handle))
