"""What models found in haystacks: a heat map of each run that was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fvlm_core.report.figures.files import house_style
from fvlm_core.report.figures.needle import needle_map
from fvlm_core.report.html.offered import pictured
from fvlm_core.report.html.parts import Block, Cell, Column, Section, Table, number
from fvlm_core.report.html.run_data import Gathered
from fvlm_core.runs.scores import read_scores
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.json_shape import COUNT, MEASURED, NUMBER, TEXT, WHOLE, Each, Shape, misfit

SHAPE: Shape = {
    "metric": TEXT,
    "watched": TEXT,
    "chance": MEASURED,
    "step": COUNT,
    "tokens_per_frame": WHOLE,
    "cells": Each(
        {
            **dict.fromkeys(("length", "answers"), WHOLE),
            "depth": NUMBER,
            **dict.fromkeys(("mean", "low", "high"), MEASURED),
        },
        ("length", "depth", "answers", "mean", "low", "high"),
    ),
}
"""Of `scores/needle.json`."""


def section(runs: Sequence[Gathered]) -> Section | None:
    """A block a run; None where none was asked."""
    blocks: list[Block] = []
    for at, one in enumerate(runs):
        try:
            found = read_scores(one.run.folder, "needle")
            if found is not None:
                if wrong := misfit(found, SHAPE, tuple(SHAPE)):
                    raise UsageError(f"{one.run.folder / 'scores' / 'needle.json'}: {wrong}")
                blocks.append(_block(one, found, at))
        except UsageError as error:
            blocks.append(Block(one.label, warnings=[f"passed over: {error}"]))
    return Section("needles", "Needles in haystacks", blocks) if blocks else None


def _block(one: Gathered, found: dict[str, Any], at: int) -> Block:
    cells: list[dict[str, Any]] = found["cells"]
    lengths = sorted({cell["length"] for cell in cells})
    depths = sorted({cell["depth"] for cell in cells})
    chance = found["chance"]
    caption = (
        f"{found['metric']} of {one.label} at step {found['step']}, watched {found['watched']}, "
        f"{found['tokens_per_frame']} tokens a frame: by frames of the video and depth of what is hidden in it."
    )
    with house_style():
        picture = pictured(needle_map(one.label, lengths, depths, cells, found["metric"], chance), caption)
    columns = ("frames", "depth", "mean", "low", "high", "chance", "answers")
    rows = [
        [
            Cell(str(cell["length"]), cell["length"]),
            *(number(cell[name]) for name in ("depth", "mean", "low", "high")),
            number(chance),
            number(cell["answers"], "{:,}"),
        ]
        for cell in cells
    ]
    table = Table(f"needles-{at}", caption, [Column(name, number=True) for name in columns], rows)
    return Block(one.label, pictures=[picture], tables=[table])
