"""The life of data workers: there is room for what they hand over, they are waited for, and they end with what they are
for."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Timer
from typing import Any, TypeVar

from attrs import frozen
from torch._C import _remove_worker_pids  # pyright: ignore[reportPrivateUsage]
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter  # pyright: ignore[reportPrivateUsage]

from fvlm_core.utils.errors import UsageError

LOOK = 5.0
"""Seconds between looks whether workers live. Torch tells of a dead one at once, by an error in a signal's handler;
where that is raised amid what Python frees, it is printed and lost."""

PATIENCE = 0.5
"""Seconds in which workers that are needed no more may end by themselves; idle ones take some 10 ms."""

_SHARED = Path("/dev/shm")
_SHARED_BYTES = 16 * 2**20
"""Less than a worker's first batches of real frames take; containers have 64 MiB unless told."""

T = TypeVar("T")


def need_shared_memory() -> None:
    """Raise `UsageError` where workers, who hand batches over through memory that has a file, would wait for room for
    ever."""
    free = 0
    if os.access(_SHARED, os.W_OK):
        about = os.statvfs(_SHARED)
        free = about.f_bavail * about.f_frsize
    if free < _SHARED_BYTES:
        raise UsageError(
            f"{_SHARED} has {free / 2**20:.1f} MiB free, and data workers need {_SHARED_BYTES / 2**20:.0f} at least: "
            "give the container more (--shm-size=1g), or read without workers: -o training.workers=0"
        )


def awaited(batches: Iterator[T], timeout: float) -> Iterator[T]:
    """Batches of a `DataLoader` whose own timeout is `LOOK`, each waited for up to `timeout` seconds.

    Raises `RuntimeError` then, and where torch finds a dead worker.
    """
    begun = time.monotonic()
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader timed out" not in str(error):
                raise
            if (waited := time.monotonic() - begun) >= timeout:
                raise RuntimeError(f"no worker gave a batch for {waited:.0f} s") from None
        else:
            yield batch
            begun = time.monotonic()


@contextmanager
def ended_with(batches: Iterator[Any], workers: Sequence[BaseProcess]) -> Generator[None]:
    """Workers of these batches end with what is inside, at the latest with this process.

    Torch ends them when the iterator is freed. Where the garbage collector frees it, its queues are closed first: it
    then waits 5 s for workers that hear nothing, and 5 s after a SIGTERM, of which ours do not die. So it would for
    each that is amid a long sample, and leave it there.
    """

    def unwatch() -> None:
        """Torch would complain of their death, in the main thread."""
        if isinstance(batches, _MultiProcessingDataLoaderIter) and batches._worker_pids_set:  # pyright: ignore[reportPrivateUsage]
            batches._worker_pids_set = False  # pyright: ignore[reportPrivateUsage]
            _remove_worker_pids(id(batches))

    def kill() -> None:
        unwatch()
        for worker in workers:
            worker.kill()

    atexit.register(kill)
    heard = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        unwatch()
        late = Timer(PATIENCE, kill)
        if any(worker.is_alive() for worker in workers):
            late.start()
        if isinstance(batches, _MultiProcessingDataLoaderIter):
            batches._shutdown_workers()  # pyright: ignore[reportPrivateUsage]
        late.cancel()
        atexit.unregister(kill)  # it holds what workers leave: two open files each
        if callable(heard) and signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL:  # one has failed
            with suppress(ValueError):  # not the main thread
                signal.signal(signal.SIGCHLD, heard)  # torch sets it once: so the next death is heard of


@frozen
class DieWith:
    """Ends a data worker with its parent, by which it is also stopped: one that outlived a killed run would hold the
    run's lock for seconds, and one that died of a scheduler's SIGTERM to all processes of a job (torch's own handler
    ends it) would take the run with it, unsaved. A class, as closures are not pickled."""

    parent: int

    def __call__(self, worker: int) -> None:
        """In the worker, as `worker_init_fn`."""
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.getppid() != self.parent:
            os._exit(1)
