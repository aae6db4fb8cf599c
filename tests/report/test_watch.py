"""The live report: what it answers, to whom, and that it follows runs to their end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from run_folders import write_run
from tiny import fvlm, run_cli

from fvlm_core.report.html import Content, gather
from fvlm_core.report.loopback import is_loopback
from fvlm_core.report.watch import Board, Server, stamp_of
from fvlm_core.runs.metrics import MetricsWriter
from fvlm_core.runs.store import list_runs
from fvlm_core.utils.folder_lock import writing

Told = tuple[int, dict[str, str], bytes]


def served(root: Path) -> Server:
    """A server of all runs of a store."""

    def look() -> Content:
        return gather(list_runs(root), draw_fits=False)

    return Server("127.0.0.1", 0, Board(look, lambda: stamp_of([run.folder for run in list_runs(root)])))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with an unfinished run, and a secret beside it."""
    write_run(tmp_path / "runs", "live/one", 2.5, curve=[(20, 3.0)], steps=40, planned=100)
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "runs"


@pytest.fixture
def server(root: Path) -> Iterator[Server]:
    """It, serving."""
    with served(root) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server: Server, path: str, method: str = "GET", host: str | None = None) -> Told:
    """Exactly this request, and what came back."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.port}")
    connection.endheaders()
    answer = connection.getresponse()
    told = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    connection.close()
    return told


def state(server: Server, since: str = "") -> dict[str, Any]:
    """The state that is told."""
    code, _, body = ask(server, f"/state.json?since={since}")
    assert code == 200
    return json.loads(body)


def test_only_two_paths_answer(server: Server, root: Path) -> None:
    """No path leads to a file, however it is spelt."""
    assert ask(server, "/")[0] == 200
    assert ask(server, "/state.json")[0] == 200
    for path in (
        "/../secret.txt",
        "/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/state.json/../../secret.txt",
        "/live/one/recipe.json",
        f"{root}/live/one/recipe.json",
        "/favicon.ico",
        "/index.html",
        "*",
    ):
        code, _, body = ask(server, path)
        assert code == 404, path
        assert b"secret\n" not in body


def test_it_is_only_read(server: Server) -> None:
    """Every other method is refused; HEAD has no body."""
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"):
        code, headers, _ = ask(server, "/", method)
        assert (code, headers["allow"]) == (405, "GET, HEAD"), method
    assert ask(server, "/", "BREW")[0] == 501
    code, headers, body = ask(server, "/", "HEAD")
    assert (code, body) == (200, b"")
    assert int(headers["content-length"]) > 1_000_000


def test_a_foreign_name_is_refused(server: Server) -> None:
    """A site whose name was pointed at this machine gets nothing: neither page nor state."""
    for host in (
        "evil.example",
        f"evil.example:{server.port}",
        "127.0.0.1.evil.example",
        "",
        "[",
        "10.0.0.7",
    ):
        for path in ("/", "/state.json"):
            code, _, body = ask(server, path, host=host or " ")
            assert code == 421, host
            assert b"live" not in body
    for host in ("localhost", f"localhost:{server.port}", f"127.0.0.1:{server.port}", "[::1]"):
        assert ask(server, "/state.json", host=host)[0] == 200, host


def test_no_other_site_may_frame_or_embed_it(server: Server) -> None:
    """And nothing is kept: an old state is not shown as a new one."""
    _, headers, body = ask(server, "/")
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers
    assert "connect-src 'self'" in unescape(body.decode())


def test_it_follows_a_run_to_its_end(server: Server, root: Path) -> None:
    """New rows, then "running" while it is held, "complete" in the end; what did not change is not sent again."""
    run = root / "live" / "one"
    first = state(server)
    assert first["state"] == "stopped"
    assert ask(server, f"/state.json?since={first['version']}")[0] == 304
    with writing(run):
        assert state(server)["state"] == "running"
        with MetricsWriter(run / "metrics.jsonl", "one", 40) as metrics:
            metrics.write("eval", step=60, samples_seen=1920, val_loss=1.875)
        second = state(server, first["version"])
    assert second["charts"]["validation"]["series"]["validation-0"]["y"][-1] == 1.875
    assert second["charts"]["validation"]["structure"] == first["charts"]["validation"]["structure"]
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "complete": True, "best_val_loss": 1.5}))
    last = state(server, second["version"])
    assert last["state"] == "complete"
    assert "1.5000" in last["sections"]["what-was-run"]


def test_another_run_is_told_as_another_structure(server: Server, root: Path) -> None:
    """So that the page fetches what it lacks."""
    before = state(server)["charts"]["validation"]["structure"]
    write_run(root, "live/two", 2.0, order=1)
    assert state(server)["charts"]["validation"]["structure"] != before


def test_a_killed_owner_is_no_running_run(server: Server, root: Path) -> None:
    """Its note stays behind, and no file changes when it dies; the lock decides. Looking changes nothing either."""
    (root / "live" / "one" / ".owner.json").write_text('{"pid": 1, "host": "h", "since": "s"}')
    lock = FileLock(root / "live" / "one" / ".lock")
    with lock:
        assert state(server)["state"] == "running"
    last = state(server)
    assert last["state"] == "stopped"
    looked = server.board.stamp()
    assert ask(server, f"/state.json?since={last['version']}")[0] == 304
    assert server.board.stamp() == looked


def test_a_record_that_is_half_there_keeps_the_last_state(server: Server, root: Path) -> None:
    """Copied by hand, or torn: the page stays as it was until it can be read."""
    before = state(server)
    (root / "live" / "two").mkdir()
    (root / "live" / "two" / "recipe.json").write_text("{")
    assert state(server)["version"] == before["version"]


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "192.168.1.4", "example.org", "")),
    ],
)
def test_what_is_loopback(host: str, alone: bool) -> None:
    """Only what no other machine reaches."""
    assert is_loopback(host) is alone


def test_other_machines_are_let_in_only_when_that_is_said(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The refusal says how to look from elsewhere."""
    code, _, error = run_cli(["watch", "--host", "0.0.0.0", "--runs", str(root)], monkeypatch, capsys)
    assert code == 2
    assert "--allow-remote" in error
    assert "ssh -L" in error


def test_a_taken_port_and_a_wrong_name_are_misuse(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each says the way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, error = run_cli(["watch", "--port", port, "--runs", str(root)], monkeypatch, capsys)
    assert code == 2
    assert "--port 0 takes a free one" in error
    elsewhere = ["--host", "192.0.2.1", "--allow-remote", "--port", "8437"]
    code, _, error = run_cli(["watch", *elsewhere, "--runs", str(root)], monkeypatch, capsys)
    assert code == 2
    assert "--host 192.0.2.1 --port 8437: cannot be served there" in error
    assert "free one" not in error  # no port helps an address that is another machine's
    code, _, error = run_cli(["watch", "liv", "--port", "0", "--runs", str(root)], monkeypatch, capsys)
    assert code == 2
    assert 'did you mean "live"' in error


def test_ctrl_c_ends_it_with_130(root: Path, tmp_path: Path) -> None:
    """As a process: it says where it is, answers, and goes without a word of error."""
    process = fvlm("watch", "live", "--port", "0", "--runs", str(root), cwd=tmp_path, cache=tmp_path)
    assert process.stdout is not None
    line = process.stdout.readline()
    port = int(line.split("127.0.0.1:")[1].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/nothing")
    assert connection.getresponse().status == 404
    os.kill(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in rest
