"""Jobs as processes on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

from fvlm_core.plugin_api import Ended, ForkServer, Job, Launcher, Task, UsageError, tied
from fvlm_local.config import Local

_GPUS = "CUDA_VISIBLE_DEVICES"
_THREADS = "OMP_NUM_THREADS"
_MODULE = (sys.executable, "-P", "-m")


class LocalLauncher(Launcher):
    """A process a slot. It is asked to stop when this process dies."""

    def __init__(self, config: Local, slots: int) -> None:
        self.processes = config.processes
        self._shares = _deal(config, slots)
        self.gpus = len(self._shares[0]) if self._shares else 0
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._threads = config.threads or max(1, cores // (slots * config.processes))
        self._forks = config.fork and config.processes == 1 and sys.platform.startswith("linux")
        self._server: ForkServer | None = None

    def start(self, job: Job, slot: int) -> Task:
        """Start a process that leads a group of its own, so that Ctrl-C in a terminal does not reach it."""
        gpus = self._shares[slot] if self._shares else ()
        own = {**job.environment, **({_GPUS: ",".join(gpus)} if gpus else {})}
        common = {_THREADS: str(self._threads), **os.environ}
        place = f"slot {slot + 1}" + (f", GPU {','.join(gpus)}" if gpus else "")
        if self._forks and job.command[:3] == _MODULE:
            try:
                if self._server is None:
                    self._server = ForkServer(common)
                number = self._server.start(job.command[3:], job.folder, own, job.log)
                return _Forked(self._server, number, place)
            except OSError:  # a plain start may do better, or has words for what is wrong
                self._forks = self._server is not None  # one that could be made and has died is made anew
                self._server = None
        with job.log.open("ab") as log:
            process = subprocess.Popen(
                tied(job.command),
                cwd=job.folder,
                env=common | own,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return _Process(process, place)


class _Forked(Task):
    def __init__(self, server: ForkServer, number: int, place: str) -> None:
        self._server = server
        self._number = number
        self.place = place

    def poll(self) -> Ended | None:
        code = self._server.poll(self._number)
        return None if code is None else Ended(code)

    def stop(self) -> None:
        self._server.signal(self._number, signal.SIGTERM)

    def kill(self) -> None:
        self._server.signal(self._number, signal.SIGKILL, group=True)


class _Process(Task):
    def __init__(self, process: subprocess.Popen[bytes], place: str) -> None:
        self._process = process
        self.place = place

    def poll(self) -> Ended | None:
        """Its exit code. What it left behind in its group is ended before the group's number is free again."""
        if self._process.returncode is None:
            options = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if os.waitid(os.P_PID, self._process.pid, options) is None:
                return None
            self.kill()
        return Ended(self._process.wait())

    def stop(self) -> None:
        """SIGTERM to the leader alone: it stops the processes that it has started."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to the group."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def build(config: Local, slots: int) -> LocalLauncher:
    """The pool. Raises `UsageError` when there are too few GPUs for the processes of a job."""
    return LocalLauncher(config, slots)


def _deal(config: Local, slots: int) -> list[tuple[str, ...]]:
    """The GPUs of each slot; empty when nobody named any."""
    named = config.gpus or os.environ.get(_GPUS, "")
    gpus = [gpu.strip() for gpu in named.split(",") if gpu.strip()]
    if not gpus:
        return []
    each = config.processes
    if each > 1 and len(gpus) < slots * each:
        raise UsageError(
            f"{slots} slots with {each} processes each need {slots * each} GPUs, got {len(gpus)} ({named}); "
            f"give --slots {max(1, len(gpus) // each)} or name more with --gpus"
        )
    if each > 1:
        return [tuple(gpus[slot * each : (slot + 1) * each]) for slot in range(slots)]
    return [(gpus[slot % len(gpus)],) for slot in range(slots)]
