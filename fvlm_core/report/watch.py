"""A live report of runs, for one person's browser: two fixed paths over HTTP, read-only, on the loopback interface.

What a page may do is in its own policy (`report.html.page`); whom it is given to, in `report.loopback`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from threading import Lock
from urllib.parse import parse_qs, urlsplit

from attrs import define, field

from fvlm_core.report.html import Content, fragments, page
from fvlm_core.report.loopback import LoopbackHandler, LoopbackServer
from fvlm_core.utils.errors import FvlmError
from fvlm_core.utils.folder_lock import is_running

Look = Callable[[], Content]
"""Reads the runs as they are now."""


class Server(LoopbackServer):
    """Answers `GET /` with the page and `GET /state.json` with what changed; nothing else. See `LoopbackServer`."""

    def __init__(self, host: str, port: int, board: Board, names: Sequence[str] = ()) -> None:
        self.board = board
        super().__init__(host, port, _Handler, names)


@define
class Board:
    """The page and its changes, made when they are asked for and something was written since.

    look: reads the runs. stamp: changes whenever a file that `look` reads does.
    """

    look: Look
    stamp: Callable[[], str]
    _lock: Lock = field(factory=Lock, init=False)
    _stamp: str = field(default="", init=False)
    _content: Content | None = field(default=None, init=False)
    _state: bytes = field(default=b"", init=False)
    _version: str = field(default="", init=False)

    def page(self) -> bytes:
        """The whole page, as it is now."""
        with self._lock:
            return page(self._now(), live=True).encode()

    def state(self, since: str) -> bytes | None:
        """What the page shows, as JSON; None when that is what the version `since` has."""
        with self._lock:
            self._now()
            return None if since == self._version else self._state

    def _now(self) -> Content:
        try:
            stamp = self.stamp()
            if self._content is not None and stamp == self._stamp:
                return self._content
            content = self.look()
        except (FvlmError, OSError, ValueError):  # a run that goes away, or is being put there, just now
            if self._content is None:
                raise
            return self._content
        self._content, self._stamp = content, stamp
        told = fragments(content)
        self._version = sha256(json.dumps(told).encode()).hexdigest()[:16]
        self._state = json.dumps({"version": self._version, **told}).encode()
        return content


def stamp_of(runs: Sequence[Path]) -> str:
    """Sizes and times of all small files in folders of runs and of their recipes, and which of the runs are held."""
    found: list[str] = []
    for folder in dict.fromkeys(folder for run in runs for folder in (run.parent, run)):
        found += [
            _stamp(file) for file in sorted(folder.iterdir()) if not file.is_dir() and file.name != ".lock"
        ]
    found += [f"{run} {is_running(run)}" for run in runs]  # a killed owner leaves its note behind
    return sha256("\n".join(found).encode("utf-8", "surrogateescape")).hexdigest()


def _stamp(file: Path) -> str:
    try:
        seen = file.stat()
    except OSError:  # gone since it was listed
        return ""
    return f"{file} {seen.st_size} {seen.st_mtime_ns}"


class _Handler(LoopbackHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]: the only one that uses it

    def do_GET(self) -> None:
        """The page or its state."""
        if not self.is_asked_here():
            self.answer(421, "text/plain", b"this server answers by its own name only\n")
            return
        asked = urlsplit(self.path)
        if asked.path == "/":
            self.answer(200, "text/html; charset=utf-8", self.server.board.page())
        elif asked.path == "/state.json":
            since = parse_qs(asked.query).get("since", [""])[0]
            state = self.server.board.state(since)
            if state is None:
                self.answer(304, "", b"")
            else:
                self.answer(200, "application/json", state)
        else:
            self.answer(404, "text/plain", b"there is nothing here but / and /state.json\n")
