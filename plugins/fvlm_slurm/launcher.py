"""Jobs handed to submitit. What submitit pickles is `os.execv` and a list of strings: no object of ours."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvlm_core.plugin_api import Ended, FvlmError, Job, Launcher, NotNow, Task, UsageError
from fvlm_slurm.config import Slurm
from fvlm_slurm.job import ended_file, write
from fvlm_slurm.queue import JobState, Queue
from fvlm_slurm.surroundings import as_a_person

if TYPE_CHECKING:
    import submitit

_ASK = 15.0
"""Seconds between questions to `squeue`, one for all jobs."""

_ASK_STOPPING = 3.0

_PATIENCE = 60.0
"""Seconds that a file written on another machine may take to be seen here."""

_LATER = re.compile(
    r"contact slurm controller|timed out|temporarily|MaxSubmit|SubmitJobsLimit|MaxJobCount|job submit limit\b(?!, user)"
    r"|Zero Bytes|onnection (refused|failure|reset|closed)|authentication error|try again",
    re.IGNORECASE,
)
"""What `sbatch` says when the same submission may succeed later; all else ("Invalid account") is final."""


class SlurmLauncher(Launcher):
    """A SLURM job a start. It does not requeue itself: whoever runs the recipe starts it again."""

    def __init__(self, config: Slurm, slots: int = 1) -> None:
        self.config = config
        self.slots = slots
        self.processes = config.processes
        self.detached = config.executor == "slurm"
        self.together = config.array and self.detached
        self.gpus = config.gpus or 0
        self.limit = max(1.0, config.time * 60.0 - config.signal)
        self.every = 2.0 if self.detached else 0.2
        self.queue = Queue()
        self.stopping = False
        self._asked = float("-inf")
        self._watched: set[str] = set()

    def open(self) -> None:
        """Raises `UsageError` without submitit, without SLURM, and for a setting that submitit does not take."""
        if find_spec("submitit") is None:
            raise UsageError("the launcher slurm needs the package submitit: pip install 'fvlm[slurm]'")
        self._executor(Path("log"), "check")

    def start(self, job: Job, slot: int) -> Task:
        """Write what is to be run beside its log, and submit it."""
        return self._submit([job])[0]

    def start_together(self, jobs: Sequence[Job]) -> list[Task]:
        """One array job."""
        return self._submit(jobs)

    def _submit(self, jobs: Sequence[Job]) -> list[Task]:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        told = {job.log.with_suffix(".json"): _told(job) for job in jobs}
        for file, what in told.items():
            ended_file(file).unlink(missing_ok=True)
            write(file, what)
        name = jobs[0].name if len(jobs) == 1 else jobs[0].name.partition("/")[0]
        commands = [[sys.executable, "-P", "-m", "fvlm_slurm.job", str(file)] for file in told]
        executor = self._executor(jobs[0].log.parent, name)
        try:
            with as_a_person(self.config), executor.batch() if len(jobs) > 1 else nullcontext():
                submitted = [executor.submit(os.execv, command[0], command) for command in commands]
        except (FailedSubmissionError, FailedJobError) as error:  # the second when sbatch itself fails
            kind = NotNow if _LATER.search(str(error)) else FvlmError
            raise kind(f"{name} cannot be submitted: {error}".strip()) from None
        for (file, what), one in zip(told.items(), submitted, strict=True):
            write(file, {**what, "executor": self.config.executor, "id": one.job_id})
        return [_Submitted(self, file, one) for file, one in zip(told, submitted, strict=True)]

    def find(self, job: Job) -> Task | None:
        """The newest start's SLURM job, waiting or running; also where SLURM cannot be asked whether it is."""
        files = sorted(job.log.parent.glob("start-*.json"), key=lambda file: file.stat().st_mtime)
        files = [file for file in files if not file.name.endswith(".ended.json")]
        if not self.detached or not files or ended_file(files[-1]).exists():
            return None
        told = json.loads(files[-1].read_bytes())
        if told.get("executor") != "slurm":
            return None
        import submitit

        found: submitit.Job[Any] = submitit.SlurmJob(files[-1].parent / _PICKLES, told["id"])
        self._watched.add(found.job_id)
        self.queue.ask(self._watched)
        if self.queue.state(found.job_id).over:
            return None
        task = _Submitted(self, files[-1], found)
        task.see()
        return task

    def look(self, job: str) -> None:
        """See to it that a job's state is known; SLURM is asked now and then, for all jobs at once."""
        self._watched.add(job)
        if time.monotonic() - self._asked > (_ASK_STOPPING if self.stopping else _ASK):
            self._asked = time.monotonic()
            self.queue.ask(self._watched)

    def forget(self, job: str) -> None:
        """It has ended."""
        self._watched.discard(job)

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
                slurm_array_parallelism=self.slots,
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


def _told(job: Job) -> dict[str, Any]:
    """What `fvlm_slurm.job` reads."""
    return {
        "name": job.name,
        "command": list(job.command),
        "folder": str(job.folder),
        "environment": dict(job.environment),
        "log": str(job.log),
        "grace": job.grace,
    }


_PICKLES = "submitit"


class _Submitted(Task):
    """file: what it runs; its exit code comes beside it."""

    def __init__(self, launcher: SlurmLauncher, file: Path, job: submitit.Job[Any]) -> None:
        self._launcher = launcher
        self._file = file
        self._job = job
        self._over_since: float | None = None
        self.place = self._name = f"job {job.job_id}"

    def poll(self) -> Ended | None:
        """Its exit code; SIGKILL's when it is over and there is none."""
        ended = self._ended() or (self._lost() if self._launcher.detached else self._over())
        if ended is not None:
            self._launcher.forget(self._job.job_id)
        return ended

    def _lost(self) -> Ended | None:
        """Over, as SLURM says, and no file says how, although there was time for one to come from another machine."""
        self._launcher.look(self._job.job_id)
        state = self.see()
        if not state.over:
            self._over_since = None
            return None
        if self._over_since is None:
            self._over_since = time.monotonic()
        begun = self._file.with_suffix(".txt").exists()
        if time.monotonic() - self._over_since < (_PATIENCE if begun else 0.0):
            return None
        return self._ended() or Ended(-signal.SIGKILL, f"{self._name}: {state}, no exit code")

    def see(self) -> JobState:
        """Its state as it is known, which its place then tells."""
        queue = self._launcher.queue
        state = queue.state(self._job.job_id)
        self.place = f"{self._name} {state}".rstrip() + (
            f" when last seen; {queue.trouble}" if queue.trouble else ""
        )
        return state

    def _over(self) -> Ended | None:
        """Of submitit's own executor, which knows."""
        if self._job.state == "RUNNING":
            return None
        return self._ended() or Ended(-signal.SIGKILL, f"{self._name}: no exit code")

    def stop(self) -> None:
        """SLURM sends SIGTERM, and SIGKILL after its own time (KillWait)."""
        self._launcher.stopping = True
        if self._launcher.detached:
            self._job.cancel(check=False)  # scancel
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
        return Ended(code, self._name)


def build(config: Slurm, slots: int) -> SlurmLauncher:
    """The launcher."""
    return SlurmLauncher(config, slots)
