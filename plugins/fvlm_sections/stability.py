"""How steadily runs trained: norms of their gradients, spikes of their loss, steps that changed no weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fvlm_core.plugin_api import ReportedRun, Section, SectionFigure, SectionTable, style
from fvlm_sections.config import Stability

_EVENTS = {"spike": "spike", "skipped": "no weight changed"}
"""Types of rows, and what the section calls them."""

Floats = NDArray[np.float64]


def build(config: Stability, runs: Sequence[ReportedRun]) -> Section:
    """A table of the runs, one of what happened, and a figure of the norms."""
    rows = [run.rows() for run in runs]
    norms = [_norms(of) for of in rows]
    summed = SectionTable(
        "Steadiness of each run. Norms are those of the mean gradient before clipping, of the steps that were logged.",
        (
            "run",
            "steps logged",
            "spikes",
            "unchanged steps",
            "median norm",
            "99th percentile",
            "largest",
            "at step",
        ),
        [_row(run, of, *norm) for run, of, norm in zip(runs, rows, norms, strict=True)],
    )
    return Section("Stability", [summed, *_events(config, runs, rows), *_figure(runs, norms)])


def _norms(rows: Sequence[Mapping[str, Any]]) -> tuple[Floats, Floats]:
    """Steps and norms of the gradient, [n] each, where they are finite. An evaluation's row repeats its step's."""
    found = {row["step"]: row["grad_norm"] for row in rows if row.get("grad_norm") is not None}
    return np.array(list(found), dtype=float), np.array(list(found.values()), dtype=float)


def _row(
    run: ReportedRun, rows: Sequence[Mapping[str, Any]], steps: Floats, norms: Floats
) -> list[str | float | None]:
    happened = [sum(row["event_type"] == name for row in rows) for name in _EVENTS]
    measured: list[float | None] = [None] * 4
    if len(norms):
        at = int(norms.argmax())
        measured = [
            float(np.median(norms)),
            float(np.quantile(norms, 0.99)),
            float(norms[at]),
            int(steps[at]),
        ]
    return [run.name, len(norms), *happened, *measured]


def _events(
    config: Stability, runs: Sequence[ReportedRun], rows: Sequence[Sequence[Mapping[str, Any]]]
) -> list[str | SectionTable]:
    table: list[tuple[str, float, str, str]] = []
    more: list[str] = []
    for run, of in zip(runs, rows, strict=True):
        happened = [row for row in of if row["event_type"] in _EVENTS]
        table += [
            (run.name, row["step"], _EVENTS[row["event_type"]], str(row.get("reason") or ""))
            for row in happened[: config.most]
        ]
        if len(happened) > config.most:
            more.append(f"{run.name}: {len(happened) - config.most} more.")
    if not table:
        return ["No spike of the loss, and every step changed the weights."]
    caption = f"Spikes and steps that changed no weight: the first {config.most} of each run."
    return [SectionTable(caption, ("run", "step", "what", "why"), table), *more]


def _figure(runs: Sequence[ReportedRun], norms: Sequence[tuple[Floats, Floats]]) -> list[str | SectionFigure]:
    drawn = [(run.name, steps, found) for run, (steps, found) in zip(runs, norms, strict=True) if len(found)]
    if not drawn:
        return ["No norm of a gradient was recorded."]
    figure = Figure()
    lines = [
        Line2D([], [], color=colour, lw=1.2, label=style.clip(name))
        for (name, *_), colour in zip(drawn, style.colours(len(drawn)), strict=True)
    ]
    axes = style.sheet(figure, 1, 1, legend=lines).every[0]
    for (_, steps, found), line in zip(drawn, lines, strict=True):
        axes.plot(steps, found, color=line.get_color(), lw=1.2)
    axes.set_xlabel("step", fontsize=style.NORMAL)
    axes.set_ylabel("norm of the gradient", fontsize=style.NORMAL)
    every = np.concatenate([found for _, _, found in drawn])
    if (every > 0).all():
        style.loss_axis(axes, every, "norm of the gradient")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return [SectionFigure(figure, "Norm of the mean gradient before clipping, against the step.")]
