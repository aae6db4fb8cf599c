"""The page of `fvlm demo`, and what it sends and is told: on the loopback interface, for one person's browser.

An upload is one POST of the file's bytes to `/watch?question=...`; the answer is a line of JSON for each event, as it
happens. What a camera sees comes picture by picture, each a POST to `/live?at=N&clip=NAME&question=...`, where NAME is
the page's own for this clip and N counts from 0; each is answered by the events of that frame. Only this server's own
page may ask: a request of another site's carries its `Origin`, and cannot carry the header `X-Fvlm` without asking
first, which is refused.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import numpy as np
from attrs import define, field
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

import fvlm_core
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.report.demo.decode import PictureDecoder
from fvlm_core.report.demo.watching import Watcher
from fvlm_core.report.loopback import LoopbackHandler, LoopbackServer
from fvlm_core.utils.errors import FvlmError

LONGEST_QUESTION = 2000
"""Characters."""

_AT_ONCE = 1 << 16

_PATIENCE = 0.5
"""Seconds: whoever was told all of an answer may ask on before its thread has ended."""

_NAME = 64
"""Characters of the name of a camera's clip."""

_PICTURE = 4_000_000
"""Bytes of a picture of a camera: the page sends 0.05 MB."""


@define(eq=False)
class _Live:
    """What a camera has shown of the clip that the page calls so."""

    clip: str
    decoder: PictureDecoder
    frames: list[NDArray[np.uint8]] = field(factory=list[NDArray[np.uint8]])


class DemoServer(LoopbackServer):
    """Answers `GET /` with the page, `POST /watch` with what the model says of the upload, and `POST /live` with what
    it says of what a camera has shown so far.

    most: bytes of an upload. One clip is watched at a time. See `LoopbackServer`.
    """

    def __init__(self, port: int, watcher: Watcher, most: int) -> None:
        self.watcher, self.most = watcher, most
        self.busy = Lock()
        self._live: _Live | None = None
        super().__init__("127.0.0.1", port, _Handler)

    @property
    def longest(self) -> int:
        """Frames of a clip of a camera: as many as the model was shown of a video."""
        return self.watcher.restored.viewing.max_frames

    def live(self, clip: str, at: int, content: bytes) -> NDArray[np.uint8] | None:
        """The frames of a clip [at + 1, 3, S, S] with the next picture, which is number `at`; None where that is not
        the next. Number 0 begins a clip, and ends the one before. Raises `BadSample` for a picture that is none; the
        clip goes on without it."""
        if at == 0:
            self.forget()
            self._live = _Live(clip, PictureDecoder(self.watcher.restored.viewing.size))
        live = self._live
        if live is None or (live.clip, len(live.frames)) != (clip, at):
            return None
        try:
            live.frames.append(live.decoder.frame(content))
        except BadSample:
            if not live.decoder.alive:
                live.decoder.close()
                live.decoder = PictureDecoder(self.watcher.restored.viewing.size)
            raise
        return np.stack(live.frames)

    def forget(self) -> None:
        """Let a camera's clip go."""
        if self._live is not None:
            self._live.decoder.close()
            self._live = None

    def server_close(self) -> None:
        """As of any server."""
        super().server_close()
        self.forget()

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
            frames=self.longest,
            fps=viewing.fps,
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
            self.answer(404, "text/plain", b"there is nothing here but /, /watch and /live\n")

    def do_POST(self) -> None:
        """An upload, watched."""
        wrong = self._wrong()
        if wrong is not None:
            self._tell(*wrong)
            return
        if not self.server.busy.acquire(timeout=_PATIENCE):
            self._tell(503, "another clip is being watched: wait until it is done")
            return
        try:
            if urlsplit(self.path).path == "/live":
                self._go_on()
                return
            self.server.forget()
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
        path = urlsplit(self.path).path
        if path not in ("/watch", "/live"):
            return 404, "there is nothing here but /, /watch and /live"
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            return 411, "an upload says how long it is"
        largest = self.server.most if path == "/watch" else min(_PICTURE, self.server.most)
        if int(length) > largest:
            size, most = int(length) / 1e6, largest / 1e6
            return 413, f"the file has {size:,.0f} MB, and at most {most:,.0f} MB are taken (--max-mb)"
        if len(self._question()) > LONGEST_QUESTION:
            return 413, f"the question is longer than {LONGEST_QUESTION:,} characters"
        return self._wrong_picture() if path == "/live" else None

    def _wrong_picture(self) -> tuple[int, str] | None:
        at, clip, most = self._said("at"), self._said("clip"), self.server.longest
        if not (at.isascii() and at.isdigit() and len(at) < 9) or not 0 < len(clip) <= _NAME:
            return 400, f"a picture says its number and its clip's name, of at most {_NAME} characters"
        return (413, f"a clip has at most {most} frames, as in training") if int(at) >= most else None

    def _said(self, name: str) -> str:
        return parse_qs(urlsplit(self.path).query).get(name, [""])[0].strip()

    def _question(self) -> str:
        return self._said("question")

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

    def _go_on(self) -> None:
        """A camera's next picture, watched."""
        length = int(self.headers["Content-Length"])
        try:
            content = self.rfile.read(length)
        except OSError:
            content = b""
        if len(content) < length:
            self._tell(400, "the picture ended before all of it was here")
            return
        try:
            frames = self.server.live(self._said("clip"), int(self._said("at")), content)
        except BadSample as error:
            self._tell(400, error.reason)
            return
        if frames is None:
            self._tell(409, "this is not the next picture of the clip that is watched: begin anew")
            return
        self._stream(self.server.watcher.watch_on(frames, self._question()))

    def _watch(self, file: Path) -> None:
        self._stream(self.server.watcher.watch(file, self._question()))

    def _stream(self, events: Iterator[dict[str, Any]]) -> None:
        """The events, each a line as soon as it is there."""
        self.send_response(200)
        for name, value in {**self.HEADERS, "Content-Type": "application/x-ndjson"}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for event in events:
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
