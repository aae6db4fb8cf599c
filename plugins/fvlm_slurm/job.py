"""`python -m fvlm_slurm.job FILE`: what a SLURM job runs: a command line out of FILE, its output, its exit code.

The command gets at most one signal: SLURM may send SIGTERM and then SIGUSR2, and a second signal would end it unsaved.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Timer
from types import FrameType

from fvlm_core.plugin_api import tied

_MARGIN = 5.0
"""Seconds beyond the command's own time to save."""

_ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def write(file: Path, value: object) -> None:
    """JSON that is whole or not there."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    temporary.replace(file)


def ended_file(file: Path) -> Path:
    """Where the exit code of the start that `file` describes is written."""
    return file.with_suffix(".ended.json")


class _Passing:
    """Passes the first signal on to the command, also when it comes before the command has been started."""

    def __init__(self, grace: float) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._number: int | None = None
        self._grace = grace

    def note(self, number: int, frame: FrameType | None) -> None:
        if self._number is None:
            self._number = number
            self.pass_on()

    def pass_on(self) -> None:
        if self._number is None or self.process is None:
            return
        self.process.send_signal(self._number)
        timer = Timer(self._grace + _MARGIN, self._give_up)
        timer.daemon = True
        timer.start()

    def _give_up(self) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def main(file: Path) -> int:
    """See the module; the exit code, of which submitit's processes make nothing."""
    told = json.loads(file.read_text(encoding="utf-8"))
    if ended_file(file).exists():  # SLURM started the job again, as may whoever waits for this one's end
        return 0
    passing = _Passing(told["grace"])
    for number in _ASKING:
        signal.signal(number, passing.note)
    with Path(told["log"]).open("ab") as log:
        process = subprocess.Popen(
            tied(told["command"]),
            cwd=told["folder"],
            env={**os.environ, **told["environment"]},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # srun signals the whole group
        )
    passing.process = process
    passing.pass_on()
    code = process.wait()
    write(ended_file(file), {"code": code})
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
