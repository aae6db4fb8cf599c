"""A grid of tiny runs, disturbed: `python tests/helpers/grids.py RESULTS` prints the tables of docs/howto/launchers.md.

Nine runs over two slots. One is killed with SIGKILL, then everything that belongs to the pool is; the same command
finishes what is missing. Then the same through submitit's local executor, a preemption (SIGUSR2) in place of the kill.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import warm
from tiny import RECIPE, fvlm

from fvlm_core.plugin_api import Ended, Job, Task
from fvlm_core.runs.metrics import deterministic, read_metrics

PATIENCE = 240.0

BASE = (
    RECIPE.replace('name = "tiny"', 'name = "grid"')
    .replace("every = 2", "every = 10")
    .replace("steps = 6", "steps = 40\nlog_every = 1")
    + "[checkpoints]\nevery = 4\n"
)


def recipe(file: Path, runs: int, short: Collection[str] = ()) -> list[str]:
    """Write a recipe of so many runs, the last of which starts from the first; their ids. short: those of 12 steps."""
    ids = [f"r{number}" for number in range(1, runs + 1)]
    tables = [f'[[runs]]\nid = "{name}"\ntraining.lr = {1e-3 * (1 + n):g}\n' for n, name in enumerate(ids)]
    tables = [
        table + "training.steps = 12\n" * (name in short) for name, table in zip(ids, tables, strict=True)
    ]
    tables[-1] += f'training.init_from = "grid/{ids[0]}"\n'
    file.write_text(BASE + "".join(tables))
    return ids


def outcome(folder: Path) -> dict[str, Any]:
    """What must be equal: hashes of the newest checkpoint, and every row without its clock."""
    newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
    hashes = json.loads((newest / "manifest.json").read_text())["sha256"]
    return {
        "checkpoint": newest.name,
        "model": hashes["model.safetensors"],
        "optimizer": hashes["optimizer.safetensors"],
        "rows": [deterministic(row) for row in read_metrics(folder / "metrics.jsonl")],
    }


def history(folder: Path) -> dict[str, Any]:
    """What became of a run: the steps that its attempts began at, how far each came, and how many were made twice."""
    begun: list[int] = []
    came: list[int] = []
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        with suppress(ValueError):
            row = json.loads(line)
            if row["event_type"] == "attempt":
                begun.append(row["step"])
                came.append(row["step"])
            else:
                came[-1] = max(came[-1], row["step"])
    twice = sum(max(0, before - start) for before, start in zip(came, begun[1:], strict=False))
    logs = len(list((folder / "log").glob("start-*.txt"))) if (folder / "log").is_dir() else 0
    return {"attempts": [*zip(begun, came, strict=True)], "twice": twice, "logs": logs}


def step(folder: Path) -> int:
    """The run's latest step; -1 before it has any."""
    try:
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        return max((json.loads(line)["step"] for line in lines), default=-1)
    except (OSError, ValueError):
        return -1


def until(what: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """What it says as soon as it says something."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        said = what()
        if said:
            return said
        time.sleep(0.02)
    raise TimeoutError


def worker(folder: Path) -> psutil.Process:
    """The process that trains a run."""
    return psutil.Process(json.loads((folder / ".owner.json").read_text())["pid"])


def kill_run(folder: Path) -> None:
    """SIGKILL to the process that trains it."""
    worker(folder).kill()


def slurm_job(log: Path) -> psutil.Process:
    """The process that submitit has started for the job that writes this log, the starter of the one that trains."""
    wanted = ["fvlm_slurm.job", str(log.with_suffix(".json"))]
    running = psutil.process_iter(["cmdline"])
    return next(found for found in running if (found.info["cmdline"] or [])[-2:] == wanted)


def preempt(folder: Path) -> None:
    """SIGUSR2 as submitit's controller sends it, to the run's first job."""
    slurm_job(folder / "log" / "start-1.txt").send_signal(signal.SIGUSR2)


def shell(log: Path, text: str, grace: float = 5.0) -> Job:
    """A job that is a line of shell."""
    log.parent.mkdir(parents=True, exist_ok=True)
    return Job("grid/r1", ("sh", "-c", text), log.parent, {}, log, grace)


def ended(task: Task) -> Ended:
    """How it ended, once it has."""
    return until(task.poll, 60)


def kill_all(process: subprocess.Popen[str]) -> None:
    """SIGKILL to a process and to all that it has started, itself first."""
    below = warm.below(process)
    process.kill()
    for child in below:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(below)
    process.wait()


def disturbed(
    folder: Path, ids: Sequence[str], command: Sequence[str], disturb: Callable[[Path], None]
) -> None:
    """Two starts of one command: the first has its second run disturbed and is then killed whole; the second ends."""
    runs = folder / "runs" / "grid"
    first = fvlm(*command, cwd=folder, cache=folder.parent / "cache")
    until(lambda: step(runs / ids[1]) >= 6)
    disturb(runs / ids[1])
    until(lambda: (runs / ids[1] / "log" / "start-2.txt").exists() and step(runs / ids[3]) >= 6)
    kill_all(first)
    complete = {name for name in ids if _complete(runs / name)}
    starts = {name: history(runs / name)["logs"] for name in complete}
    second = fvlm(*command, cwd=folder, cache=folder.parent / "cache")
    said, _ = second.communicate(timeout=PATIENCE * 3)
    assert second.returncode == 0, said
    assert {name: history(runs / name)["logs"] for name in complete} == starts, (
        "a complete run was started again"
    )
    print(f"\n{len(complete)} of {len(ids)} runs were complete when the pool was killed.", flush=True)


def _complete(folder: Path) -> bool:
    try:
        return json.loads((folder / "summary.json").read_text())["complete"]
    except OSError:
        return False


def table(runs: Path, ids: Sequence[str], expected: Path) -> list[str]:
    """What happened to each run, as Markdown."""
    lines = [
        "| run | starts | steps of each attempt | steps made twice | weights and rows |",
        "|---" * 5 + "|",
    ]
    for name in ids:
        told = history(runs / name)
        attempts = ", ".join(f"{begun + 1}-{came}" for begun, came in told["attempts"])
        same = outcome(runs / name) == outcome(expected / name)
        equal = "equal" if same else "DIFFERENT"
        lines.append(f"| {name} | {told['logs']} | {attempts} | {told['twice']} | {equal} |")
    return lines


def main(results: Path) -> None:
    """See the module."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.environ["FVLM_CACHE"] = str(place / "cache")
        told: dict[str, Any] = {}
        for where in ("plain", "local", "submitit"):
            (place / where).mkdir()
            ids = recipe(place / where / "grid.toml", 9)
        plain = fvlm("run", "grid.toml", cwd=place / "plain", cache=place / "cache")
        said, _ = plain.communicate(timeout=PATIENCE * 3)
        assert plain.returncode == 0, said
        expected = place / "plain" / "runs" / "grid"
        for where, how, disturb in (
            ("local", ["--launcher", "local"], kill_run),
            ("submitit", ["--launcher", "slurm", "-l", "executor=local"], preempt),
        ):
            begun = time.monotonic()
            disturbed(place / where, ids, ["run", "grid.toml", *how, "--slots", "2"], disturb)
            lines = table(place / where / "runs" / "grid", ids, expected)
            told[where] = {"seconds": time.monotonic() - begun, "table": lines}
            print("\n".join(lines), flush=True)
            results.write_text(json.dumps(told, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
