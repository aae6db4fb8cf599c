"""How many processes train together, as torchrun says it, or `srun --ntasks`. Imports nothing heavy."""

from __future__ import annotations

import os
import subprocess

from fvlm_core.utils.errors import FvlmError

_PORTS = range(20_000, 60_000)


def world_size() -> int:
    """How many processes this one trains with, itself among them.

    In a step of `srun` with several tasks, torchrun's variables (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR,
    MASTER_PORT) are set from SLURM's where they are not there: WORLD_SIZE=1 makes a task a run of its own. Raises
    `FvlmError` where the first node of the step is not known.
    """
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks > 1 and "WORLD_SIZE" not in os.environ:
        os.environ |= _of_srun(tasks) | {name: os.environ[name] for name in _ADDRESS if name in os.environ}
    return int(os.environ.get("WORLD_SIZE", "1"))


_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")


def _of_srun(tasks: int) -> dict[str, str]:
    own = os.environ
    step = int(own["SLURM_JOB_ID"]) * 16 + int(own["SLURM_STEP_ID"])  # steps beside each other do not meet
    alone = own["SLURM_STEP_NUM_NODES"] == "1"
    address = "127.0.0.1" if alone or "MASTER_ADDR" in own else _first_node(own["SLURM_STEP_NODELIST"])
    return {
        "RANK": own["SLURM_PROCID"],
        "WORLD_SIZE": str(tasks),
        "LOCAL_RANK": own["SLURM_LOCALID"],
        "MASTER_ADDR": address,
        "MASTER_PORT": str(_PORTS[step % len(_PORTS)]),
    }


def _first_node(nodes: str) -> str:
    """Of a list as SLURM writes it ("gpu[07-09],login1")."""
    try:
        said = subprocess.run(
            ["scontrol", "show", "hostnames", nodes],
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise FvlmError(
            f"the first of the nodes {nodes} is not known ({error}): name it by MASTER_ADDR, or start by torchrun"
        ) from None
    return said.stdout.split()[0]
