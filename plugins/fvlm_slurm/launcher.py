"""Jobs handed to submitit. What submitit pickles is `os.execv` and a list of strings: no object of ours."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvlm_core.plugin_api import Ended, FvlmError, Job, Launcher, Task, UsageError
from fvlm_slurm.config import Slurm
from fvlm_slurm.job import ended_file, write

if TYPE_CHECKING:
    import submitit

_ASK = 15.0
"""Seconds between questions to `sacct`, one for all jobs."""

_ASK_STOPPING = 3.0

_PATIENCE = 60.0
"""Seconds that a file written on another machine may take to be seen here."""

_OVER = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
)
"""States that a job which SLURM must not requeue does not leave."""


class SlurmLauncher(Launcher):
    """A SLURM job a start. It does not requeue itself: whoever runs the recipe starts it again."""

    def __init__(self, config: Slurm) -> None:
        self.config = config
        self.processes = config.processes
        self.detached = config.executor == "slurm"
        self.every = 2.0 if self.detached else 0.2
        self._asked = float("-inf")
        self.stopping = False

    def open(self) -> None:
        """Raises `UsageError` without submitit, without SLURM, and for a setting that submitit does not take."""
        if find_spec("submitit") is None:
            raise UsageError("the launcher slurm needs the package submitit: pip install 'fvlm[slurm]'")
        self._executor(Path("log"), "check")

    def start(self, job: Job, slot: int) -> Task:
        """Write what is to be run beside its log, and submit it."""
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        file = job.log.with_suffix(".json")
        ended_file(file).unlink(missing_ok=True)
        told: dict[str, Any] = {
            "name": job.name,
            "command": list(job.command),
            "folder": str(job.folder),
            "environment": dict(job.environment),
            "log": str(job.log),
            "grace": job.grace,
        }
        write(file, told)
        command = [sys.executable, "-P", "-m", "fvlm_slurm.job", str(file)]
        try:
            with submitit.helpers.clean_env():
                submitted = self._executor(file.parent, job.name).submit(os.execv, command[0], command)
        except (FailedSubmissionError, FailedJobError) as error:  # the second when sbatch itself fails
            raise FvlmError(f"{job.name} cannot be submitted: {error}") from None
        write(file, {**told, "executor": self.config.executor, "id": submitted.job_id})
        return _Submitted(self, file, submitted)

    def find(self, job: Job) -> Task | None:
        """The newest start's SLURM job, waiting or running."""
        files = sorted(job.log.parent.glob("start-*.json"), key=lambda file: file.stat().st_mtime)
        files = [file for file in files if not file.name.endswith(".ended.json")]
        if not self.detached or not files or ended_file(files[-1]).exists():
            return None
        told = json.loads(files[-1].read_bytes())
        if told.get("executor") != "slurm":
            return None
        import submitit

        found: submitit.Job[Any] = submitit.SlurmJob(files[-1].parent / _PICKLES, told["id"])
        state = _state(found)
        fresh = time.time() - files[-1].stat().st_mtime < 2 * _PATIENCE  # sacct may not know it yet
        if state in _OVER or (state == "UNKNOWN" and not fresh):
            return None
        return _Submitted(self, files[-1], found)

    def ask(self, job: submitit.Job[Any]) -> str:
        """A job's state; SLURM is asked now and then, for all jobs at once."""
        if not self.detached:
            return "RUNNING" if job.state == "RUNNING" else "FAILED"
        if time.monotonic() - self._asked > (_ASK_STOPPING if self.stopping else _ASK):
            self._asked = time.monotonic()
            job.watcher.update()
        return _state(job)

    def _executor(self, folder: Path, name: str) -> submitit.AutoExecutor:
        import submitit

        config = self.config
        others = [text.partition("=") for text in config.sbatch]
        try:
            executor = submitit.AutoExecutor(folder / _PICKLES, cluster=config.executor)
            executor.update_parameters(
                name=name,
                timeout_min=config.time,
                mem_gb=config.mem,
                cpus_per_task=config.cpus,
                gpus_per_node=config.gpus,
                nodes=1,
                tasks_per_node=1,
                stderr_to_stdout=True,
                slurm_partition=config.partition or None,
                slurm_account=config.account or None,
                slurm_qos=config.qos or None,
                slurm_constraint=config.constraint or None,
                slurm_setup=list(config.setup) or None,
                slurm_signal_delay_s=config.signal,
                slurm_additional_parameters={
                    "no-requeue": True,
                    **{key: value or True for key, _, value in others},
                },
            )
        except RuntimeError as error:  # no srun
            raise UsageError(
                f"there is no SLURM here: {error}\nStart this on a machine that submits jobs, or try the same jobs "
                "on this one with -l executor=local"
            ) from None
        return executor


_PICKLES = "submitit"


class _Submitted(Task):
    """file: what it runs; its exit code comes beside it."""

    def __init__(self, launcher: SlurmLauncher, file: Path, job: submitit.Job[Any]) -> None:
        self._launcher = launcher
        self._file = file
        self._job = job
        self._over_since: float | None = None
        self.place = f"job {job.job_id}"

    def poll(self) -> Ended | None:
        """Its exit code; SIGKILL's when SLURM says that it is over and there is none."""
        ended = self._ended()
        if ended is not None:
            return ended
        state = self._launcher.ask(self._job)
        self.place = f"job {self._job.job_id}" + (f" {state}" if self._launcher.detached else "")
        if state not in _OVER:
            self._over_since = None
            return None
        if self._over_since is None:
            self._over_since = time.monotonic()
        begun = self._file.with_suffix(".txt").exists()
        patience = _PATIENCE if self._launcher.detached and begun else 0.0
        if time.monotonic() - self._over_since < patience:
            return None
        return self._ended() or Ended(-signal.SIGKILL, f"job {self._job.job_id}: {state}, no exit code")

    def stop(self) -> None:
        """SLURM sends SIGTERM, and SIGKILL after its own time (KillWait)."""
        self._launcher.stopping = True
        if self._launcher.detached:
            self._job.cancel(check=False)
        else:
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SLURM has done it; here, the job ends its own command."""
        if not self._launcher.detached:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(int(self._job.job_id), number)  # of submitit's controller, which passes SIGTERM on

    def _ended(self) -> Ended | None:
        try:
            code = json.loads(ended_file(self._file).read_bytes())["code"]
        except FileNotFoundError:
            return None
        return Ended(code, f"job {self._job.job_id}")


def build(config: Slurm, slots: int) -> SlurmLauncher:
    """The launcher."""
    return SlurmLauncher(config)


def _state(job: submitit.Job[Any]) -> str:
    """As `sacct` says, in one word: "CANCELLED by 1000" is cancelled."""
    return job.watcher.get_state(job.job_id, mode="cache").partition(" ")[0].rstrip("+")
