"""How many tokens a frame: loss and accuracy of runs with several connectors, against tokens, FLOPs and time."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from attrs import frozen
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fvlm_core.report.figures import style
from fvlm_core.report.figures.files import house_style
from fvlm_core.report.html.offered import pictured
from fvlm_core.report.html.parts import Block, Cell, Column, Section, Table, number
from fvlm_core.report.html.run_data import Gathered
from fvlm_core.runs.answers import metric_means
from fvlm_core.runs.visual_tokens import frames_per_sample, tokens_per_frame

ACCURACIES = ("multiple_choice", "exact_match")
"""Metrics that are shares, the first of them that a run has."""

_LEVEL = 0.975


@frozen
class Choice:
    """Runs that differ by their seeds alone. connector: its name. tokens: a frame. frames: of a sample, the mean.
    blind: whether they saw nothing. losses, accuracies: of each run's last evaluation. flops: of training, a sample.
    seconds: of training, a sample, the median of all that was logged."""

    name: str
    connector: str
    tokens: int
    frames: float | None
    blind: bool
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    flops: float | None
    seconds: float | None


def section(runs: Sequence[Gathered]) -> Section | None:
    """None where all runs that are known have one connector with as many tokens a frame."""
    found = choices(runs)
    if len({(one.connector, one.tokens) for one in found if not one.blind}) < 2:
        return None
    with house_style():
        picture = pictured(_drawn(found), _CAPTION)
    columns = (
        *(Column("runs"), Column("connector")),
        *(Column(name, number=True) for name in ("tokens a frame", "frames", "seeds", "loss", "± loss")),
        *(Column(name, number=True) for name in ("accuracy", "± accuracy", "GFLOP a sample", "ms a sample")),
    )
    rows = [_row(one) for one in found]
    said = (
        "Means over the seeds of each run's last evaluation, and half their intervals at 95 % (Student's); none of one "
        "seed. FLOPs are those of training, by the ledger; milliseconds those of training as it went, on whatever "
        "machine, beside whatever else it did."
    )
    table = Table("token-budget", said, columns, rows)
    return Section(
        "token-budget", "How many tokens a frame?", [Block("", pictures=[picture], tables=[table])]
    )


_CAPTION = (
    "Loss, and accuracy where answers were scored, against tokens a frame, training FLOPs a sample, and milliseconds a "
    "sample of training: a point for all seeds of a choice, bars are intervals at 95 % over seeds. Hollow points saw "
    "nothing."
)


def choices(runs: Sequence[Gathered]) -> list[Choice]:
    """The runs with a loss and a known connector, those of different seeds together, by connector and tokens."""
    together: dict[str, list[Gathered]] = {}
    for one in runs:
        loss = one.validation.last.get("val_loss")
        if one.resolved and isinstance(loss, int | float) and math.isfinite(loss):
            together.setdefault(_kind(one), []).append(one)
    found = [made for group in together.values() if (made := _choice(group)) is not None]
    return sorted(found, key=lambda one: (one.blind, one.connector, one.tokens, one.frames or 0, one.name))


def _kind(one: Gathered) -> str:
    """What of a run is alike in those that differ by their seeds."""
    resolved = one.resolved
    training = {key: value for key, value in resolved.get("training", {}).items() if key != "seed"}
    return repr((one.run.recipe, resolved.get("model"), resolved.get("data"), training))


def _choice(group: Sequence[Gathered]) -> Choice | None:
    first = group[0]
    tokens = tokens_per_frame(first.run.record)
    if tokens is None:
        return None
    model: dict[str, Any] = first.resolved.get("model", {})
    name = str(model.get("connector", {}).get("name", "")).rpartition(":")[2]
    last = [one.validation.last for one in group]
    means = [metric_means(row) for row in last]
    metric = next((one for one in ACCURACIES if all(one in each for each in means)), None)
    accuracies = [each[metric].mean for each in means] if metric else []
    flops = first.run.record.get("flops_per_sample")
    rates = [rate for one in group for rate in _rates(one)]
    return Choice(
        first.label if len(group) == 1 else f"{first.label} and {len(group) - 1} more",
        name,
        tokens,
        frames_per_sample(first.summary.get("frames"), first.summary.get("total_samples")),
        bool(model.get("blind")),
        tuple(float(row["val_loss"]) for row in last),
        tuple(value for value in accuracies if value is not None),
        float(flops) if isinstance(flops, int | float) else None,
        1 / statistics.median(rates) if rates else None,
    )


def _rates(one: Gathered) -> list[float]:
    """Samples a second of training, as logged."""
    found = (row.get("throughput_samples_sec") for row in one.run.train_rows("throughput_samples_sec"))
    return [float(rate) for rate in found if isinstance(rate, int | float) and rate > 0]


def _half(values: Sequence[float]) -> float | None:
    """Half of Student's interval at 95 % of the mean; None of one value."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    return float(stdtrit(len(values) - 1, _LEVEL)) * statistics.stdev(values) / len(values) ** 0.5


def _row(one: Choice) -> list[Cell]:
    accuracy = statistics.mean(one.accuracies) if one.accuracies else None
    return [
        Cell(one.name),
        Cell(f"{one.connector}, blind" if one.blind else one.connector),
        number(one.tokens, "{:,}"),
        number(one.frames),
        number(len(one.losses), "{:,}"),
        number(statistics.mean(one.losses), "{:.4f}"),
        number(_half(one.losses), "{:.4f}"),
        number(accuracy, "{:.3f}"),
        number(_half(one.accuracies), "{:.3f}"),
        number(None if one.flops is None else one.flops / 1e9),
        number(None if one.seconds is None else 1000 * one.seconds),
    ]


def _drawn(found: Sequence[Choice]) -> Figure:
    figure = Figure()
    connectors = list(dict.fromkeys(one.connector for one in found))
    colours = dict(zip(connectors, style.colours(len(connectors)), strict=True))
    markers = {name: style.MARKERS[at % len(style.MARKERS)] for at, name in enumerate(connectors)}
    legend = [
        Line2D([], [], color=colours[name], marker=markers[name], ls="", ms=4, label=style.clip(name))
        for name in connectors
    ]
    measures = [("loss", lambda one: one.losses)]
    if any(one.accuracies for one in found):
        measures.append(("accuracy", lambda one: one.accuracies))
    against = (
        ("tokens a frame", lambda one: float(one.tokens)),
        ("GFLOP a sample, training", lambda one: None if one.flops is None else one.flops / 1e9),
        ("ms a sample, training", lambda one: None if one.seconds is None else 1000 * one.seconds),
    )
    page = style.sheet(figure, len(measures), len(against), legend=legend)
    for panels, (measured, values) in zip(page.panels, measures, strict=True):
        for axes, (along, place) in zip(panels, against, strict=True):
            for one in found:
                x, y = place(one), values(one)
                if x is None or not y:
                    continue
                axes.errorbar(
                    x,
                    statistics.mean(y),
                    yerr=_half(y),
                    color=colours[one.connector],
                    marker=markers[one.connector],
                    markerfacecolor="none" if one.blind else None,
                    ms=4,
                    lw=0.8,
                    capsize=1.5,
                    ls="",
                )
            axes.set_xscale("log")
            axes.set_xlabel(along, fontsize=style.NORMAL)
        panels[0].set_ylabel(measured, fontsize=style.NORMAL)
    return figure
