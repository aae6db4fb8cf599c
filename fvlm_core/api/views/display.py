"""What a person sees while runs train: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from math import floor, isfinite, log10
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from fvlm_core.api.views.sparkline import Trace, sparkline
from fvlm_core.recipes.read import Run
from fvlm_core.runs.answers import metric_means
from fvlm_core.runs.metrics import other_losses

LINE_EVERY = 10.0
"""Seconds between plain progress lines of long preparations."""


class _Bars(Progress):
    """Bars, and what is known of the current run below them."""

    def __init__(self, *columns: Any, below: Callable[[], RenderableType | None], **options: Any) -> None:
        self._below = below  # before rich asks for it
        super().__init__(*columns, **options)

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bars, and what stands below them."""
        yield from super().get_renderables()
        below = self._below()
        if below is not None:
            yield below


class Display:
    """Implements the training loop's Observer and the data sources' Progress.

    On a terminal, and in a notebook that has ipywidgets: one bar over all runs, one for the current run with tokens a
    second and the time left, and below them its losses as lines, the best so far, memory, and what comes next.
    Elsewhere: one line an evaluation.
    """

    def __init__(self, console: Console, runs: int, ids: Sequence[str] = ()) -> None:
        """runs: how many the recipe has. ids: theirs, in order, where they are known."""
        self.console = console
        self.runs = runs
        self._ids = ids
        self._now: Run | None = None
        self._step = 0
        self._train = self._val = Trace()
        self._last_loss: float | None = None
        self._last_val: float | None = None
        self._best: tuple[float, int] | None = None
        self._memory: float | None = None
        self._number = 0
        self._run = ""
        self._steps = 0
        self._begun = time.monotonic()
        self._first_step = 0
        self._rate = ""
        self._live = console.is_terminal or _has_widgets(console)
        self._last_line = 0.0
        self._bars = _Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not self._live,
            below=self.facts,
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
        self._rate = ""
        self._now, self._step, self._best, self._memory = run, step, None, None
        self._train, self._val, self._last_loss, self._last_val = Trace(), Trace(), None, None
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
        self._step = step
        if row is not None:
            if row["train_loss"] is not None:
                self._last_loss = row["train_loss"]
                self._train.add(row["train_loss"])
            self._memory = row.get("gpu_mem_gb") or row.get("memory_gb")
            per_sample = row["tokens_seen"] / row["samples_seen"]
            self._rate = f"{rate(row['throughput_samples_sec'] * per_sample)} tok/s"
        note = "  ".join(part for part in (self._rate, f"{clock(self._left(step))} left") if part)
        self._bars.update(self._run_bar, completed=step, note=note)
        if step == self._steps and self._all_bar is not None:
            self._bars.update(self._all_bar, completed=self._number)

    def evaluated(self, row: dict[str, Any]) -> None:
        """An evaluation is done."""
        found = row["val_loss"]
        self._last_val = found
        self._val.add(found)
        if isfinite(found) and (self._best is None or found < self._best[0]):
            self._best = found, row["step"]
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

    def facts(self) -> RenderableType | None:
        """What is known of the current run, for below the bars; nothing before the first loss."""
        if self._now is None or (self._last_loss is None and self._last_val is None):
            return None
        table = Table.grid(padding=(0, 2, 0, 0))
        if self._last_loss is not None:
            table.add_row("  loss", f"{self._last_loss:.4f}", self._line_of(self._train), "")
        if self._last_val is not None and self._best is not None:
            since = f" since step {self._first_step}" if self._first_step else ""
            best = f"best{since} {self._best[0]:.4f} at step {self._best[1]}"
            table.add_row("  val", f"{self._last_val:.4f}", self._line_of(self._val), best)
        memory = f"memory {self._memory:.1f} GB, " if self._memory else ""
        below = Table.grid()
        below.add_row(table)
        below.add_row(f"  {memory}{self.coming()}")
        return below

    def coming(self) -> str:
        """What comes next: the next evaluation of this run, the next run, and how many there are after that."""
        assert self._now is not None
        every = self._now.config.eval.every
        at = min((self._step // every + 1) * every, self._steps)
        parts = [f"evaluation at step {at}"] if self._step < self._steps else []
        left = self.runs - self._number
        if left > 0:
            known = self._ids[self._number] if self._number < len(self._ids) else "another run"
            parts.append(f"then {known}" + (f" and {left - 1} more" if left > 1 else ""))
        return f"next: {', '.join(parts)}" if parts else "the last run is done"

    def _line_of(self, trace: Trace) -> str:
        """A sparkline; nothing where the terminal has no such marks."""
        line = sparkline(trace.means)
        try:
            line.encode(self.console.encoding)
        except (UnicodeEncodeError, LookupError):
            return ""
        return line

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
