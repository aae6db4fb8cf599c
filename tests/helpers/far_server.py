"""Files at an address on loopback: a plain HTTP server whose faults are asked for, and a real S3 server (moto)."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

Fault = Callable[["Handler", bytes], bool]
"""Given the handler and the answer's body, answers in its own way; False where it leaves that to the handler."""


class FarServer(ThreadingHTTPServer):
    """Serves a folder, with ranges. fault: asked before every answer. asked: (path, range) of every request."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(Handler))
        self.folder, self.fault = folder, None
        self.asked: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.delay = 0.0
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()  # .5 s else, to end it

    fault: Fault | None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # each answer, sent in two parts, else waits .04 s between them
    server: FarServer

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range", "")
        server.asked.append((self.path, wanted))
        server.headers.append(dict(self.headers.items()))
        time.sleep(server.delay)
        file = server.folder / self.path.partition("?")[0].lstrip("/")
        if not file.is_file():
            self.answer(404, b"no such file")
            return
        content = file.read_bytes()
        headers, status = {}, 200
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last) + 1, len(content))
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(content)}"
            content, status = content[begin:end], 206
        if server.fault is None or not server.fault(self, content):
            self.answer(status, content, headers)

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@contextmanager
def far(folder: Path) -> Generator[FarServer]:
    server = FarServer(folder)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def unavailable(handler: Handler, content: bytes) -> bool:
    handler.answer(503, b"busy")
    return True


def cut(handler: Handler, content: bytes) -> bool:
    """Half of what was promised, and the connection closed."""
    handler.send_response(206)
    wanted = handler.headers["Range"].removeprefix("bytes=")
    handler.send_header("Content-Range", f"bytes {wanted}/*")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.close_connection = True
    return True


def some(share: float, *faults: Fault, seed: int = 0) -> Fault:
    """One of these in a share of the answers, by chance."""
    chance = random.Random(seed)

    def fault(handler: Handler, content: bytes) -> bool:
        return chance.random() < share and chance.choice(faults)(handler, content)

    return fault


@contextmanager
def s3_server(folder: Path) -> Generator[str]:
    """moto's S3 on loopback: its address. Skips where it is not installed."""
    program = os.environ.get("MOTO_SERVER") or shutil.which("moto_server")
    if not program:
        pytest.skip("moto_server is not installed (pip install 'moto[server]')")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "moto.log").open("wb") as log:
        server = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    try:
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert server.poll() is None, (folder / "moto.log").read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def s3_variables(endpoint: str) -> dict[str, str]:
    """What AWS's tools read their settings from."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
        "AWS_SECRET_ACCESS_KEY": "not-to-be-seen-anywhere",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def upload(folder: Path, bucket: str) -> None:
    """A folder's files as objects of a new bucket, with what the environment says."""
    import botocore.session

    client = botocore.session.get_session().create_client("s3")
    client.create_bucket(Bucket=bucket)
    for file in folder.rglob("*"):
        if file.is_file():
            client.put_object(Bucket=bucket, Key=str(file.relative_to(folder)), Body=file.read_bytes())
