"""A run as files elsewhere tell it, before it is one in the store."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from fvlm_core.runs.metrics import Row


@define
class Start:
    """A start of a run: the step that it continues from, and its rows as the metrics hold them, in order."""

    rows: list[Row] = field(factory=list[Row])
    from_step: int = 0
    file: str = ""


@define
class MeasuredRun:
    """What files say of a run, and nothing else: "" and None where they are silent.

    summary: the columns of `run_summaries.csv`, None when the run has none. total_params: for fits.
    in_fits: whether its points enter them.
    """

    id: str
    size: str = ""
    schedule: str = ""
    total_params: int | None = None
    starts: list[Start] = field(factory=list[Start])
    summary: dict[str, Any] | None = None
    in_fits: bool = True

    def count_samples(self, each: int) -> None:
        """Say D of the evaluations that only say their step: so many samples a step."""
        for start in self.starts:
            for row in start.rows:
                if row["event_type"] == "eval" and row.get("samples_seen") is None:
                    row["samples_seen"] = row["step"] * each

    @property
    def evaluations(self) -> list[Row]:
        """Evaluation rows in force, in order."""
        kept: list[Row] = []
        for start in self.starts:
            kept = [row for row in kept if row["step"] <= start.from_step]
            kept += [row for row in start.rows if row["event_type"] == "eval"]
        return kept
