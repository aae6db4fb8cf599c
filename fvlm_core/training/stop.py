"""Signals: finish the step, save, leave with the right exit code. A second one leaves at once."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType

from fvlm_core.errors import FvlmError

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 75, signal.SIGUSR2: 75}


class Stopped(FvlmError):
    """The run was asked to stop and has saved; running the same command again continues it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command continues from here")
        self.exit_code = EXIT_CODES[signal.Signals(number)]


class StopRequest:
    """While entered, turns signals into a request that the loop reads between steps."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._pid = os.getpid()

    def __enter__(self) -> StopRequest:
        self._before = {number: signal.signal(number, self._note) for number in EXIT_CODES}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a data worker: Ctrl-C reaches the whole group, the parent decides
            return
        if self.number is not None:
            os._exit(EXIT_CODES[signal.Signals(number)])
        self.number = number
