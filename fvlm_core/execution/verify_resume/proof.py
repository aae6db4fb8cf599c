"""Train 2n steps; train n, kill, resume; compare. In a temporary place, by processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

from attrs import evolve, frozen

from fvlm_core.execution.verify_resume.child import REACHED, ChildTask
from fvlm_core.execution.verify_resume.compare import (
    Equal,
    FirstDifference,
    compare_checkpoints,
    compare_metrics,
)
from fvlm_core.runs.metrics import attempt_starts
from fvlm_core.runs.store import METRICS
from fvlm_core.utils.errors import FvlmError


@frozen
class Verdict:
    """equal: what was compared and equal, in order. difference: the first thing that was not, or None.

    killed_at: the step after which the process was killed.
    """

    equal: list[Equal]
    difference: FirstDifference | None
    killed_at: int


def prove(task: ChildTask, recipe: str, say: Callable[[str], None]) -> Verdict:
    """The proof for one run. task: with the temporary place as `root`. recipe: its name. say: told of each part.

    Raises `FvlmError` when a process fails for another reason.
    """
    n = task.n
    killed_at = n + max(1, n // 2)
    straight, broken = task.root / "uninterrupted", task.root / "resumed"
    ours, theirs = straight / recipe / task.run, broken / recipe / task.run
    say(f"training {2 * n} steps without a break")
    _run(evolve(task, root=straight, until=2 * n, wait=False))
    say(f"training again; killing it (SIGKILL) after step {killed_at}, past the checkpoint of step {n}")
    _kill(evolve(task, root=broken, until=killed_at, wait=True))
    same = compare_checkpoints(ours, theirs, n)
    if isinstance(same, FirstDifference):
        apart = FirstDifference(f"before the kill already, so two runs are never equal here: {same.text}")
        return Verdict([], apart, killed_at)
    say(f"resuming from step {n} to step {2 * n}")
    _run(evolve(task, root=broken, until=2 * n, wait=False))
    starts = attempt_starts(theirs / METRICS)
    if starts != [0, n]:
        raise FvlmError(f"the killed run should have continued from step {n}; its attempts began at {starts}")
    equal = same
    for part in (compare_metrics(ours, theirs, 2 * n), compare_checkpoints(ours, theirs, 2 * n)):
        if isinstance(part, FirstDifference):
            return Verdict(equal, part, killed_at)
        equal = [*equal, *part]
    return Verdict(equal, None, killed_at)


def _start(task: ChildTask) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fvlm_core.execution.verify_resume.child", task.to_json()]
    scratch = (
        task.root.parent / "t"
    )  # what libraries leave behind when they are killed; sockets want short names
    scratch.mkdir(exist_ok=True)
    # A session of its own: the kill reaches its data workers, and Ctrl-C only us.
    return subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


def _run(task: ChildTask) -> None:
    process = _start(task)
    try:
        _, said = process.communicate()
    finally:
        _end(process)
    if process.returncode != 0:
        raise FvlmError(f"training to step {task.until} failed:\n{said.strip()}")


def _kill(task: ChildTask) -> None:
    process = _start(task)
    assert process.stdout is not None
    try:
        reached = any(line.startswith(REACHED) for line in process.stdout)
    finally:
        _end(process)
    _, said = process.communicate()
    if not reached:
        raise FvlmError(f"training to step {task.until} failed:\n{said.strip()}")


def _end(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the process and its workers, whatever they are doing."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
