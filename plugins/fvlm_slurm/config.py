"""Settings of SLURM jobs."""

from __future__ import annotations

from typing import Any, Literal

from attrs import field, frozen
from attrs.validators import ge, gt, optional

_OWN = ("requeue", "array", "wait", "signal", "job-name", "output", "error", "open-mode")


def _no_own(instance: Any, attribute: Any, options: tuple[str, ...]) -> None:
    """Raise `ValueError` for what the launcher says itself: a job that SLURM starts again would run twice."""
    named = [text for text in options if text.partition("=")[0].lstrip("-") in _OWN]
    if named:
        raise ValueError(f"{named[0]} is not for sbatch to be told: the launcher decides it")


@frozen(kw_only=True)
class Slurm:
    """partition, account, qos, constraint: as sbatch has them; empty: the cluster's own. time: minutes until a job is
    ended; it is then started again where it had saved. mem: GiB of memory. cpus: of a job. gpus: of a job.
    signal: seconds before its end at which a job gets SIGUSR2 and saves. setup: shell lines before the job
    ("module load cuda"). sbatch: other options of sbatch ("reservation=x", "exclusive"). array: whether runs that may
    start together are one array job, of which SLURM runs as many at once as there are slots. processes: of one job,
    through torchrun. executor: `local` runs the jobs here, through submitit's own executor, to try what would be
    submitted.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    time: int = field(default=60, validator=ge(1))
    mem: float | None = field(default=None, validator=optional(gt(0)))
    cpus: int | None = field(default=None, validator=optional(ge(1)))
    gpus: int | None = field(default=None, validator=optional(ge(0)))
    signal: int = field(default=90, validator=ge(1))
    setup: tuple[str, ...] = ()
    sbatch: tuple[str, ...] = field(default=(), validator=_no_own)
    array: bool = False
    processes: int = field(default=1, validator=ge(1))
    executor: Literal["slurm", "local"] = "slurm"
