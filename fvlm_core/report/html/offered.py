"""The sections that plugins bring: asked of them, and laid out as the page's own are."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from copy import deepcopy
from io import BytesIO
from math import isfinite

from matplotlib.figure import Figure

from fvlm_core.interfaces import section as offered
from fvlm_core.recipes.schema import Chosen
from fvlm_core.report.figures.files import house_style
from fvlm_core.report.html.parts import Block, Cell, Column, Frame, Picture, Section, Table, minus
from fvlm_core.report.html.run_data import Gathered
from fvlm_core.runs.tags import read_tags
from fvlm_core.utils.error_summary import described
from fvlm_registry import registry

_SCREEN = 96
"""Pixels of a page for an inch of a figure; twice as many are drawn, for finer screens."""


def sections(runs: Sequence[Gathered], chosen: Sequence[Chosen]) -> list[Section]:
    """A section of each component, in order. In the place of one that fails stands what went wrong, and where."""
    return [_section(runs, component, at) for at, component in enumerate(chosen)]


def _section(runs: Sequence[Gathered], chosen: Chosen, at: int) -> Section:
    id = f"offered-{at}"
    try:
        found = registry()
        build = found.load(found.find("section", chosen.component).component.target)
        with house_style():
            made = build(chosen.config, [_reported(one) for one in runs])
            if not isinstance(made, offered.Section):
                raise TypeError(f"expected a Section of fvlm_core.plugin_api, got {type(made).__name__}")
            blocks = [_block(part, f"{id}-{number}") for number, part in enumerate(made.parts)]
    except Exception as error:  # a plugin's, whatever it is: the rest of the report is whole
        return Section(id, chosen.name, [Block(warnings=[f"left out, for it failed: {described(error)}"])])
    return Section(id, made.title, blocks)


def failures(sections: Sequence[Section]) -> Iterator[str]:
    """What `sections` left out, by name, with the reason."""
    for section in sections:
        if section.id.startswith("offered-"):
            yield from (
                f"section {section.heading}: {said}" for block in section.blocks for said in block.warnings
            )


def _reported(one: Gathered) -> offered.ReportedRun:
    """Copies: a plugin that changes what it is given changes no other section."""
    return offered.ReportedRun(
        one.label,
        one.run.recipe,
        one.run.id,
        one.state,
        read_tags(one.run.folder),
        deepcopy(one.resolved),
        deepcopy(one.summary),
        one.run.rows,
    )


def _block(part: offered.Part, id: str) -> Block:
    if isinstance(part, str):
        return Block(words=[part])
    if isinstance(part, offered.SectionFigure):
        return Block(pictures=[pictured(part.figure, part.caption)])
    numeric = [not any(isinstance(row[at], str) for row in part.rows) for at in range(len(part.columns))]
    columns = [Column(name, number) for name, number in zip(part.columns, numeric, strict=True)]
    return Block(tables=[Table(id, part.caption, columns, [list(map(_cell, row)) for row in part.rows])])


def _cell(value: offered.Value) -> Cell:
    """Whole numbers in full, others with five digits."""
    if value is None or isinstance(value, str):
        return Cell(value or "")
    number = float(value)
    if not isfinite(number):
        return Cell(str(number))
    return Cell(
        minus(f"{value:,}" if number.is_integer() and abs(number) < 1e15 else f"{number:,.5g}"), number
    )


def pictured(figure: Figure, caption: str) -> Picture:
    """A matplotlib figure as a picture of its own size."""
    out = BytesIO()
    figure.savefig(out, format="png", dpi=2 * _SCREEN, metadata={"Software": None})
    width, height = (round(_SCREEN * inches) for inches in figure.get_size_inches())
    url = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
    return Picture([Frame(url, width, height, caption)], caption)
