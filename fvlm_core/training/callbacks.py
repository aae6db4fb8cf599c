"""Who watches a run."""

from __future__ import annotations

from typing import Any, Protocol

from fvlm_core.recipes.read import Run


class Observer(Protocol):
    """Watches a run: what a progress display implements."""

    def skipped(self, run: Run) -> None:
        """A run was complete already."""
        ...

    def started(self, run: Run, step: int, steps: int) -> None:
        """Training begins at `step`."""
        ...

    def stepped(self, step: int, row: dict[str, Any] | None) -> None:
        """A step is done; row is its metrics when it was logged."""
        ...

    def evaluated(self, row: dict[str, Any]) -> None:
        """An evaluation is done."""
        ...

    def warned(self, text: str) -> None:
        """Something the user should know."""
        ...
