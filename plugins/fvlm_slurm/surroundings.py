"""What `sbatch` is told by variables: a cluster's and a person's own are kept, another job's are not."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

from fvlm_slurm.config import Slurm

_OF_CLIENTS = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_EXIT_ERROR", "SLURM_TIME_FORMAT", "SLURM_DEBUG_FLAGS")
"""SLURM_ variables by which a client finds its cluster, and how it speaks. The others describe the job around it."""

_OF_JOBS = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_", "SBATCH_CPU_BIND", "SBATCH_MEM_BIND")

_OF_RANKS = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")

_DECIDED = (
    *(
        "SBATCH_TIMELIMIT",
        "SBATCH_SIGNAL",
        "SBATCH_JOB_NAME",
        "SBATCH_REQUEUE",
        "SBATCH_NO_REQUEUE",
        "SBATCH_WAIT",
    ),
    *(
        "SBATCH_ARRAY_INX",
        "SBATCH_OPEN_MODE",
        "SBATCH_OUTPUT",
        "SBATCH_ERROR",
        "SBATCH_INPUT",
        "SBATCH_WCKEY",
    ),
)
"""Variables of what the launcher always says itself. In sbatch a variable wins over the submitted file."""

_SAID = {
    "partition": "SBATCH_PARTITION",
    "account": "SBATCH_ACCOUNT",
    "qos": "SBATCH_QOS",
    "constraint": "SBATCH_CONSTRAINT",
    "mem": "SBATCH_MEM_PER_NODE",
    "gpus": "SBATCH_GPUS_PER_NODE",
}
"""Settings, and the variable that each of them wins over where it is given."""


@contextmanager
def as_a_person(config: Slurm) -> Generator[None]:
    """The variables as a shell outside of any job has them, without those over which a setting wins.

    submitit's own `clean_env` also hides SLURM_CONF and all of SBATCH_, with which clusters and people say where and on
    whose account jobs run.
    """
    hidden = {
        *_DECIDED,
        *(name for setting, name in _SAID.items() if getattr(config, setting) not in ("", None)),
    }
    hidden |= {f"SBATCH_{text.partition('=')[0].replace('-', '_').upper()}" for text in config.sbatch}
    if "SLURM_JOB_ID" in os.environ:
        hidden |= {name for name in os.environ if name.startswith(_OF_JOBS) and name not in _OF_CLIENTS}
        hidden |= {*_OF_RANKS}
    before = {name: os.environ.pop(name) for name in hidden if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
