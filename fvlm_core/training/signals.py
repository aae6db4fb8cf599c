"""Signals: finish the step, save, leave with the right exit code. A second one leaves at once, but for a scheduler's.

Who asks by SIGTERM or SIGUSR kills soon, so there is a grace. Who presses Ctrl-C is told how long it takes, and can
press it again: the step is finished and saved however long that is.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from threading import Thread, Timer
from types import FrameType, TracebackType

from fvlm_core.utils.errors import FvlmError

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 75, signal.SIGUSR2: 75}

GRACE = 25.0
"""Seconds for finishing the step and saving; torchrun and Slurm kill after 30."""

LEAVING = "leaving"
"""What the loop does when everything is saved."""

LONG = 1.0
"""Seconds from which on it is said how long something takes."""

ECHO = 2.0
"""Seconds in which a second signal is the first one's echo. Linux sends the signal of a dying parent once for each of
its threads (2 to 5 SIGTERMs from a parent of nine). Under torchrun Ctrl-C in a terminal and Slurm reach the workers
directly, and torchrun passes on what it got itself. Elsewhere two Ctrl-C are a person's, who wants to leave."""

SCHEDULED = "SLURM_JOB_ID"
"""A variable of jobs that get one wish as several signals, in the course of half a minute: Slurm signals every process
of a job, where it knows them all, and our own starter passes on what it hears."""


_NO_MORE = 0
"""No signal's number: written to the pipe, it ends the thread that reads there."""


class Stopped(FvlmError):
    """The run was asked to stop and has saved; running the same command again continues it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command continues from here")
        self.exit_code = EXIT_CODES[signal.Signals(number)]


class StopRequest:
    """While entered, turns signals into a request that the loop reads between steps.

    number: the signal, or None. grace: seconds from the signal on after which the process ends whatever it is doing; a
    save under way is then abandoned, and the checkpoint before it stays the newest. Ctrl-C during training has none.
    In a job of a scheduler the first signal is the only one that counts, Ctrl-C apart.

    Python runs handlers between two instructions of the main thread, which may be in one backward pass for minutes. So
    a thread of its own hears of signals through a pipe, and answers at once.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self.number: int | None = None
        self.grace = grace
        self._pid = os.getpid()
        self._launched = "TORCHELASTIC_RUN_ID" in os.environ
        self._scheduled = SCHEDULED in os.environ
        self._at = 0.0
        self._timer: Timer | None = None
        self._doing: str | None = None
        self._since = 0.0
        self._took: dict[str, float] = {}

    def doing(self, what: str | None) -> None:
        """What the loop turns to, "step" as a rule, so that a signal can be answered with how long it takes."""
        now = time.monotonic()
        if self._doing is not None:
            self._took[self._doing] = now - self._since
        self._doing, self._since = what, now

    def __enter__(self) -> StopRequest:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._note) for number in EXIT_CODES}
        self._listener = Thread(target=self._listen, args=(self._reader,), name="signals", daemon=True)
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.write(
            self._writer, bytes([_NO_MORE])
        )  # forked workers hold the pipe, too: closing it would end nothing
        self._listener.join()  # what it still answers may start a timer, which must not outlive this
        os.close(self._writer)
        if self._timer is not None:
            self._timer.cancel()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._pid:  # else a data worker: Ctrl-C reaches the whole group, the parent decides
            self.number = self.number or number

    def _listen(self, reader: int) -> None:
        """Answer every signal, in its thread."""
        with os.fdopen(reader, "rb", buffering=0) as signals:
            while (heard := signals.read(1)) and heard[0] != _NO_MORE:
                if heard[0] in EXIT_CODES:
                    self._answer(heard[0])

    def _answer(self, number: int) -> None:
        if not self._at:
            self.number, self._at = self.number or number, time.monotonic()
            patient = number == signal.SIGINT and self._doing is not None and not self._launched
            if not patient:
                self._timer = Timer(self.grace, self._give_up)
                self._timer.daemon = True
                self._timer.start()
            name = signal.Signals(number).name
            second = "further ones change nothing" if self._scheduled else "a second signal leaves at once"
            _say(f"{name}: {self._what_remains(patient)}; {second}")
        elif self._leaves(number):
            _say("left at once, without saving; the same command continues from the last checkpoint")
            os._exit(EXIT_CODES[signal.Signals(number)])

    def _leaves(self, number: int) -> bool:
        """Whether a further signal is another wish, and not the first one's echo."""
        if number == signal.SIGINT and not self._launched:
            return True
        return not self._scheduled and time.monotonic() - self._at >= ECHO

    def _what_remains(self, patient: bool) -> str:
        what = self._doing or "step"
        saving = "" if what == "save" else " and saving"
        so_far, usual = time.monotonic() - self._since, self._took.get(what, 0.0)
        if self._doing is None or max(so_far, usual) < LONG:
            return f"finishing this {what}{saving}"
        known = f", the last one took {usual:.0f} s" if usual else ""
        text = f"finishing this {what} ({so_far:.0f} s so far{known}){saving}"
        if patient or usual - so_far < self.grace:
            return text
        return f"{text}, which is abandoned after {self.grace:g} s (checkpoints.grace)"

    def _give_up(self) -> None:
        assert self.number is not None
        if self._doing == LEAVING:
            _say(f"saved; left {self.grace:g} s after the signal, whatever else was still to be done")
        else:
            _say(
                f"not saved within {self.grace:g} s of the signal: abandoned; the checkpoint before it is intact"
            )
        os._exit(EXIT_CODES[signal.Signals(self.number)])


def _deafen() -> None:
    """A forked data worker's signals are its own: they must not reach its parent's pipe."""
    with suppress(ValueError):  # forked by another thread than the main one
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_deafen)


def _say(text: str) -> None:
    """A line on stderr, by rank 0 alone; from inside a signal handler, so past Python's buffers."""
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError):  # nobody listens any more
            os.write(2, f"{text}\n".encode())
