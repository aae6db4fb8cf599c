"""A forked process is what `python -P -m MODULE` would have been, and ends as it would have."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from fvlm_local.config import Local
from fvlm_local.launcher import LocalLauncher
from grids import until

from fvlm_core.execution.fork_server import ForkServer
from fvlm_core.plugin_api import Ended, Job

PROGRAM = """
import json, os, signal, subprocess, sys, threading, time
def opened():  # but what ctypes needs, which newer versions of libffi keep open
    links = {name: f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")}
    return sorted(name for name, link in links.items() if os.path.exists(link) and "libffi" not in os.readlink(link))
print(json.dumps({
    "arguments": sys.argv[1:], "folder": os.getcwd(), "own": os.environ.get("OWN"), "common": os.environ.get("COMMON"),
    "group": os.getpgrp() == os.getpid() == os.getsid(0), "threads": threading.active_count(), "name": __name__,
    "input": sys.stdin.read(), "descriptors": opened(), "path": sys.path,
}))
what = sys.argv[1]
if what == "exit":
    sys.exit(int(sys.argv[2]))
if what == "raise":
    raise RuntimeError("as said")
if what == "die":
    os.kill(os.getpid(), signal.SIGKILL)
if what == "leave":
    subprocess.Popen(["sleep", "600"])
if what == "wait":
    def saved(*_):
        print("saved", flush=True)
        sys.exit(75)
    signal.signal(signal.SIGTERM, saved)
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "program.py").write_text(PROGRAM)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "COMMON": "both"}


@pytest.fixture
def server(environment: dict[str, str]) -> ForkServer:
    return ForkServer(environment, ())


class Process:
    """One that was forked. poll: as of the server."""

    def __init__(self, server: ForkServer, folder: Path, *arguments: str) -> None:
        self.log = folder / f"{arguments[0]}.txt"
        self.log.write_text("before\n")
        self.server = server
        self.number = server.start(["program", *arguments], folder, {"OWN": "its"}, self.log)

    def code(self) -> int:
        until(lambda: self.server.poll(self.number) is not None)
        code = self.server.poll(self.number)
        assert code is not None
        return code

    def said(self) -> list[str]:
        return self.log.read_text().splitlines()

    def ready(self) -> Process:
        until(lambda: "ready" in self.said())
        return self


def gone(process: int) -> bool:
    return not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE


def test_it_is_what_a_start_of_its_own_would_be(
    server: ForkServer, environment: dict[str, str], tmp_path: Path
) -> None:
    forked = Process(server, tmp_path, "exit", "3")
    assert forked.code() == 3
    plain = subprocess.run(
        [sys.executable, "-P", "-m", "program", "exit", "3"],
        cwd=tmp_path,
        env={**environment, "OWN": "its"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    before, line = forked.said()
    assert before == "before"
    assert json.loads(line) == json.loads(plain.stdout)
    assert plain.returncode == 3


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [("exit", 0, None), ("raise", 1, "RuntimeError: as said"), ("die", -9, None)],
)
def test_it_ends_as_it_would(
    what: str, code: int, said: str | None, server: ForkServer, tmp_path: Path
) -> None:
    forked = Process(server, tmp_path, what, "0")
    assert forked.code() == code
    assert said is None or said in forked.said()  # stdout follows, unless PYTHONUNBUFFERED is set


def test_what_it_left_behind_ends_with_it(server: ForkServer, tmp_path: Path) -> None:
    forked = Process(server, tmp_path, "leave")
    assert forked.code() == 0
    members = [
        one for one in psutil.process_iter() if one.pid != os.getpid() and _group(one) == forked.number
    ]
    assert all(gone(one.pid) for one in members)


def _group(process: psutil.Process) -> int:
    try:
        return os.getpgid(process.pid)
    except OSError:
        return 0


def test_signals_reach_it_and_one_that_has_ended_takes_none(server: ForkServer, tmp_path: Path) -> None:
    forked = Process(server, tmp_path, "wait").ready()
    assert server.poll(forked.number) is None
    server.signal(forked.number, signal.SIGTERM)
    assert forked.code() == 75
    server.signal(forked.number, signal.SIGKILL, group=True)
    assert Process(server, tmp_path, "exit", "5").code() == 5
    killed = Process(server, tmp_path, "wait").ready()
    server.signal(killed.number, signal.SIGKILL, group=True)
    assert killed.code() == -signal.SIGKILL


def test_many_at_once_are_told_apart(server: ForkServer, tmp_path: Path) -> None:
    numbers = [
        server.start(["program", "exit", str(code)], tmp_path, {}, tmp_path / f"{code}.txt")
        for code in range(20)
    ]
    until(lambda: all(server.poll(number) is not None for number in numbers))
    assert [server.poll(number) for number in numbers] == list(range(20))


def test_when_the_server_goes_its_processes_are_asked_to_stop(
    environment: dict[str, str], tmp_path: Path
) -> None:
    for how in ("killed", "dropped"):
        server = ForkServer(environment, ())
        forked = Process(server, tmp_path, "wait").ready()
        if how == "killed":
            server._process.kill()  # pyright: ignore[reportPrivateUsage]
            assert forked.code() == -signal.SIGKILL
            with pytest.raises(OSError, match=r"ended|Broken pipe"):
                server.start(["program", "exit", "0"], tmp_path, {}, forked.log)
        number = forked.number
        del forked.server, server
        until(lambda number=number: gone(number))
        assert "saved" in forked.said()


def test_an_import_that_fails_is_an_error_at_once(environment: dict[str, str]) -> None:
    with pytest.raises(OSError, match="while it imported"):
        ForkServer(environment, ("no_such_module_of_anybody",))


def _jobs(folder: Path, count: int) -> list[Job]:
    line = (sys.executable, "-P", "-m", "program")
    return [
        Job(f"r/{number}", (*line, "exit", str(number)), folder, {}, folder / f"job{number}.txt", 1.0)
        for number in range(count)
    ]


def _ends(launcher: LocalLauncher, jobs: list[Job]) -> list[Ended | None]:
    tasks = [launcher.start(job, 0) for job in jobs]
    until(lambda: all(task.poll() is not None for task in tasks))
    return [task.poll() for task in tasks]


@pytest.mark.parametrize("broken", [False, True])
def test_the_pool_forks_and_starts_plainly_where_it_cannot(
    broken: bool, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", environment["PYTHONPATH"])
    made: list[Any] = []

    def light(common: dict[str, str]) -> ForkServer:
        made.append(common)
        return ForkServer(common, ("no_such_module_of_anybody",) if broken else ())

    monkeypatch.setattr("fvlm_local.launcher.ForkServer", light)
    launcher = LocalLauncher(Local(threads=1), 1)
    assert [end and end.code for end in _ends(launcher, _jobs(tmp_path, 3))] == [0, 1, 2]
    assert len(made) == 1
    made.clear()
    assert _ends(LocalLauncher(Local(fork=False), 1), _jobs(tmp_path, 1)) == [Ended(0)]
    assert _ends(LocalLauncher(Local(processes=2), 1), _jobs(tmp_path, 1)) == [Ended(0)]
    assert made == []


def test_a_pool_whose_server_was_killed_starts_another(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", environment["PYTHONPATH"])
    monkeypatch.setattr("fvlm_local.launcher.ForkServer", lambda common: ForkServer(common, ()))
    launcher = LocalLauncher(Local(threads=1), 1)
    first, second = _jobs(tmp_path, 2)
    task = launcher.start(first, 0)
    server = launcher._server  # pyright: ignore[reportPrivateUsage]
    assert server is not None
    server._process.kill()  # pyright: ignore[reportPrivateUsage]
    until(lambda: task.poll() is not None)
    time.sleep(0.1)
    assert _ends(launcher, [second]) == [Ended(1)]
