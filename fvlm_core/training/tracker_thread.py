"""Trackers beside a run: each in a thread of its own behind a bounded queue, so that none can slow or stop it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any

from fvlm_core.interfaces.tracker import Prediction, TrackedRun, Tracker
from fvlm_core.recipes.read import Run
from fvlm_core.recipes.resolved import resolved
from fvlm_core.recipes.schema import Chosen
from fvlm_core.training.callbacks import Observer
from fvlm_core.utils.process_exit import leave_within
from fvlm_registry import registry

QUEUE = 1000
"""Rows that wait for a slow tracker, some MB at most; more than that are left out of the mirror and counted. Frames of
predictions are those that the validation set keeps anyway."""

CLOSE_SECONDS = 5.0
"""How long the end of a run waits for its trackers, all together, to write what they still have; the end of the
process waits for their libraries for what is left of it."""

_LONGEST = 400
"""Characters of what is said of a failure: those of databases quote all that they were told."""

_Row = Mapping[str, Any]
_Item = _Row | tuple[int, Sequence[Prediction]]
"""What waits for a tracker: a row, or a step and what was said there."""


class Mirror:
    """One tracker of one attempt. dropped: rows, and predictions of evaluations, left out so far. failure: what ended
    it, or None."""

    def __init__(self, chosen: Chosen, run: TrackedRun, room: int = QUEUE) -> None:
        """room: rows that may wait."""
        self.name = chosen.name
        self.dropped = 0
        self.failure: str | None = None
        self._rows: Queue[_Item] = Queue(room)
        self._ending = Event()
        try:
            # Imported here: data workers are forked off this thread, and must not inherit an import half done.
            found = registry()
            build = found.load(found.find("tracker", chosen.component).component.target)
        except (Exception, SystemExit) as error:
            self.failure = str(error) or type(error).__name__
            return
        self._thread = Thread(
            target=self._mirror, args=(build, chosen.config, run), name=f"tracker {self.name}", daemon=True
        )
        self._thread.start()

    def put(self, row: _Item) -> None:
        """Hand over a row or predictions, at once: they are dropped when there is no room or the tracker has failed."""
        if self.failure is not None:
            self.dropped += 1
            return
        try:
            self._rows.put_nowait(row)
        except Full:
            self.dropped += 1

    def end(self) -> None:
        """Say that no row comes after those that wait."""
        self._ending.set()

    def close(self, seconds: float | None = None) -> None:
        """Let the tracker finish, for at most so long (default `CLOSE_SECONDS`); what it has not taken is dropped."""
        seconds = CLOSE_SECONDS if seconds is None else seconds
        if self.failure is not None:
            return
        self.end()
        self._thread.join(max(0.0, seconds))
        if self._thread.is_alive():
            self.dropped += self._rows.qsize()
            self.failure = f"still busy {CLOSE_SECONDS:g} s after the end of the run"

    def _mirror(self, build: Any, config: Any, run: TrackedRun) -> None:
        row: _Item | None = None
        try:
            tracker: Tracker = build(config, run)
            while (row := self._next()) is not None:
                if isinstance(row, tuple):
                    tracker.predicted(*row)
                else:
                    tracker.log(row)
            tracker.close()
        except BaseException as error:  # whatever it is, it is the tracker's, and this thread's end
            text = " ".join(str(error).split())
            text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
            self.failure = f"{type(error).__name__}: {text}" if text else type(error).__name__
            self.dropped += self._rows.qsize() + (row is not None)

    def _next(self) -> _Item | None:
        """The next row; None when the run has ended and every row is taken."""
        while True:
            try:
                return self._rows.get(timeout=0.1)
            except Empty:
                if self._ending.is_set():
                    return None


class Mirrored:
    """An observer of training that hands every row on to the run's trackers; used as a context around it."""

    def __init__(self, observer: Observer, trackers: tuple[Chosen, ...], recipe: str, folder: Path) -> None:
        """folder: the run's."""
        self._observer = observer
        self._trackers = trackers
        self._recipe = recipe
        self._folder = folder
        self._mirrors: list[Mirror] = []
        self._said: set[str] = set()

    def skipped(self, run: Run) -> None:
        """A run was complete already."""
        self._observer.skipped(run)

    def started(self, run: Run, step: int, steps: int) -> None:
        """Training begins at `step`: start the trackers."""
        self._observer.started(run, step, steps)
        tracked = TrackedRun(self._recipe, run.id, self._folder, resolved(run.config), step)
        self._mirrors = [Mirror(chosen, tracked) for chosen in self._trackers]
        self._say_failures()

    def stepped(self, step: int, row: dict[str, Any] | None) -> None:
        """A step is done."""
        self._observer.stepped(step, row)
        if row is not None:
            self._put("train", row)

    def evaluated(self, row: dict[str, Any]) -> None:
        """An evaluation is done."""
        self._observer.evaluated(row)
        self._put("eval", row)

    def predicted(self, step: int, predictions: Sequence[Prediction]) -> None:
        """What the model said of some samples of the evaluation after step `step`."""
        for mirror in self._mirrors:
            mirror.put((step, predictions))
        self._say_failures()

    def warned(self, text: str) -> None:
        """Something the user should know."""
        self._observer.warned(text)

    def __enter__(self) -> Mirrored:
        return self

    def __exit__(self, *raised: object) -> None:
        until = time.monotonic() + CLOSE_SECONDS
        for mirror in self._mirrors:
            mirror.end()
        for mirror in self._mirrors:
            mirror.close(until - time.monotonic())
        if self._mirrors:
            leave_within(max(0.0, until - time.monotonic()))
        self._say_failures()
        for mirror in self._mirrors:
            if mirror.dropped:
                self._observer.warned(f"tracker {mirror.name}: {mirror.dropped} rows are not in it")

    def _put(self, event_type: str, row: dict[str, Any]) -> None:
        for mirror in self._mirrors:
            mirror.put({"event_type": event_type, **row})
        self._say_failures()

    def _say_failures(self) -> None:
        for mirror in self._mirrors:
            if mirror.failure is not None and mirror.name not in self._said:
                self._said.add(mirror.name)
                self._observer.warned(f"tracker {mirror.name} has stopped: {mirror.failure}; the run goes on")
