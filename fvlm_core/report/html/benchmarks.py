"""Published benchmarks that models were scored on: one table of all runs."""

from __future__ import annotations

from collections.abc import Sequence

from fvlm_core.evaluation.suite import suite_names
from fvlm_core.report.html.parts import Block, Cell, Column, Section, Table, number
from fvlm_core.report.html.run_data import Gathered
from fvlm_core.runs.scores import read_scores
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.json_shape import COUNT, MEASURED, TEXT, WHOLE, Each, Shape, misfit

SHAPE: Shape = {
    "suite": TEXT,
    "step": COUNT,
    "lmms_eval": TEXT,
    "benchmarks": Each(
        {
            **dict.fromkeys(("name", "failed"), TEXT),
            **dict.fromkeys(("frames", "tokens", "questions"), WHOLE),
            **dict.fromkeys(("mean", "low", "high"), MEASURED),
        },
        ("name", "frames", "questions", "mean", "low", "high", "failed"),
    ),
}
"""Of `scores/SUITE.json`."""


def section(runs: Sequence[Gathered]) -> Section | None:
    """A row a benchmark of a run; None where none was run."""
    rows: list[list[Cell]] = []
    warnings: list[str] = []
    for one in runs:
        for name in suite_names():
            try:
                found = read_scores(one.run.folder, name)
                if found is None:
                    continue
                if wrong := misfit(found, SHAPE, tuple(SHAPE)):
                    raise UsageError(f"{one.run.folder / 'scores' / name}.json: {wrong}")
            except UsageError as error:
                warnings.append(f"scores of {one.label} are passed over: {error}")
                continue
            for score in found["benchmarks"]:
                if score["failed"]:
                    warnings.append(f"{one.label}, {score['name']} failed: {score['failed'].splitlines()[0]}")
                    continue
                cells = (number(score[key]) for key in ("mean", "low", "high"))
                counts = (number(score[key], "{:,}") for key in ("frames", "questions"))
                about = (Cell(one.label), number(found["step"], "{:,}"), Cell(score["name"]))
                rows.append([*about, *counts, *cells])
    if not rows and not warnings:
        return None
    numeric = ("frames", "questions", "score", "low", "high")
    columns = (
        Column("run"),
        Column("at step", number=True),
        Column("benchmark"),
        *(Column(name, number=True) for name in numeric),
    )
    caption = (
        "Shares of the questions that were answered right, by lmms-eval, and their exact intervals at 95 %."
    )
    tables = [Table("benchmarks", caption, columns, rows)] if rows else []
    return Section("benchmarks", "Benchmarks", [Block("", warnings=warnings, tables=tables)])
