"""Signals: finish the step, save, leave with the right exit code. A second one leaves at once."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from threading import Timer
from types import FrameType, TracebackType

from fvlm_core.errors import FvlmError

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 75, signal.SIGUSR2: 75}

GRACE = 25.0
"""Seconds for finishing the step and saving; torchrun and Slurm kill after 30."""

ECHO = 2.0
"""Seconds in which a second signal is the first one's echo, under torchrun: Ctrl-C in a terminal and Slurm reach the
workers directly, and torchrun passes on what it got itself."""


class Stopped(FvlmError):
    """The run was asked to stop and has saved; running the same command again continues it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command continues from here")
        self.exit_code = EXIT_CODES[signal.Signals(number)]


class StopRequest:
    """While entered, turns signals into a request that the loop reads between steps.

    number: the signal, or None. grace: seconds from the signal on after which the process ends whatever it is doing; a
    save under way is then abandoned, and the checkpoint before it stays the newest.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self.number: int | None = None
        self.grace = grace
        self._pid = os.getpid()
        self._at = 0.0
        self._echo = ECHO if "TORCHELASTIC_RUN_ID" in os.environ else 0.0
        self._timer: Timer | None = None

    def __enter__(self) -> StopRequest:
        self._before = {number: signal.signal(number, self._note) for number in EXIT_CODES}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a data worker: Ctrl-C reaches the whole group, the parent decides
            return
        if self.number is None:
            self.number, self._at = number, time.monotonic()
            self._timer = Timer(self.grace, self._give_up)
            self._timer.daemon = True
            self._timer.start()
            _say(
                f"{signal.Signals(number).name}: finishing this step and saving; a second signal leaves at once"
            )
        elif time.monotonic() - self._at >= self._echo:
            _say("left at once, without saving; the same command continues from the last checkpoint")
            os._exit(EXIT_CODES[signal.Signals(number)])

    def _give_up(self) -> None:
        assert self.number is not None
        _say(
            f"not saved within {self.grace:g} s of the signal: abandoned; the checkpoint before it is intact"
        )
        os._exit(EXIT_CODES[signal.Signals(self.number)])


def _say(text: str) -> None:
    """A line on stderr, by rank 0 alone; from inside a signal handler, so past Python's buffers."""
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError):  # nobody listens any more
            os.write(2, f"{text}\n".encode())
