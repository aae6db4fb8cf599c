"""How the process ends: soon after its work, also where libraries would have it wait."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from typing import Any, NoReturn

code: int | None = None
"""The exit code of the command line, once it is known; what runs `fvlm` as a library has one of its own."""


_FILES = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


def end(status: int) -> NoReturn:
    """End the process as the interpreter does, but for taking its modules apart.

    That takes 1.2 s of 5.3 once torch and transformers are there. Threads are waited for, what was registered for the
    end is called, and files that nobody has closed are flushed. Under a debugger or a profiler, or where a prompt is to
    follow, the interpreter ends by itself.
    """
    if sys.flags.inspect or _watched():
        sys.exit(status)
    import atexit
    import gc

    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()  # type: ignore[attr-defined]
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            status = status or 120  # as the interpreter's
    for one in gc.get_objects():
        if type(one) in _FILES:
            with suppress(OSError, ValueError):  # closed, or nothing can be written there
                one.flush()
    os._exit(status)


def _watched() -> bool:
    """Whether a debugger, a profiler or a measurement of coverage follows what runs."""
    monitoring: Any = getattr(sys, "monitoring", None)  # of Python 3.12 and newer
    tools = [monitoring.get_tool(number) for number in range(6)] if monitoring else []
    return any((sys.gettrace(), sys.getprofile(), *tools))


_patience: float | None = None
"""Seconds, as the last call of `leave_within` has them."""


def leave_within(seconds: float) -> None:
    """End the process with `code` at most so long after its main thread; of several calls the last one counts.

    A library may have it wait when the interpreter ends, by functions registered for that or threads of its own. The
    processes that it started end too: they write to the same terminal or pipe, whose reader waits for the last of them
    (wandb 0.19 without its server: up to 90 s).
    """
    global _patience
    waits, _patience = _patience is not None, seconds
    if waits:
        return
    ending = Event()
    # Executors have their threads joined before the main thread counts as ended; who registered last is called first.
    import_module("concurrent.futures.thread")
    threading._register_atexit(ending.set)  # type: ignore[attr-defined]

    def leave() -> None:
        ending.wait()
        time.sleep(_patience or 0.0)
        if code is not None:  # and the interpreter, which ends this thread too, has not ended by now
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # closed, or nobody listens any more
                    stream.flush()
            # All are found before the first ends, which would make orphans.
            for below in [*_below(os.getpid())]:
                with suppress(OSError):
                    os.kill(below, signal.SIGKILL)
            os._exit(code)

    Thread(target=leave, name="leaving", daemon=True).start()


def _below(process: int) -> Iterator[int]:
    """The processes that one has started, and those that they have; those of an ended one are not found."""
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):  # it has ended meanwhile, or this kernel does not tell
            for child in thread.read_text(encoding="ascii").split():
                yield int(child)
                yield from _below(int(child))
