"""Ablations beside their baseline: the metric of each variant with the interval of its difference, seed by seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from fvlm_core.comparison.measured import LOSS
from fvlm_core.comparison.statistics import LEVEL
from fvlm_core.comparison.table import ComparisonTable, Values
from fvlm_core.report.figures import style
from fvlm_core.report.figures.captions import write_caption
from fvlm_core.report.figures.files import check_format, house_style, save
from fvlm_core.report.figures.labels import line_height
from fvlm_core.report.figures.look import MM, Look, current, thicken, using
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.listing import listed

ACROSS = 3
"""Metrics beside each other."""

PITCH = 1.7
"""Lines of small letters from one variant to the next; where a figure has a greatest height, one at least."""

LETTERS = 30
"""Of a variant's name."""

_BETTER, _WORSE = style.COLOURS[:2]
_COLOURS = {"better": _BETTER, "lower": _BETTER, "worse": _WORSE, "higher": _WORSE}
_SEED, _WEIGHTS, _SEEDS = 1.6, 0.7, 1.5
"""Size of a seed's point; widths of the bars over samples alone, and over seeds and samples."""


@frozen
class _Row:
    """A variant that has been measured. bar: the interval of its difference, laid to the baseline's value; None where
    there is none. seeds: whether it is over other seeds, too."""

    name: str
    value: float
    singles: tuple[float, ...]
    bar: tuple[float, float] | None
    seeds: bool
    colour: Any


def ablations_plot(tables: Sequence[ComparisonTable], file: Path, look: Look) -> list[Path]:
    """Draw comparisons, a panel a metric, and write them to `file` (PNG, PDF or SVG by its suffix), with a caption
    beside it as text and for LaTeX: the files. Raises `UsageError` for another suffix, and where nothing was measured,
    in which case no file is made."""
    check_format(file)
    with house_style(look):
        figure = Figure(dpi=look.dpi)
        _draw(tables, figure)
        thicken(figure, look.stroke)
        save(figure, file)
        return [file, *write_caption(figure, file)]


def ablations_panel(table: ComparisonTable, axes: Axes | None, look: Look) -> Axes:
    """One comparison on one panel. axes: None for one of a new figure. Raises `UsageError` where nothing was
    measured."""
    if axes is None:
        with house_style(look):
            figure = Figure(dpi=look.dpi)
            (own,) = _draw([table], figure)
            thicken(figure, look.stroke)
            return own
    with using(look):
        style.dress(axes)
        rows = _rows(table)
        _panel(axes, table, rows, [row.name for row in rows])
    return axes


def _draw(tables: Sequence[ComparisonTable], figure: Figure) -> list[Axes]:
    look = current()
    every = [_rows(table) for table in tables]
    columns = min(ACROSS, len(tables))
    rows = -(-len(tables) // columns)
    pitch = PITCH * line_height()
    order = [row["variant"] for row in tables[0].rows]
    names = sorted({row.name for found in every for row in found}, key=order.index)
    most = len(names)
    if look.highest:
        free = look.highest * MM - rows * (style.TOP + style.BOTTOM) * look.scale
        pitch = max(line_height(), min(pitch, free / (rows * (most + 1))))
        most = min(most, max(2, int(free / (rows * pitch)) - 1))
    letters = min(LETTERS, max(map(len, names)))
    page = style.sheet(
        figure,
        rows,
        columns,
        caption=_caption(tables, every, len(names) - most),
        height=pitch * (most + 1) / look.scale,
        left=0.18 + look.letter_inches * letters / look.scale,
        shared=True,
        lines=True,
    )
    for number, (axes, table, found) in enumerate(zip(page.every, tables, every, strict=False)):
        _panel(axes, table, found, names[:most])
        axes.tick_params(labelleft=number % columns == 0)
    for axes in page.every[len(tables) :]:
        axes.remove()
    return page.every[: len(tables)]


def _rows(table: ComparisonTable) -> list[_Row]:
    """The variants that have been measured, in the table's order. Raises `UsageError` for none."""
    variants = [row for row in table.rows if row["kind"] == "variant" and row["value"] is not None]
    base = next((row["value"] for row in variants if row["verdict"] == "baseline"), None)
    if not variants or base is None:
        raise UsageError(f"nothing to draw: {table.baseline} has no {table.metric} yet")
    return [_row(row, base) for row in variants]


def _row(row: Values, base: float) -> _Row:
    singles = tuple(float(one) for one in row["seed_values"].split())
    seeds = row["seeds_low"] is not None
    kind = "seeds" if seeds else "weights"
    low, high = row[f"{kind}_low"], row[f"{kind}_high"]
    bar = None if low is None else (base + low, base + high)
    own = style.GREY if row["verdict"] != "baseline" else "black"
    return _Row(row["variant"], row["value"], singles, bar, seeds, _COLOURS.get(row["verdict"], own))


def _panel(axes: Axes, table: ComparisonTable, every: Sequence[_Row], names: Sequence[str]) -> None:
    """names: of the variants from the top down, of which those of `every` have been measured."""
    base = next(row["value"] for row in table.rows if row["verdict"] == "baseline")
    axes.axvline(base, color="black", linewidth=0.8, zorder=1)
    rows = [row for row in every if row.name in names]
    for row in rows:
        at = names.index(row.name)
        if row.bar is not None:
            width = _SEEDS if row.seeds else _WEIGHTS
            axes.plot(row.bar, [at, at], color=row.colour, linewidth=width, solid_capstyle="butt", zorder=2)
        if len(row.singles) > 1:
            alike: dict[str, Any] = {**style.marks(style.GREY), "markersize": _SEED}
            axes.plot(row.singles, [at + 0.3] * len(row.singles), **alike, zorder=3)
        mean: dict[str, Any] = {**style.marks(row.colour), "markersize": 4.2}
        axes.plot([row.value], [at], **mean, zorder=4)
    seen = np.array([base, *(x for row in rows for x in (row.value, *row.singles, *(row.bar or ())))])
    seen = seen[np.isfinite(seen)]
    room = style.MARGIN * (float(np.ptp(seen)) or abs(base) or 1.0)
    axes.set_xlim(float(seen.min()) - room, float(seen.max()) + room)
    axes.set_ylim(len(names) - 0.3, -0.7)  # the first one on top, as in the table
    axes.set_yticks(range(len(names)), [style.clip(name, LETTERS) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(style.room_for_ticks(axes, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    loss = table.metric == LOSS
    style.title(axes, "best validation loss" if loss else table.metric.replace("_", " "))
    style.name_axis(axes, "x", "nats a supervised token" if loss else "at the best evaluation")


def _caption(tables: Sequence[ComparisonTable], every: Sequence[Sequence[_Row]], more: int) -> list[str]:
    """more: how many variants there is no room for."""
    rows = [row for found in every for row in found]
    percent = f"{100 * LEVEL:.0f}\u00a0%"
    said = [
        f"{_words(tables)} at the best evaluation. The line is {tables[0].baseline}"
        + (
            "; small points are single seeds and large ones their means."
            if any(len(row.singles) > 1 for row in rows)
            else "."
        )
    ]
    if any(row.bar and row.seeds for row in rows):
        said.append(
            f"Bars: the {percent} interval of the difference to the line, over other seeds and samples. Blue is better "
            "(of what is no loss: lower), orange worse (higher), grey inside the noise; adjusted by Holm over the rows."
        )
    if any(row.bar and not row.seeds for row in rows):
        said.append(
            f"Thin bars: the {percent} interval over other samples alone, for these very weights; with one seed the "
            "noise between seeds is not known."
        )
    bare = list(dict.fromkeys(row.name for found in every for row in found[1:] if row.bar is None))
    if bare:
        said.append(f"No interval is known of {listed(bare)}.")
    unmeasured = [
        row["variant"] for row in tables[0].rows if row["kind"] == "variant" and row["value"] is None
    ]
    if unmeasured:
        said.append(f"Not measured yet: {listed(unmeasured)}.")
    if more:
        said.append(f"{more} more variant{'s' if more > 1 else ''} not drawn, for want of room.")
    return [" ".join(said)]


def _words(tables: Sequence[ComparisonTable]) -> str:
    metrics = [
        "validation loss (nats a supervised token)"
        if table.metric == LOSS
        else table.metric.replace("_", " ")
        for table in tables
    ]
    text = ", ".join(metrics)
    return text[:1].upper() + text[1:]
