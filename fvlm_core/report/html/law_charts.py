"""Charts of fitted laws: against the data they were fitted to, or along a column they read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fvlm_core.report.html.charts import Axes, Series, chart
from fvlm_core.report.html.palette import Pair, colours
from fvlm_core.report.html.parts import Cell, Chart, Column, Key, Table, number

if TYPE_CHECKING:
    import pandas as pd

    from fvlm_core.interfaces.figure import LawReport

_MARKS = ("circle", "square", "triangle", "inverted_triangle", "hex", "star", "plus", "x")
DRAWS = 200
"""Of a band that is looked at; the intervals in the tables are of the stored fit's own draws."""

_CURVE = 40
"""Points of a fitted curve: it is smooth."""


def against_data(law: LawReport, id: str) -> Chart:
    """The loss of each size against D, with the law's curves and their bands."""
    shades = dict(zip(law.sizes, colours(len(law.sizes)), strict=True))
    lines: list[Series] = []
    keys: list[Key] = []
    rows: list[list[Cell]] = []
    for at, size in enumerate(law.sizes):
        table = law.points[law.points["size"] == size]
        series, label = f"{id}-size-{at}", str(size)
        fitted, ends = _fitted(law, table, series, label, shades[size])
        lines += [*fitted, *_measured(table, series, label, shades[size], _MARKS[at % len(_MARKS)])]
        keys.append(Key(series, label, shades[size], mark=True))
        rows.append([Cell(label), *ends, _last(table)])
    numbers = [Column(name, number=True) for name in ("fitted", "low", "high", "measured")]
    banded = any(line.low is not None for line in lines)
    band = "its 95 % band" if banded else "no band (nothing is left to judge by)"
    caption = f"Loss at the last point of each size: the law, {band}, and what was measured."
    shown = [
        f"{row[0].text}: {row[1].text}" + (f" [{row[2].text}, {row[3].text}]" if row[2].value else "")
        for row in rows
        if row[1].value
    ]
    fitted = f"fitted, with {band}, at the last point {'; '.join(shown)}" if shown else "no curve: withheld"
    return chart(
        id,
        f"{law.law.name}: loss against {law.units['d']}",
        lines,
        Axes(law.units["d"], "validation loss, nats a token", x_log=True),
        keys=keys,
        table=Table(f"{id}-ends", caption, [Column("size"), *numbers], rows),
        description=f"Measured losses by size, and the law {law.law.form} {fitted}.",
        note=f"Marks are measured; lines are the fitted law with {band}"
        + (f" ({DRAWS} bootstrap draws)." if banded else ".")
        if shown
        else "Marks are measured.",
    )


def along_column(law: LawReport, id: str) -> Chart:
    """The law along the first column it reads, where loss against D does not show it."""
    from fvlm_core.report.figures.slices import columns, held, slices

    along = [*columns(law), *law.law.columns][0]
    unit, target = law.units.get(along, along), law.units.get(law.law.target, law.law.target)
    curves = slices(law, along) if law.fits and along in columns(law) else []
    lines: list[Series] = []
    keys: list[Key] = []
    rows: list[list[Cell]] = []
    for at, (one, shade) in enumerate(zip(curves, colours(len(curves)), strict=True)):
        series, label = f"{id}-curve-{at}", one.label or "the law"
        lines.append(Series(series, f"{label}, fitted", one.x, one.best, shade))
        if np.isfinite(one.low).all():
            lines.append(Series(series, label, one.x, one.best, shade, low=one.low, high=one.high))
        order = np.argsort(one.at)
        lines.append(
            Series(series, label, one.at[order], one.measured[order], shade, marks=_MARKS[at % len(_MARKS)])
        )
        keys.append(Key(series, label, shade, mark=True))
        rows.append([Cell(label), *(_end(float(part[-1])) for part in (one.best, one.low, one.high))])
    fixed = f", {held(law, along)}" if curves and held(law, along) else ""
    return chart(
        id,
        f"{law.law.name}: {target} against {unit}",
        lines,
        Axes(unit, target, x_log=bool((law.points[along] > 0).all())),
        keys=keys,
        table=Table(
            f"{id}-ends",
            f"The law at the largest {along}{fixed}, with its 95 % band.",
            [Column("curve"), *(Column(name, number=True) for name in ("fitted", "low", "high"))],
            rows,
        ),
        description=f"The law {law.law.form} along {along}{fixed}.",
        note=f"Marks are measured, moved along the law to its curves{fixed}."
        if curves
        else "No curve: withheld.",
    )


def _fitted(
    law: LawReport, table: pd.DataFrame, series: str, size: str, colour: Pair
) -> tuple[list[Series], list[Cell]]:
    """The law's curve through the points of a size, with its band, and its value, low and high at the last point."""
    from fvlm_core.report.figures.loss import curves

    for fit in law.fits if law.status != "refused" else ():
        found = curves(fit, table, "d", size) if fit.group in ("", size) else None
        if not found:
            continue
        lines: list[Series] = []
        for one in found:
            keep = np.unique(np.linspace(0, len(one[0]) - 1, _CURVE).round().astype(int))
            x, best, low, high = (np.asarray(part, dtype=float)[keep] for part in one)
            lines.append(Series(series, f"{size}, fitted", x, best, colour))
            if np.isfinite(low).all() and np.isfinite(high).all():
                lines.append(Series(series, size, x, best, colour, low=low, high=high))
        return lines, [_end(float(part[-1])) for part in found[-1][1:]]
    return [], [Cell("withheld"), Cell(""), Cell("")]


def _measured(table: pd.DataFrame, series: str, size: str, colour: Pair, marks: str) -> list[Series]:
    """The runs of a size, of each 200 points or so."""
    from fvlm_core.report.figures.loss import runs_of

    lines: list[Series] = []
    for _, run, _, of_run in runs_of(table):
        d, loss = (of_run[column].to_numpy(float) for column in ("d", "loss"))
        every = max(1, len(d) // 200)
        lines.append(Series(series, run or size, d[::every], loss[::every], colour, marks=marks))
    return lines


def _end(value: float) -> Cell:
    return number(value, "{:.4f}") if np.isfinite(value) else Cell("")


def _last(table: Any) -> Cell:
    last = table.loc[table["d"].idxmax()]
    return number(float(cast(float, last["loss"])), "{:.4f}")
