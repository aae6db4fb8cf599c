"""Processes that write shards: a sample that kills or hangs one is named, passed over, and costs no other sample."""

from __future__ import annotations

import multiprocessing
import resource
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from attrs import define, field

from fvlm_core.datasets.shards.shard import PackJob, ShardReport, Skipped, write_shard
from fvlm_core.utils.errors import FvlmError

MEMORY = 4 << 30
"""Bytes that decoding may take in a worker beyond what it starts with: a bomb is then a MemoryError, not a machine
without memory."""

_IMPORTED_ONCE = ["fvlm_core.datasets.shards.shard", "imagehash", "scipy.fftpack", "pandas"]
"""By all workers together. imagehash imports its part of scipy with the first hash, and pyarrow pandas with the first
table: 1 s in every worker, and in every one that takes the place of another."""

_TICK = 0.5
"""Seconds between looks at workers that say nothing."""


def write_shards(
    job: PackJob, numbers: Iterable[int], processes: int, begun: Callable[[int], None]
) -> Iterator[ShardReport]:
    """Write shards in `processes` processes; each report as it comes. begun: told of every sample, by its place.

    Raises `FvlmError` when a worker fails for another reason than a sample.
    """
    waiting = list(numbers)[::-1]
    workers = [_Worker(job) for _ in range(min(processes, len(waiting)))]
    try:
        for worker in workers:
            worker.start()
            worker.give(waiting.pop(), {})
        while busy := [worker for worker in workers if worker.number is not None]:
            wait([handle for worker in busy for handle in (worker.pipe, worker.process.sentinel)], _TICK)
            for worker in busy:
                report = worker.look(begun)
                if report is not None:
                    yield report
                    if waiting:
                        worker.give(waiting.pop(), {})
    finally:
        for worker in workers:
            worker.end()


@define(eq=False)
class _Worker:
    """A process and what it is doing. number: the shard it writes. place, name: the sample it decodes, since when."""

    job: PackJob
    process: BaseProcess = field(init=False)
    pipe: Connection = field(init=False)
    number: int | None = None
    place: int | None = None
    name: str = ""
    since: float = 0.0
    blocked: dict[int, Skipped] = field(factory=dict[int, Skipped])

    def start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_IMPORTED_ONCE)
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(self.job, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, number: int, blocked: dict[int, Skipped]) -> None:
        """Ask for a shard."""
        self.number, self.place, self.blocked = number, None, blocked
        self.pipe.send((number, blocked))

    def look(self, begun: Callable[[int], None]) -> ShardReport | None:
        """Hear what it has to say; the report when the shard is done. A dead or stuck one is replaced."""
        with suppress(EOFError, ConnectionError):
            while self.pipe.poll():
                what, value = self.pipe.recv()
                if what == "begin":
                    if value[0] != self.place and value[0] is not None:
                        self.since = time.monotonic()
                        begun(value[0])
                    self.place, self.name = value
                elif what == "done":
                    self.number = self.place = None
                    return value
                else:
                    raise FvlmError(f"packing failed{self._where()}: {value}")
        if not self.process.is_alive():
            code = self.process.exitcode or 0
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            self._replace(f"ended the process that read it ({how})")
        elif self.place is not None and time.monotonic() - self.since > self.job.settings.timeout:
            self._replace(f"took more than {self.job.settings.timeout:g} s")
        return None

    def end(self) -> None:
        """Stop the process, at once."""
        if self.process.pid is not None:  # else it never started, and why is being raised
            self.process.kill()
            self.process.join()
        self.pipe.close()

    def _replace(self, reason: str) -> None:
        if self.place is None or self.number is None:
            raise FvlmError(f"packing failed: a worker ended between samples ({reason})")
        skipped = Skipped(self.place, self.name, reason)
        number, blocked = self.number, {**self.blocked, self.place: skipped}
        self.end()
        self.start()
        self.give(number, blocked)

    def _where(self) -> str:
        return "" if self.place is None else f" at {self.name} of {self.job.source.name}"


def _work(job: PackJob, pipe: Connection) -> None:
    """A worker's life: shards as they are asked for, until nobody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    _limit_memory()

    def say(what: str, value: Any) -> None:
        pipe.send((what, value))

    try:
        while True:
            number, blocked = pipe.recv()
            say("done", write_shard(job, number, blocked, lambda place, name: say("begin", (place, name))))
    except (EOFError, ConnectionError):
        return  # the parent is gone
    except Exception as error:
        with suppress(ConnectionError):
            say("failed", f"{type(error).__name__}: {error}")


def _limit_memory() -> None:
    with open("/proc/self/statm", encoding="utf-8") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = now + MEMORY
    resource.setrlimit(
        resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
    )
