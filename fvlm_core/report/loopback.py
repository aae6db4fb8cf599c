"""A server for one person's browser on the loopback interface: who may ask, for how long, and what every answer says.

The `Host` of every request is checked, so that a site whose name was pointed at this machine reads nothing.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Sequence
from errno import EACCES, EADDRINUSE
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from threading import BoundedSemaphore
from typing import Any, ClassVar
from urllib.parse import urlsplit

from fvlm_core.utils.errors import UsageError

_SECONDS = 10.0
"""A client has so long to say what it wants, and as long to take the answer; one that takes longer is dropped."""

_CLIENTS = 32
"""At once; one browser has a few. More wait until one is done, which the deadline sees to."""


class LoopbackServer(ThreadingHTTPServer):
    """Answers by a handler, of which there is one a request, each in a thread of its own.

    host, port: as for a socket; port 0 takes a free one. names: of this machine, beyond loopback, by which it may be
    asked. Raises `UsageError` when the port is taken or the address is not this machine's.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, host: str, port: int, handler: type[LoopbackHandler], names: Sequence[str] = ()
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.names = frozenset(name.lower() for name in ("localhost", host, *names))
        self.remote = not is_loopback(host)
        self._room = BoundedSemaphore(_CLIENTS)
        try:
            super().__init__((host, port), handler)
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


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what is bound there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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


class LoopbackHandler(BaseHTTPRequestHandler):
    """One request. What is not answered by a child's `do_GET` or `do_POST` is refused."""

    server_version = "fvlm"
    sys_version = ""
    timeout = _SECONDS
    server: LoopbackServer  # pyright: ignore[reportIncompatibleVariableOverride]: the only one that uses it
    allowed: ClassVar = "GET, HEAD"
    """Methods that are answered."""

    HEADERS: ClassVar = {
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
        """Of a child."""
        self.refuse()

    def do_HEAD(self) -> None:
        """As `GET`, without the body."""
        self.do_GET()

    def refuse(self) -> None:
        """What is not answered here."""
        self.answer(
            405, "text/plain", f"only {self.allowed} are answered\n".encode(), {"Allow": self.allowed}
        )
        self.close_connection = True

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = refuse

    def is_asked_here(self) -> bool:
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

    def answer(self, code: int, kind: str, body: bytes, more: dict[str, str] | None = None) -> None:
        """The whole answer."""
        self.send_response(code)
        for name, value in {**self.HEADERS, **(more or {})}.items():
            self.send_header(name, value)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are no news."""
