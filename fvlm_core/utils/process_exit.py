"""How the process ends when libraries would have it wait."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from threading import Thread, main_thread

code: int | None = None
"""The exit code of the command line, once it is known; what runs `fvlm` as a library has one of its own."""


def leave_within(seconds: float) -> None:
    """End the process with `code` at most so long after its main thread.

    A library may have it wait when the interpreter ends, by functions registered for that or threads of its own.
    """

    def leave() -> None:
        main_thread().join()
        time.sleep(seconds)
        if code is not None:  # and the interpreter, which ends this thread too, has not ended by now
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # closed, or nobody listens any more
                    stream.flush()
            os._exit(code)

    Thread(target=leave, name="leaving", daemon=True).start()
