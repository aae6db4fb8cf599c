"""How the process ends while something of it is still at work that nobody waits for."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from threading import Thread, main_thread

code: int | None = None
"""The exit code of the command line, once it is known; what runs `fvlm` as a library has one of its own."""


def abandon(thread: Thread) -> None:
    """Wait for a thread no longer, nor for what it began: its libraries may do so when the interpreter ends.

    They register functions for that, or threads of their own. When the main thread has ended, with `code` known, and
    this thread still has not, the process ends at once.
    """

    def leave() -> None:
        main_thread().join()
        if code is not None and thread.is_alive():
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # closed, or nobody listens any more
                    stream.flush()
            os._exit(code)

    Thread(target=leave, name=f"abandoning {thread.name}", daemon=True).start()
