"""The grid of nine runs on a real SLURM, for the cases of `pytest -m slurm`."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

import grids
import warm
from grids import outcome, recipe
from slurm_cluster import Cluster

CASE = "slurm case"
"""The property of a test that holds a row of the table."""

PATIENCE = 1200.0
"""Seconds after which a thing will not happen any more: others may be using the machine."""

until = partial(grids.until, patience=PATIENCE)

DRIVER = """
import sys, types
from fvlm_core.execution import jobs, pack_parts, scheduler
from fvlm_slurm import launcher
launcher._ASK, launcher._ASK_STOPPING, launcher._PATIENCE, scheduler._AGAIN = 1.0, 0.5, 3.0, 1.0
if (python := sys.argv.pop(1)) != "real":
    jobs.sys = pack_parts.sys = types.SimpleNamespace(executable=python)
from fvlm_core.cli.main import main
sys.exit(main())
"""
"""`fvlm ARGUMENTS`, with shorter pauses. Its jobs are warm programs, or real ones, whose processes SLURM knows."""


class Grid:
    """The grid of nine in a folder, on a cluster."""

    def __init__(self, folder: Path, cluster: Cluster, cache: Path, expected: Path) -> None:
        self.folder, self.cluster, self.expected = folder, cluster, expected
        self.environment = {**cluster.environment, "FVLM_CACHE": str(cache), "COLUMNS": "150"}
        self.started: list[subprocess.Popen[str]] = []
        self._heard: dict[int, str] = {}
        write_recipe(folder)

    def run(self, name: str) -> Path:
        """The folder of a run."""
        return self.folder / "runs" / "grid" / name

    def start(self, *arguments: str, real: bool = False, **environment: str) -> subprocess.Popen[str]:
        """`fvlm run grid.toml --launcher slurm ARGUMENTS`."""
        command = ("run", "grid.toml", "--launcher", "slurm", *arguments)
        return self.fvlm(*command, real=real, **environment)

    def fvlm(self, *arguments: str, real: bool = False, **environment: str) -> subprocess.Popen[str]:
        """A command beside the cluster."""
        process = subprocess.Popen(
            [warm.python(), "-c", DRIVER, "real" if real else warm.python(), *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def said(self, process: subprocess.Popen[str], code: int = 0) -> str:
        """What it says, once it has ended with this exit code."""
        out, _ = process.communicate(timeout=PATIENCE)
        said = self._heard.pop(process.pid, "") + out
        assert process.returncode == code, said
        return said

    def hear(self, process: subprocess.Popen[str], text: str) -> None:
        """Wait until it says so."""
        assert process.stdout is not None
        for line in process.stdout:
            self._heard[process.pid] = self._heard.get(process.pid, "") + line
            if text in line:
                return
        raise AssertionError(self._heard[process.pid])

    def job(self, name: str) -> str:
        """The id of a run's job that has not ended; empty as long as there is none."""
        jobs = [id for id, of, state, _ in self.cluster.jobs() if of == f"grid/{name}" and state in LIVE]
        return jobs[-1] if jobs else ""

    def equal(self, *names: str) -> bool:
        """Whether runs are what they are undisturbed."""
        return all(outcome(self.run(name)) == outcome(self.expected / name) for name in names)

    def close(self) -> None:
        """End commands and jobs that a failed case has left."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
        self.cluster.ask("scancel", "--user=root", "--signal=KILL")
        self.cluster.ask("scancel", "--user=root")


LIVE = ("PENDING", "RUNNING", "CONFIGURING")


def write_recipe(folder: Path) -> None:
    """r1 to r9, of 150 steps."""
    file = folder / "grid.toml"
    recipe(file, 9)
    text = file.read_text().replace("steps = 40", "steps = 150").replace("every = 4\n", "every = 10\n")
    file.write_text(text.replace("[eval]\nevery = 10", "[eval]\nevery = 50"))
