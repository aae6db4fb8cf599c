"""Processes of Python that need not import torch anew: forked from one that has it.

What a run imports takes 4 s of a core, as long as many a small run of a grid. A program of its own has it, with one
thread and no device touched, and forks what is to be started; each process then is what `python -P -m MODULE` would
have been: the leader of a session, with streams, folder and environment of its own.
"""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from fvlm_core.utils.parent_death import PR_SET_PDEATHSIG, tied

RUNS_IMPORT = ("fvlm_core.execution.sequential", "transformers.modeling_utils")
"""What every run needs that is slow to import."""


class ForkServer:
    """The forking program, and the way to it. It ends with this object.

    environment: all of its own, which what it forks has too. imports: the modules that it has.
    """

    def __init__(self, environment: Mapping[str, str], imports: Sequence[str] = RUNS_IMPORT) -> None:
        """Raises `OSError` where it does not start."""
        self._here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            self._process = subprocess.Popen(
                tied((sys.executable, "-P", "-m", __name__, str(there.fileno()), *imports)),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(there.fileno(),),
                start_new_session=True,
            )
        weakref.finalize(self, _close, self._here, self._process)
        self._codes: dict[int, int] = {}
        if self._hear() is None:
            raise OSError("it ended while it imported what runs need")

    def start(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> int:
        """Start `python -P -m ARGUMENTS` in `folder`; the process's number.

        environment: variables beside the server's. log: the file that both its streams are appended to. Raises
        `OSError` where the server is gone.
        """
        asked = {"arguments": arguments, "folder": str(folder), "environment": environment, "log": str(log)}
        self._here.sendall(json.dumps(asked).encode())
        while (told := self._hear()) is not None:
            if "started" in told:
                return told["started"]
        raise OSError("it has ended")

    def poll(self, process: int) -> int | None:
        """Its exit code as `subprocess` has it; None while it runs. A server that died took it along: -9."""
        while process not in self._codes and select.select([self._here], [], [], 0)[0]:
            if self._hear() is None:
                return -signal.SIGKILL
        return self._codes.get(process)

    def signal(self, process: int, number: int, group: bool = False) -> None:
        """Send a signal to a process, or to its group, unless it has ended."""
        with suppress(OSError):
            self._here.sendall(json.dumps({"process": process, "signal": number, "group": group}).encode())

    def _hear(self) -> dict[str, Any] | None:
        """What it says next; None when it is gone."""
        told = b""
        with suppress(OSError):
            told = self._here.recv(1 << 16)
        if not told:
            return None
        said = json.loads(told)
        if "ended" in said:
            self._codes[said["ended"]] = said["code"]
        return said


def _close(connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """End the server, and with it whatever still runs: that gets SIGTERM."""
    connection.close()
    process.terminate()  # a process that was forked meanwhile may hold the connection, whose end it would not see
    process.wait()


def _serve(connection: socket.socket) -> dict[str, Any] | None:
    """Until nobody asks any more: None; in a process that was forked, at once: what it is to be."""
    waiting = selectors.DefaultSelector()
    waiting.register(connection, selectors.EVENT_READ)
    connection.sendall(b"{}")
    while True:
        for key, _ in waiting.select():
            if key.data is not None:
                _report(connection, key.data)
                waiting.unregister(key.fileobj)
                os.close(key.fd)
                continue
            text = connection.recv(1 << 20)
            if not text:
                return None
            asked = json.loads(text)
            if "signal" in asked:
                if asked["process"] in [other.data for other in waiting.get_map().values()]:
                    _send(asked)  # else it has ended, and its number may be another's
            elif child := os.fork():
                waiting.register(os.pidfd_open(child), selectors.EVENT_READ, child)
                connection.sendall(json.dumps({"started": child}).encode())
            else:
                for other in waiting.get_map().values():
                    os.close(other.fd)
                connection.detach()
                waiting.close()
                return asked


def _send(asked: Mapping[str, Any]) -> None:
    """To a process that was not waited for yet, so that its number is its own."""
    with suppress(ProcessLookupError):
        (os.killpg if asked["group"] else os.kill)(asked["process"], asked["signal"])


def _report(connection: socket.socket, child: int) -> None:
    """What it left behind in its group is ended before the group's number is free again."""
    _send({"process": child, "signal": signal.SIGKILL, "group": True})
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.sendall(json.dumps({"ended": child, "code": code}).encode())


def _become(asked: Mapping[str, Any], parent: int) -> None:
    """Run what was asked for, in this process."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before it could be asked for
        sys.exit(128 + signal.SIGTERM)
    log = os.open(asked["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.environ.update(asked["environment"])
    if os.environ.get("PYTHONUNBUFFERED"):
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(write_through=True)  # pyright: ignore[reportAttributeAccessIssue]
    os.chdir(asked["folder"])
    module, *arguments = asked["arguments"]
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _main(descriptor: int, imports: Sequence[str]) -> None:
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)
    for module in imports:
        import_module(module)
    parent = os.getpid()
    asked = _serve(connection)
    if asked is not None:
        _become(asked, parent)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
