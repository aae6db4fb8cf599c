"""What every data worker is reading right now, so that a dead or stuck one can be told from its sample."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

import torch
from attrs import field, frozen
from torch import Tensor
from torch.utils.data import get_worker_info

from fvlm_core.utils.error_summary import place
from fvlm_core.utils.errors import FvlmError

_LONGEST = 256
"""Bytes of a name that are kept."""


@frozen(eq=False)
class InFlight:
    """A line for every worker, in memory that all processes share: it outlives the worker that wrote it."""

    workers: int
    _lines: Tensor = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        lines = torch.zeros(self.workers, _LONGEST, dtype=torch.uint8).share_memory_()
        object.__setattr__(self, "_lines", lines)

    def note(self, name: str) -> None:
        """Write down what this worker begins to read; the empty string when it has finished."""
        info = get_worker_info()
        if info is not None and info.id < self.workers:
            text = name.encode("utf-8", "replace")[:_LONGEST]
            line = self._lines[info.id].numpy()
            line[: len(text)] = memoryview(text)
            line[len(text) :] = 0

    @contextmanager
    def explained(self) -> Generator[None]:
        """While workers run: torch's complaint about one becomes a `FvlmError` that names the samples in flight.

        torch raises it from a signal handler too, in the middle of whatever the process is doing.
        """
        before = signal.getsignal(signal.SIGCHLD)
        watched = bool(self.workers) and _in_main_thread() and callable(before)

        def ended(number: int, frame: FrameType | None) -> None:
            try:
                if callable(before):
                    before(number, frame)
            except RuntimeError as error:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # once is enough: the others are stopped next
                raise self._failure(error) from None

        if watched:
            signal.signal(signal.SIGCHLD, ended)
        try:
            yield
        except (RuntimeError, OSError, EOFError) as error:
            # A worker that has just died may show first as a batch whose memory it can no longer hand over: OSError.
            if not self.workers and not isinstance(error, RuntimeError):
                raise
            if watched:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            raise self._failure(error) from error
        finally:
            # What still reads when training is stopped ends wherever Python finds it unused, in any thread.
            if watched and _in_main_thread() and signal.getsignal(signal.SIGCHLD) is ended:
                signal.signal(signal.SIGCHLD, before)

    def _failure(self, error: Exception) -> FvlmError:
        last = (str(error).strip() or type(error).__name__).splitlines()[-1].rstrip(".")
        reading = str(self)
        flying = f". In flight: {reading}" if reading else ""
        return FvlmError(f"reading data failed: {last}{flying}{place(error)}")

    def __str__(self) -> str:
        """ "worker 1: openvid/x.mp4" for each that is reading."""
        named = [bytes(line.tolist()).rstrip(b"\0").decode("utf-8", "replace") for line in self._lines]
        return "; ".join(f"worker {number}: {name}" for number, name in enumerate(named) if name)


def _in_main_thread() -> bool:
    """Where alone signals can be set."""
    return threading.current_thread() is threading.main_thread()
