"""`python -m fvlm_core.utils.parent_death PID COMMAND...`: a command that is asked to stop when its starter has died.

Linux sends SIGTERM to a process whose parent ends, however it ended, if the process has asked for it; that stays so
when the process turns into another program. A small program that asks, and then turns into the command, needs no code
between fork and exec.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

PR_SET_PDEATHSIG = 1


def tied(command: Sequence[str]) -> tuple[str, ...]:
    """`command`, as one that gets SIGTERM when this process ends, be it by SIGKILL; elsewhere than on Linux, as it is.

    To be started from this process's main thread, which must be the last to end.
    """
    if not sys.platform.startswith("linux"):
        return tuple(command)
    return (sys.executable, "-P", "-m", "fvlm_core.utils.parent_death", str(os.getpid()), *command)


def _main(parent: int, command: list[str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before it could be asked for
        sys.exit(128 + signal.SIGTERM)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        with suppress(OSError):
            print(f"{command[0]} cannot be started: {error}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
