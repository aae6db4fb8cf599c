"""What a person sees while jobs run: a table that changes on a terminal, a line for each event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fvlm_core.api.views.console import new_table
from fvlm_core.execution.entry import Entry, State
from fvlm_core.execution.grid_run import GridRun
from fvlm_core.execution.jobs import tail
from fvlm_core.execution.run_progress import reached

_REFRESH = 1.0
"""Seconds between readings of the runs' folders."""

_AROUND = 4
"""Rows of the terminal that are not runs: head, counts, the prompt."""

_FIRST: tuple[State, ...] = ("running", "held", "failed", "ready", "waiting", "stopped", "complete")
"""What is shown first where not all runs fit."""

_LINES = 12
"""Of a failed job's log."""

_STYLES: dict[State, str] = {"running": "bold", "failed": "red", "complete": "green", "held": "yellow"}


class LaunchView:
    """Implements the pool's Watcher."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._drawn = 0.0

    def __enter__(self) -> LaunchView:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def said(self, entry: GridRun, text: str) -> None:
        """One line whatever the width: logs are read with grep."""
        self.console.print(f"{entry.name}: {text}", soft_wrap=True)

    def seen(self, entries: Sequence[GridRun]) -> None:
        """Draw the table anew, once a second."""
        if self.console.is_terminal and time.monotonic() - self._drawn >= _REFRESH:
            self._drawn = time.monotonic()
            self._live.update(launch_table(entries, self.console.height), refresh=True)


def launch_table(entries: Sequence[GridRun], height: int) -> Group:
    """The runs, as many as fit into `height` rows, and how many are in which state."""
    numbers = ("step", "loss", "starts")
    table: Table = new_table("run", "state", *numbers, "slot", "note", right=numbers)
    ordered = sorted(entries, key=lambda entry: _FIRST.index(entry.state))
    for entry in ordered[: max(1, height - _AROUND)]:
        now = reached(entry.folder)
        step = f"{now.step}/{now.steps}" if now.steps is not None else ""
        loss = f"{now.loss:.4f}" if now.loss is not None else ""
        place = entry.task.place if entry.task is not None else ""
        state = Text(entry.state, style=_STYLES.get(entry.state, ""))
        table.add_row(entry.name, state, step, loss, str(entry.tries or ""), place, entry.note)
    counts = {state: sum(entry.state == state for entry in entries) for state in _FIRST}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return Group(table, Text(said))


def failures_text(failed: Sequence[Entry]) -> str:
    """Each failure, where its log is, and its last lines."""
    lines: list[str] = []
    for entry in failed:
        lines.append(f"{entry.name}: {entry.note}")
        if entry.log is not None:
            lines.append(f"  {_short(entry.log)} ends with:")
            lines += [f"    {text}" for text in tail(entry.log, _LINES)]
    return "\n".join(lines)


def _short(path: Path) -> str:
    """Below this folder if it is."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
