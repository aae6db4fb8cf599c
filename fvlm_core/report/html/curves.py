"""Loss curves: validation and training, a line a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fvlm_core.comparison.measured import seed_groups
from fvlm_core.report.html.charts import Axes, Series, chart
from fvlm_core.report.html.palette import colours, dash
from fvlm_core.report.html.parts import Block, Cell, Chart, Column, Key, Section, Table, number
from fvlm_core.report.html.run_data import MOST_POINTS, Curve, Floats, Gathered

_PARTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of a curve, whose losses the table under a chart holds."""

_MARKED = 150
"""Evaluations of all runs, of which each is marked; more would hide the lines."""

_BANDS = (
    "Runs that differ by their seed alone are one line, their mean; the band goes from the lowest of them to the "
    "highest."
)

_TOLD = 8
"""Runs that a chart's description names; the table has all."""


def section(runs: Sequence[Gathered]) -> Section:
    """Two charts, with the same colours."""
    of_folder = {one.run.folder: at for at, one in enumerate(runs)}
    groups = {
        name: [of_folder[run.folder] for run in own]
        for name, own in seed_groups([one.run for one in runs]).items()
    }
    blocks = [
        Block(
            charts=[_chart("validation", "Validation loss", runs, [one.validation for one in runs], groups)]
        ),
        Block(charts=[_chart("training", "Training loss", runs, [one.training for one in runs], groups)]),
    ]
    return Section("curves", "Loss curves", blocks)


def _chart(
    name: str,
    title: str,
    runs: Sequence[Gathered],
    curves: Sequence[Curve],
    groups: Mapping[str, Sequence[int]],
) -> Chart:
    marked = sum(len(curve.loss) for curve in curves) <= _MARKED
    wide = 2.0 if len(groups) <= _TOLD else 1.3
    shades = colours(len(groups))
    lines: list[Series] = []
    keys: list[Key] = []
    banded = False
    for place, ((variant, members), colour) in enumerate(zip(groups.items(), shades, strict=True)):
        line = dash(place, len(groups))
        together = _together([curves[at] for at in members]) if len(members) > 1 else None
        if together is not None:
            banded = True
            series, label = f"run-{members[0]}", f"{variant}, {len(members)} seeds"
            samples, mean, low, high = together
            lines.append(Series(series, label, samples, mean, colour, low=low, high=high))
            lines.append(Series(series, f"{label}: mean", samples, mean, colour, line, width=wide))
            spread = f"{mean[-1]:.4f}, {low[-1]:.4f} to {high[-1]:.4f}"
            keys.append(Key(series, label, colour, line, spread))
            continue
        for at in members:
            one = runs[at]
            series = f"run-{at}"
            samples, loss, _ = curves[at].thinned()
            control = "" if one.run.in_fits else "control, "
            lines.append(Series(series, one.label, samples, loss, colour, line, width=wide))
            if name == "validation" and marked:
                lines.append(Series(series, one.label, samples, loss, colour, marks="circle"))
            ends = f"{control}{loss[-1]:.4f}" if len(loss) else f"{control}no number yet"
            keys.append(Key(series, one.label, colour, line, ends))
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
        note=" ".join(filter(None, [f"{what[0].upper()}{what[1:]}.", _BANDS if banded else "", thinned])),
    )


def _together(curves: Sequence[Curve]) -> tuple[Floats, Floats, Floats, Floats] | None:
    """Where all seeds of a variant have a number: the samples seen, the mean of their losses, the lowest, the highest;
    None where that is at fewer than two places, as of seeds that were logged at other steps."""
    common = set(curves[0].samples.tolist()).intersection(*(curve.samples.tolist() for curve in curves[1:]))
    if len(common) < 2:
        return None
    samples = np.array(sorted(common))
    if len(samples) > MOST_POINTS:
        samples = samples[np.linspace(0, len(samples) - 1, MOST_POINTS).round().astype(int)]
    losses = np.array([curve.loss[np.searchsorted(curve.samples, samples)] for curve in curves])
    return samples, losses.mean(axis=0), losses.min(axis=0), losses.max(axis=0)


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
