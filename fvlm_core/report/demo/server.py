"""The page of `fvlm demo`, and what it sends and is told: on the loopback interface, for one person's browser.

An upload is one POST of the file's bytes to `/watch?question=...`; the answer is a line of JSON for each event, as it
happens. Only this server's own page may ask: a request of another site's carries its `Origin`, and cannot carry the
header `X-Fvlm` without asking first, which is refused.
"""

from __future__ import annotations

import base64
import json
import tempfile
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import fvlm_core
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.report.demo.watching import Watcher
from fvlm_core.report.loopback import LoopbackHandler, LoopbackServer
from fvlm_core.utils.errors import FvlmError

LONGEST_QUESTION = 2000
"""Characters."""

_AT_ONCE = 1 << 16


class DemoServer(LoopbackServer):
    """Answers `GET /` with the page and `POST /watch` with what the model says of the upload.

    most: bytes of an upload. One clip is watched at a time. See `LoopbackServer`.
    """

    def __init__(self, port: int, watcher: Watcher, most: int) -> None:
        self.watcher, self.most = watcher, most
        self.busy = Lock()
        super().__init__("127.0.0.1", port, _Handler)

    def page(self) -> str:
        """The page, which loads nothing and talks to this server alone."""
        made = Environment(
            loader=PackageLoader("fvlm_core.report"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
        )
        assert made.loader is not None
        script, style = (made.loader.get_source(made, name)[0] for name in ("demo.js", "demo.css"))
        policy = [
            "default-src 'none'",
            f"script-src {_hash(script)}",
            f"style-src {_hash(style)}",
            "img-src data:",
            "media-src blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
        viewing = self.watcher.restored.viewing
        return made.get_template("demo.html.j2").render(
            name=self.watcher.name,
            step=self.watcher.restored.step,
            question=viewing.prompt,
            longest=LONGEST_QUESTION,
            most=self.most,
            policy="; ".join(policy),
            style=Markup(style),
            script=Markup(script),
            version=fvlm_core.__version__,
        )


class _Handler(LoopbackHandler):
    server: DemoServer  # pyright: ignore[reportIncompatibleVariableOverride]: the only one that uses it
    allowed: ClassVar = "GET, HEAD, POST"

    def do_GET(self) -> None:
        """The page."""
        if not self.is_asked_here():
            self.answer(421, "text/plain", b"this server answers by its own name only\n")
        elif urlsplit(self.path).path == "/":
            self.answer(200, "text/html; charset=utf-8", self.server.page().encode())
        else:
            self.answer(404, "text/plain", b"there is nothing here but / and /watch\n")

    def do_POST(self) -> None:
        """An upload, watched."""
        wrong = self._wrong()
        if wrong is not None:
            self._tell(*wrong)
            return
        if not self.server.busy.acquire(blocking=False):
            self._tell(503, "another clip is being watched: wait until it is done")
            return
        try:
            with tempfile.TemporaryDirectory(prefix="fvlm-demo-") as folder:
                file = Path(folder) / "upload"
                if self._receive(file):
                    self._watch(file)
                else:
                    self._tell(400, "the upload ended before all of it was here")
        finally:
            self.server.busy.release()

    def _wrong(self) -> tuple[int, str] | None:
        """What is wrong with a request before any of its body is read: the status, and what to say."""
        if not self.is_asked_here():
            return 421, "this server answers by its own name only"
        origin = self.headers.get("Origin")
        if self.headers.get("X-Fvlm") != "demo" or (
            origin and urlsplit(origin).netloc != self.headers.get("Host")
        ):
            return 403, "only this server's own page may ask"
        if urlsplit(self.path).path != "/watch":
            return 404, "there is nothing here but / and /watch"
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            return 411, "an upload says how long it is"
        if int(length) > self.server.most:
            size, most = int(length) / 1e6, self.server.most / 1e6
            return 413, f"the file has {size:,.0f} MB, and at most {most:,.0f} MB are taken (--max-mb)"
        if len(self._question()) > LONGEST_QUESTION:
            return 413, f"the question is longer than {LONGEST_QUESTION:,} characters"
        return None

    def _question(self) -> str:
        return parse_qs(urlsplit(self.path).query).get("question", [""])[0].strip()

    def _receive(self, file: Path) -> bool:
        """Whether all of the body came; a piece at a time, never more in memory."""
        left = int(self.headers["Content-Length"])
        with file.open("wb") as out:
            while left:
                try:
                    piece = self.rfile.read(min(left, _AT_ONCE))
                except OSError:
                    return False
                if not piece:
                    return False
                out.write(piece)
                left -= len(piece)
        return True

    def _watch(self, file: Path) -> None:
        """The events, each a line as soon as it is there."""
        self.send_response(200)
        for name, value in {**self.HEADERS, "Content-Type": "application/x-ndjson"}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for event in self.server.watcher.watch(file, self._question()):
                self._line(event)
        except BadSample as error:
            self._line({"kind": "error", "text": error.reason})
        except FvlmError as error:
            self._line({"kind": "error", "text": str(error)})

    def _line(self, event: dict[str, Any]) -> None:
        self.wfile.write(json.dumps(event).encode() + b"\n")
        self.wfile.flush()

    def _tell(self, code: int, text: str) -> None:
        self.answer(code, "application/json", json.dumps({"kind": "error", "text": text}).encode())
        self.close_connection = True


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"
