"""How many tokens a frame: loss and accuracy of runs with several connectors, against tokens, FLOPs and time, and what
to choose."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fvlm_core.report.figures import style
from fvlm_core.report.figures.files import house_style
from fvlm_core.report.figures.ticks import MOST, label, log_ticks
from fvlm_core.report.html import token_choice, token_law
from fvlm_core.report.html.offered import pictured
from fvlm_core.report.html.parts import Block, Cell, Column, Picture, Section, Table, number
from fvlm_core.report.html.run_data import Gathered
from fvlm_core.report.html.token_settings import Setting, flop_unit, groups, settings

_LEVEL = 0.975

_APART = 1.03
"""By this factor the connectors' points are apart that have the same number of tokens."""


def section(runs: Sequence[Gathered], fitted: bool = True) -> Section | None:
    """None where all runs that are known have one connector with as many tokens a frame. fitted: whether laws are
    fitted again, for what they say to choose."""
    found = settings(runs)
    if len({(one.connector, one.tokens) for one in found if not one.blind}) < 2:
        return None
    training, answering = _unit([one.flops for one in found]), _unit([one.answering for one in found])
    scored = any(one.accuracies for one in found)
    numbers = (
        *("tokens a frame", "frames", "seeds", "loss", "± loss"),
        *(("accuracy", "± accuracy") if scored else ()),
        *(f"{training[1]} a sample", f"{answering[1]} a frame, answering", "ms a sample"),
    )
    columns = (Column("runs"), Column("connector"), *(Column(name, number=True) for name in numbers))
    said = (
        "Means over the seeds of each run's last evaluation, and half their intervals at 95 % (Student's); none of one "
        "seed. FLOPs are the ledger's, those of a sample of training; milliseconds those of training as it went, on "
        "whatever machine, beside whatever else it did."
    )
    table = Table(
        "token-budget", said, columns, [_row(one, training[0], answering[0], scored) for one in found]
    )
    chosen = token_choice.advice(found)
    return Section(
        "token-budget",
        "How many tokens a frame?",
        [
            Block("", pictures=_pictures(found), tables=[table]),
            *([chosen] if chosen else []),
            *(token_law.blocks(runs) if fitted else ()),
        ],
    )


def _pictures(found: Sequence[Setting]) -> list[Picture]:
    """Of the losses, and of the accuracies where there are any: of all settings that may be compared. Where none has
    another beside it, of all together."""
    several = {name: own for name, own in groups(found).items() if len(own) > 1} or {"": list(found)}
    measures: tuple[tuple[str, Values], ...] = (
        ("loss", lambda one: one.losses),
        ("accuracy", lambda one: one.accuracies),
    )
    with house_style():
        return [
            pictured(
                _drawn(own, measured, values),
                f"{name}{': ' if name else ''}{measured} {_CAPTION}".capitalize(),
            )
            for name, own in several.items()
            for measured, values in measures
            if any(map(values, own))
        ]


_CAPTION = (
    "against tokens a frame (moved a little apart), FLOPs of training, FLOPs of answering, and milliseconds of "
    "training: a point for all seeds of a setting, bars are intervals at 95 % over seeds. Hollow points saw nothing."
)

Values = Callable[[Setting], tuple[float, ...]]


def _half(values: Sequence[float]) -> float | None:
    """Half of Student's interval at 95 % of the mean; None of one value."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    return float(stdtrit(len(values) - 1, _LEVEL)) * statistics.stdev(values) / len(values) ** 0.5


def _unit(values: Sequence[float | None]) -> tuple[float, str]:
    return flop_unit(max((value for value in values if value is not None), default=1e9))


def _row(one: Setting, training: float, answering: float, scored: bool) -> list[Cell]:
    accuracy = statistics.mean(one.accuracies) if one.accuracies else None
    return [
        Cell(one.name),
        Cell(f"{one.connector}, blind" if one.blind else one.connector),
        number(one.tokens, "{:,}"),
        number(one.frames),
        number(len(one.losses), "{:,}"),
        number(statistics.mean(one.losses), "{:.4f}"),
        number(_half(one.losses), "{:.4f}"),
        *([number(accuracy, "{:.3f}"), number(_half(one.accuracies), "{:.3f}")] if scored else []),
        number(_over(one.flops, training)),
        number(_over(one.answering, answering)),
        number(None if one.seconds is None else 1000 * one.seconds),
    ]


def _drawn(found: Sequence[Setting], measured: str, values: Values) -> Figure:
    figure = Figure()
    connectors = list(dict.fromkeys(one.connector for one in found))
    colours = dict(zip(connectors, style.colours(len(connectors)), strict=True))
    markers = {name: style.MARKERS[at % len(style.MARKERS)] for at, name in enumerate(connectors)}
    legend = [
        Line2D([], [], color=colours[name], marker=markers[name], ls="", ms=4, label=style.clip(name))
        for name in connectors
    ]
    training, answering = _unit([one.flops for one in found]), _unit([one.answering for one in found])
    middle = (len(connectors) - 1) / 2
    against: tuple[tuple[str, Callable[[Setting], float | None]], ...] = (
        ("tokens a frame", lambda one: one.tokens * _APART ** (connectors.index(one.connector) - middle)),
        (f"{training[1]} a sample, training", lambda one: _over(one.flops, training[0])),
        (f"{answering[1]} a frame, answering", lambda one: _over(one.answering, answering[0])),
        ("ms a sample, training", lambda one: _over(one.seconds, 1e-3)),
    )
    panels = style.sheet(figure, 2, 2, legend=legend).panels
    for axes, (along, place) in zip([*panels[0], *panels[1]], against, strict=True):
        drawn = [(one, x, y) for one in found if (x := place(one)) is not None and (y := values(one))]
        for one, x, y in drawn:
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
        if drawn:
            low, high = min(x for _, x, _ in drawn), max(x for _, x, _ in drawn)
            tokens = sorted({float(one.tokens) for one in found})
            every = tokens if along.startswith("tokens") and len(tokens) <= MOST else log_ticks(low, high)
            axes.set_xticks(every, [label("", tick) for tick in every])
            axes.minorticks_off()
    for row in panels:
        row[0].set_ylabel(measured, fontsize=style.NORMAL)
    return figure


def _over(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit
