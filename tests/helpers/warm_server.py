"""Forks a Python that has the large libraries already, as often as `warm_client.py` asks: see `warm.py`.

`python -I warm_server.py ADDRESS MODULE...` serves until nobody is connected any more. Ours come from the tree that
this file is in.
"""

from __future__ import annotations

import atexit
import gc
import json
import multiprocessing.process
import os
import selectors
import shutil
import signal
import socket
import struct
import sys
import threading
import weakref
from contextlib import suppress
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]

IDLE = 60.0
"""Seconds without any connection, after which the server ends."""


class Child:
    """A forked process and the client that waits for it."""

    def __init__(self, pid: int, client: socket.socket, record: Path) -> None:
        self.pid, self.client, self.record = pid, client, record
        self.ended = os.pidfd_open(pid)
        written = record.with_suffix(".new")
        written.write_text(str(pid))
        written.rename(record)


def serve(address: Path) -> dict[str, Any] | None:
    """Until nobody is connected; or, in a forked process, until the server has become what this describes."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen(64)
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    while ready := waiting.select(IDLE if len(waiting.get_map()) == 1 else None):
        for key, _ in ready:
            if key.fd not in waiting.get_map():  # its process has ended, as was reported just before
                continue
            if key.fileobj is listener:
                waiting.register(listener.accept()[0], selectors.EVENT_READ)
            elif isinstance(key.fileobj, int):
                _report(key.data, waiting)
            elif isinstance(key.data, Child):
                _pass_on(key.data, waiting)
            elif (request := _request(key.fileobj)) is None:
                waiting.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
            elif pid := os.fork():
                for number in request["descriptors"]:
                    os.close(number)
                child = Child(pid, key.fileobj, address.parent / str(request["pid"]))  # type: ignore[arg-type]
                waiting.modify(key.fileobj, selectors.EVENT_READ, child)
                waiting.register(child.ended, selectors.EVENT_READ, child)
            else:
                for other in list(waiting.get_map().values()):
                    os.close(other.fd)
                waiting.close()
                return request
    shutil.rmtree(address.parent)
    return None


def _request(client: Any) -> dict[str, Any] | None:
    head, descriptors, _, _ = socket.recv_fds(client, 8, 4)
    if not head:
        return None
    left = struct.unpack("q", head)[0]
    text = client.recv(left, socket.MSG_WAITALL)
    return {**json.loads(text), "descriptors": descriptors}


def _pass_on(child: Child, waiting: selectors.BaseSelector) -> None:
    numbers = b""
    with suppress(ConnectionResetError):
        numbers = child.client.recv(16)
    for number in numbers or (signal.SIGKILL,):
        signal.pidfd_send_signal(child.ended, number)
    if not numbers:
        waiting.unregister(child.client)


def _report(child: Child, waiting: selectors.BaseSelector) -> None:
    waiting.unregister(child.ended)
    code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
    os.close(child.ended)
    child.record.unlink()
    if child.client.fileno() in waiting.get_map():
        waiting.unregister(child.client)
        with suppress(BrokenPipeError):
            child.client.sendall(struct.pack("i", code))
    child.client.close()


def become(request: dict[str, Any], paths: list[str]) -> None:
    """What `python ARGUMENTS` would be, in this process."""
    os.setsid()
    folder, *given = request["descriptors"]
    os.fchdir(folder)
    multiprocessing.process.ORIGINAL_DIR = os.getcwd()  # what a spawned process is told
    os.close(folder)
    for number in range(3):  # the server's own, so that what came has other numbers
        os.close(number)
    for number, source in zip(request["streams"], given, strict=True):
        os.dup2(source, number)
    for source in given:
        os.close(source)
    os.umask(request["umask"])
    for number in request["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        setattr(sys, name, _stream(number) if number in request["streams"] else None)
        setattr(sys, f"__{name}__", getattr(sys, name))
    sys.path[:] = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *paths]
    found = PathFinder.find_spec("fvlm_core", sys.path)
    if found is None or found.origin != sys.modules["fvlm_core"].__file__:
        for name, module in [*sys.modules.items()]:
            if name.startswith("fvlm") and (module.__file__ or "").startswith(f"{ROOT}{os.sep}"):
                del sys.modules[name]
    code = _ended(request["arguments"])
    # As an interpreter ends, but for the modules, whose end takes 3 s.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            code = code or 120
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _ended(arguments: list[str]) -> int:
    try:
        _run(arguments)
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return (stop.code or 0) & 0xFF
        print(stop.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        return -signal.SIGINT
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _stream(number: int) -> Any:
    if number == 0:
        return open(0, encoding="utf-8", closefd=False)
    stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    stream.reconfigure(
        write_through=bool(os.environ.get("PYTHONUNBUFFERED")),
        line_buffering=number == 2 or stream.isatty(),
        errors="backslashreplace" if number == 2 else "strict",
    )
    return stream


def _run(arguments: list[str]) -> None:
    safe = arguments[0] == "-P"
    how, *rest = arguments[1:] if safe else arguments
    main = ModuleType("__main__")
    kept = sys.modules["__main__"]
    sys.modules["__main__"] = main
    if how == "-m":
        name, *sys.argv[:] = rest
        sys.argv.insert(0, name)
        sys.path[:0] = [] if safe else [os.getcwd()]
        import runpy

        runpy.run_module(name, run_name="__main__", alter_sys=True)
    elif how == "-c":
        sys.argv[:] = ["-c", *rest[1:]]
        sys.path[:0] = [] if safe else [""]
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    elif not how.startswith("-"):
        sys.argv[:] = [how, *rest]
        sys.path[:0] = [] if safe else [str(Path(how).resolve().parent)]
        main.__file__ = str(Path(how).resolve())
        exec(compile(Path(how).read_bytes(), how, "exec"), main.__dict__)
    else:
        raise SystemExit(f"warm_server.py knows -P, -m, -c and files: {arguments}")
    del kept


if __name__ == "__main__":
    found = [path for path in sys.path if path != str(Path(__file__).parent)]
    sys.path[:] = [str(ROOT), str(ROOT / "plugins"), str(ROOT / "registry"), *found]
    for module in sys.argv[2:]:
        import_module(module)
    for end in weakref.finalize._registry.values():  # type: ignore[attr-defined]
        end.atexit = False  # torch takes its 140 libraries apart as a process ends, which takes .05 s
    gc.collect()
    gc.freeze()  # what is never collected stays in pages that all share
    asked = serve(Path(sys.argv[1]))
    if asked is not None:
        become(asked, found)
