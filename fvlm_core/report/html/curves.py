"""Loss curves: validation and training, a line a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fvlm_core.report.html.charts import Axes, Series, chart
from fvlm_core.report.html.palette import Pair, colours, dash
from fvlm_core.report.html.parts import Block, Cell, Chart, Column, Key, Section, Table, number
from fvlm_core.report.html.run_data import Curve, Gathered

_PARTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of a curve, whose losses the table under a chart holds."""

_MARKED = 150
"""Evaluations of all runs, of which each is marked; more would hide the lines."""

_TOLD = 8
"""Runs that a chart's description names; the table has all."""


def section(runs: Sequence[Gathered]) -> Section:
    """Two charts, with the same colours."""
    shades = colours(len(runs))
    blocks = [
        Block(
            charts=[_chart("validation", "Validation loss", runs, [one.validation for one in runs], shades)]
        ),
        Block(charts=[_chart("training", "Training loss", runs, [one.training for one in runs], shades)]),
    ]
    return Section("curves", "Loss curves", blocks)


def _chart(
    name: str, title: str, runs: Sequence[Gathered], curves: Sequence[Curve], shades: Sequence[Pair]
) -> Chart:
    marked = sum(len(curve.loss) for curve in curves) <= _MARKED
    wide = 2.0 if len(runs) <= _TOLD else 1.3
    lines: list[Series] = []
    keys: list[Key] = []
    for at, (one, curve, colour) in enumerate(zip(runs, curves, shades, strict=True)):
        series = f"run-{at}"
        samples, loss, _ = curve.thinned()
        control = "" if one.run.in_fits else "control, "
        lines.append(Series(series, one.label, samples, loss, colour, dash(at, len(runs)), width=wide))
        if name == "validation" and marked:
            lines.append(Series(series, one.label, samples, loss, colour, marks="circle"))
        ends = f"{control}{loss[-1]:.4f}" if len(loss) else f"{control}no number yet"
        keys.append(Key(series, one.label, colour, dash(at, len(runs)), ends))
    drawn = sum(len(curve.loss) > len(curve.thinned()[1]) for curve in curves)
    thinned = "The lowest and highest of each stretch are drawn." if drawn else ""
    what = (
        "measured on the validation samples of each run"
        if name == "validation"
        else "means over the steps between rows"
    )
    return chart(
        name,
        title,
        lines,
        Axes("training samples", f"{title.lower()}, nats a token"),
        keys=keys,
        table=_table(name, title, runs, curves),
        description=_described(title, runs, curves),
        note=f"{what[0].upper()}{what[1:]}. {thinned}".strip(),
    )


def _table(name: str, title: str, runs: Sequence[Gathered], curves: Sequence[Curve]) -> Table:
    ends = ("first", "a quarter", "half", "three quarters", "last")
    columns = [Column("run"), *(Column(end, number=True) for end in ends), Column("lowest", number=True)]
    rows: list[list[Cell]] = []
    for one, curve in zip(runs, curves, strict=True):
        loss = curve.loss
        if len(loss):
            places = np.searchsorted(curve.samples, [part * curve.samples[-1] for part in _PARTS])
            found = [float(loss[min(at, len(loss) - 1)]) for at in places.tolist()]
            cells = [number(value, "{:.4f}") for value in (*found, float(loss.min()))]
        else:
            cells = [Cell("")] * (len(ends) + 1)
        rows.append([Cell(one.label), *cells])
    return Table(f"{name}-numbers", f"{title} along each run, nats a token.", columns, rows)


def _described(title: str, runs: Sequence[Gathered], curves: Sequence[Curve]) -> str:
    told = [
        f"{one.label} from {curve.loss[0]:.3f} to {curve.loss[-1]:.3f}"
        for one, curve in list(zip(runs, curves, strict=True))[:_TOLD]
        if len(curve.loss)
    ]
    more = f"; and {len(runs) - _TOLD} more" if len(runs) > _TOLD else ""
    return f"{title} against training samples, a line a run: {'; '.join(told) or 'no number yet'}{more}."
