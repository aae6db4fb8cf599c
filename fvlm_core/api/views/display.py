"""What a person sees while runs train: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from importlib.util import find_spec
from math import floor, log10
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fvlm_core.recipes.read import Run
from fvlm_core.runs.answers import metric_means
from fvlm_core.runs.metrics import other_losses

LINE_EVERY = 10.0
"""Seconds between plain progress lines of long preparations."""


class Display:
    """Implements the training loop's Observer and the data sources' Progress.

    On a terminal, and in a notebook that has ipywidgets: one bar over all steps of all runs with the time left, one for
    the current run with loss and tokens a second. Elsewhere: one line an evaluation.
    """

    def __init__(self, console: Console, runs: int) -> None:
        """runs: how many the recipe has."""
        self.console = console
        self.runs = runs
        self._number = 0
        self._run = ""
        self._steps = 0
        self._begun = time.monotonic()
        self._first_step = 0
        self._loss = ""
        self._rate = ""
        self._live = console.is_terminal or _has_widgets(console)
        self._last_line = 0.0
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not self._live,
        )
        self._run_bar: TaskID | None = None
        self._work_bar: TaskID | None = None
        self._all_bar: TaskID | None = None

    def __enter__(self) -> Display:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def work(self, what: str, done: int, total: int) -> None:
        """Progress of preparation (rendering, indexing)."""
        if self._live:
            if self._work_bar is None:
                self._work_bar = self._bars.add_task(what, total=total, note="")
            self._bars.update(
                self._work_bar, description=what, completed=done, total=total, visible=done < total
            )
        elif done >= total or time.monotonic() - self._last_line > LINE_EVERY:
            self._last_line = time.monotonic()
            self._line(f"{what}: {done}/{total}")

    def skipped(self, run: Run) -> None:
        """A run that was complete already."""
        self._number += 1
        self._line(f"[{self._number}/{self.runs}] {run.id}: already complete")

    def started(self, run: Run, step: int, steps: int) -> None:
        """A run begins or continues at `step`."""
        self._number += 1
        self._run, self._steps, self._first_step, self._begun = run.id, steps, step, time.monotonic()
        self._loss = self._rate = ""
        where = f"continues at step {step} of {steps}" if step else f"{steps} steps"
        self._line(f"[{self._number}/{self.runs}] {run.id}: {where}")
        if self._live:
            if self._all_bar is None:
                self._all_bar = self._bars.add_task("runs", total=self.runs, note="")
            self._bars.update(self._all_bar, completed=self._number - 1)
            if self._run_bar is not None:
                self._bars.remove_task(self._run_bar)
            self._run_bar = self._bars.add_task(run.id, total=steps, completed=step, note="")

    def stepped(self, step: int, row: dict[str, Any] | None) -> None:
        """A training step is done."""
        if not self._live or self._run_bar is None:
            return
        if row is not None:
            if row["train_loss"] is not None:
                self._loss = f"loss {row['train_loss']:.3f}"
            per_sample = row["tokens_seen"] / row["samples_seen"]
            self._rate = f"{rate(row['throughput_samples_sec'] * per_sample)} tok/s"
        note = "  ".join(part for part in (self._loss, self._rate, f"{clock(self._left(step))} left") if part)
        self._bars.update(self._run_bar, completed=step, note=note)
        if step == self._steps and self._all_bar is not None:
            self._bars.update(self._all_bar, completed=self._number)

    def evaluated(self, row: dict[str, Any]) -> None:
        """An evaluation is done."""
        content = row["val_loss_content"]
        words = f"  words {content:.4f}" if content is not None else ""
        entropy = row["attention_entropy"]
        gaze = f"  entropy {entropy:.3f}" if entropy is not None else ""
        others = "".join(f"  {name} {found:.4f}" for name, found in other_losses(row).items())
        metrics = "".join(f"  {name} {found}" for name, found in metric_means(row).items())
        self._line(
            f"  {self._run}  step {row['step']:>6}/{self._steps}  val {row['val_loss']:.4f}{others}{words}{gaze}"
            f"{metrics}  {rate(row['throughput_samples_sec'])} samples/s  {clock(self._left(row['step']))} left",
        )

    def warned(self, text: str) -> None:
        """Something the user should know."""
        self._line(f"  note: {text}", style="yellow")

    def _line(self, text: str, style: str = "") -> None:
        """One line whatever the width: logs are read with grep."""
        self.console.print(text, style=style, soft_wrap=True)

    def _left(self, step: int) -> float:
        """Seconds left of this run, by its own speed so far."""
        done = step - self._first_step
        return (time.monotonic() - self._begun) / done * (self._steps - step) if done else 0.0


def _has_widgets(console: Console) -> bool:
    """Whether a notebook can show what changes."""
    return console.is_jupyter and find_spec("ipywidgets") is not None


def rate(value: float) -> str:
    """A number a second in two digits at least: 1234.5 -> "1,234"; 0.273 -> "0.27"; 0.00041 -> "0.00041"."""
    if not value or value >= 10:
        return f"{value:,.0f}"
    return f"{value:.{1 - floor(log10(value))}f}"


def clock(seconds: float) -> str:
    """125 -> "2:05"; 4000 -> "1:06:40"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
