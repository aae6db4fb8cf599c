"""A live report of runs, for one person's browser: two fixed paths over HTTP, read-only, on the loopback interface.

What a page may do is in its own policy (`report.html.page`); here is what is answered, and to whom. The `Host` of every
request is checked, so that a site whose name was pointed at this machine cannot read the page.
"""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Callable, Sequence
from errno import EACCES, EADDRINUSE
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from attrs import define, field

from fvlm_core.report.html import Content, fragments, page
from fvlm_core.utils.errors import FvlmError, UsageError
from fvlm_core.utils.folder_lock import is_running

Look = Callable[[], Content]
"""Reads the runs as they are now."""

_SECONDS = 10.0
"""A client has so long to say what it wants, and as long to take the answer; one that takes longer is dropped."""

_CLIENTS = 32
"""At once; one browser has a few. More wait until one is done, which the deadline sees to."""


class Server(ThreadingHTTPServer):
    """Answers `GET /` with the page and `GET /state.json` with what changed; nothing else.

    host, port: as for a socket; port 0 takes a free one. names: of this machine, beyond loopback, by which it may be
    asked. Raises `UsageError` when the port is taken or the address is not this machine's.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str, port: int, board: Board, names: Sequence[str] = ()) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.board = board
        self.names = frozenset(name.lower() for name in ("localhost", host, *names))
        self.remote = not is_loopback(host)
        self._room = BoundedSemaphore(_CLIENTS)
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            is_port = getattr(error, "errno", None) in (EADDRINUSE, EACCES)
            way_out = "; --port 0 takes a free one" if is_port else ""
            raise UsageError(
                f"--host {host} --port {port}: cannot be served there: {reason}{way_out}"
            ) from None

    @property
    def port(self) -> int:
        """The port it has, when 0 was asked for too."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """What to open."""
        host = str(self.server_address[0])
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, once there is room for it."""
        self._room.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """To the end of the connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no event."""


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


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what is bound there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _stamp(file: Path) -> str:
    try:
        seen = file.stat()
    except OSError:  # gone since it was listed
        return ""
    return f"{file} {seen.st_size} {seen.st_mtime_ns}"


class _Within(io.RawIOBase):
    """What comes through a socket until a deadline (of the monotonic clock); `TimeoutError` after it."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection, self._deadline = connection, deadline

    def readable(self) -> bool:
        """As any stream that is read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """What is there, or comes in time."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        whole = self._connection.gettimeout()
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(whole)  # of the answer, which has as long from its own beginning


class _Handler(BaseHTTPRequestHandler):
    server_version = "fvlm"
    sys_version = ""
    timeout = _SECONDS
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]: the only one that uses it

    _HEADERS: ClassVar = {
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
    }

    def setup(self) -> None:
        """Read the request within `timeout`, all of it: a client that sends a byte now and then holds nothing open."""
        super().setup()
        self.rfile = io.BufferedReader(
            _Within(self.connection, time.monotonic() + (self.timeout or _SECONDS))
        )

    def handle_one_request(self) -> None:
        """One alone: what a client sends after it is not asked for."""
        super().handle_one_request()
        self.close_connection = True

    def do_GET(self) -> None:
        """The page or its state."""
        if not self._is_asked_here():
            self._answer(421, "text/plain", b"this server answers by its own name only\n")
            return
        asked = urlsplit(self.path)
        if asked.path == "/":
            self._answer(200, "text/html; charset=utf-8", self.server.board.page())
        elif asked.path == "/state.json":
            since = parse_qs(asked.query).get("since", [""])[0]
            state = self.server.board.state(since)
            if state is None:
                self._answer(304, "", b"")
            else:
                self._answer(200, "application/json", state)
        else:
            self._answer(404, "text/plain", b"there is nothing here but / and /state.json\n")

    def do_HEAD(self) -> None:
        """As `GET`, without the body."""
        self.do_GET()

    def _refuse(self) -> None:
        self._answer(405, "text/plain", b"this server is only read\n", {"Allow": "GET, HEAD"})
        self.close_connection = True

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _is_asked_here(self) -> bool:
        """Whether the request names this server: against pages whose names were pointed here (DNS rebinding)."""
        try:
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
            if host in self.server.names:
                return True
            address = ip_address(host)
        except ValueError:
            return False
        return (
            self.server.remote or address.is_loopback
        )  # an address is no name that can be pointed elsewhere

    def _answer(self, code: int, kind: str, body: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {**self._HEADERS, **(more or {})}.items():
            self.send_header(name, value)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are no news."""
