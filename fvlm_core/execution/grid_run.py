"""One run of a grid while the grid is under way."""

from __future__ import annotations

from attrs import define, field

from fvlm_core.execution.entry import Entry
from fvlm_core.execution.run_progress import is_complete, saved_step
from fvlm_core.recipes.read import Run
from fvlm_core.utils.folder_lock import holder


@define
class GridRun(Entry):
    """A run and what became of it so far. found: complete before this command started anything."""

    gain = "checkpoint"

    run: Run
    found: bool = field(default=False, kw_only=True)

    @property
    def name(self) -> str:
        return self.run.id

    @property
    def grace(self) -> float:
        return self.run.config.checkpoints.grace

    def is_complete(self) -> bool:
        return is_complete(self.folder)

    def gained(self) -> int:
        """The step of its newest checkpoint; -1 without one."""
        return saved_step(self.folder)

    def next_start(self) -> str:
        saved = saved_step(self.folder)
        return f"continues from step {saved}" if saved >= 0 else "begins again"

    def holder(self) -> str:
        return holder(self.folder)
