"""How many tokens a frame: loss and accuracy of runs with several connectors, against tokens, FLOPs and time, and what
to choose."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fvlm_core.report.figures import style
from fvlm_core.report.figures.files import house_style
from fvlm_core.report.html import token_choice, token_law
from fvlm_core.report.html.offered import pictured
from fvlm_core.report.html.parts import Block, Cell, Column, Picture, Section, Table, number
from fvlm_core.report.html.run_data import Gathered
from fvlm_core.report.html.token_settings import Setting, settings

_LEVEL = 0.975


def section(runs: Sequence[Gathered], fitted: bool = True) -> Section | None:
    """None where all runs that are known have one connector with as many tokens a frame. fitted: whether laws are
    fitted again, for what they say to choose."""
    found = settings(runs)
    if len({(one.connector, one.tokens) for one in found if not one.blind}) < 2:
        return None
    columns = (
        *(Column("runs"), Column("connector")),
        *(Column(name, number=True) for name in ("tokens a frame", "frames", "seeds", "loss", "± loss")),
        *(Column(name, number=True) for name in ("accuracy", "± accuracy", "GFLOP a sample")),
        *(Column(name, number=True) for name in ("MFLOP a frame, answering", "ms a sample")),
    )
    said = (
        "Means over the seeds of each run's last evaluation, and half their intervals at 95 % (Student's); none of one "
        "seed. FLOPs are the ledger's, those of a sample of training; milliseconds those of training as it went, on "
        "whatever machine, beside whatever else it did."
    )
    table = Table("token-budget", said, columns, [_row(one) for one in found])
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
    """Of the losses, and of the accuracies where there are any."""
    measures: list[tuple[str, Values]] = [("loss", lambda one: one.losses)]
    if any(one.accuracies for one in found):
        measures.append(("accuracy", lambda one: one.accuracies))
    with house_style():
        return [
            pictured(_drawn(found, name, values), f"{name.capitalize()} {_CAPTION}")
            for name, values in measures
        ]


_CAPTION = (
    "against tokens a frame, FLOPs of training, FLOPs of answering, and milliseconds of training: a point for all "
    "seeds of a setting, bars are intervals at 95 % over seeds. Hollow points saw nothing."
)

Values = Callable[[Setting], tuple[float, ...]]


def _half(values: Sequence[float]) -> float | None:
    """Half of Student's interval at 95 % of the mean; None of one value."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    return float(stdtrit(len(values) - 1, _LEVEL)) * statistics.stdev(values) / len(values) ** 0.5


def _row(one: Setting) -> list[Cell]:
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
        number(None if one.answering is None else one.answering / 1e6),
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
    against = (
        ("tokens a frame", lambda one: float(one.tokens)),
        ("GFLOP a sample, training", lambda one: _over(one.flops, 1e9)),
        ("MFLOP a frame, answering", lambda one: _over(one.answering, 1e6)),
        ("ms a sample, training", lambda one: _over(one.seconds, 1e-3)),
    )
    panels = style.sheet(figure, 2, 2, legend=legend).panels
    for axes, (along, place) in zip([*panels[0], *panels[1]], against, strict=True):
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
    for row in panels:
        row[0].set_ylabel(measured, fontsize=style.NORMAL)
    return figure


def _over(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit
