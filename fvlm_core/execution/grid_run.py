"""One run of a grid while the grid is under way."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from attrs import define, field

from fvlm_core.interfaces.launcher import Task
from fvlm_core.recipes.read import Run

State = Literal["ready", "waiting", "held", "running", "complete", "failed", "stopped"]

OPEN: tuple[State, ...] = ("ready", "waiting", "held", "running")
"""States that something will still become of."""


@define
class GridRun:
    """A run and what became of it so far.

    after: ids of the runs that must be complete before it. note: why it is in its state, for people. slot, task: while
    it is running. tries: its starts by this command. fruitless: of these, the latest in a row that left no checkpoint
    that was not there before. saved: the step of its newest checkpoint when it was started, -1 without one. log: of its
    latest start that has ended. found: complete before this command started anything.
    """

    run: Run
    folder: Path
    after: tuple[str, ...] = ()
    state: State = "ready"
    note: str = ""
    slot: int | None = None
    task: Task | None = field(default=None, repr=False)
    tries: int = 0
    fruitless: int = 0
    saved: int = -1
    log: Path | None = None
    found: bool = False
