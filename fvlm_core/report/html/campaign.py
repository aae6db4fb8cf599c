"""Campaigns: how a prediction narrowed while runs were bought, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from fvlm_core.report.html.charts import Axes, Series, chart
from fvlm_core.report.html.palette import colours
from fvlm_core.report.html.parts import Block, Cell, Chart, Column, Key, Section, Table, number, power
from fvlm_core.report.html.run_data import Gathered
from fvlm_core.scaling.campaign.record import FORMAT, STATE, Journal, Round
from fvlm_core.utils.atomic_files import read_json


def section(runs: Sequence[Gathered]) -> Section | None:
    """A block for each campaign whose runs these are; None where there is none."""
    folders = dict.fromkeys((one.run.folder.parent, one.run.recipe) for one in runs)
    blocks: list[Block] = []
    for place, (folder, recipe) in enumerate(folders):
        file = folder / STATE
        if not file.exists():
            continue
        try:
            blocks.append(_block(read_json(file), recipe, f"campaign-{place}"))
        except (OSError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            text = f"{file} cannot be read: {type(error).__name__}: {error}"
            blocks.append(Block(recipe, [text]))
    return Section("campaign", "Campaign", blocks) if blocks else None


def stands(runs: Sequence[Gathered]) -> tuple[list[str], bool]:
    """Where the campaigns of these runs stand, a sentence each, and whether one is under way."""
    said: list[str] = []
    under_way = False
    for folder in dict.fromkeys(one.run.folder.parent for one in runs):
        with suppress(
            OSError, KeyError, TypeError, ValueError, AttributeError, IndexError
        ):  # told in the section
            found = read_json(folder / STATE)
            journal = Journal.from_json(found)
            said.append(_stand(journal, found["settings"]))
            under_way |= journal.verdict is None
    return said, under_way


def _block(table: Mapping[str, Any], recipe: str, id: str) -> Block:
    if table["format"] != FORMAT:
        raise ValueError(f"format {table['format']} is not read by this version")
    journal, settings = Journal.from_json(table), table["settings"]
    target = settings["target"]
    words = [
        f"Asked: the loss at N = {target['N']:.4g}, D = {target['D']:.4g} by {settings['law']}, within "
        f"{settings['within']:.2%}, for {settings['budget']:.3g} training FLOPs at most.",
        _stand(journal, settings),
        "The interval is the one in which 95 % of runs of the target would end: what is not known of the law and of "
        "what it gets wrong near the target, and how runs scatter. Half of it, as a part of the predicted loss, is "
        "what is asked to be so small.",
    ]
    if journal.rate is not None:
        words.append(f"Best learning rate, from the sweep: {journal.rate[0]:.3g} N^{journal.rate[1]:.3f}.")
    charts = [drawn] if (drawn := _chart(journal, settings, id)) else []
    return Block(recipe, words, charts=charts, tables=[_runs(journal, id)])


def _stand(journal: Journal, settings: Mapping[str, Any]) -> str:
    verdict, finding = journal.verdict, journal.finding
    spent = f"{journal.spent / settings['budget']:.0%} of the budget"
    if finding is None or finding.half_width is None or finding.loss is None:
        now = "nothing is predicted yet" if finding is None else "the runs so far tell no law"
    else:
        now = f"predicted {finding.loss:.4f} [{finding.low:.4f}, {finding.high:.4f}], \u00b1{finding.half_width:.2%}"
    if verdict is not None:
        return f"Campaign ended, {verdict.outcome}: {now}, after {spent}. {'; '.join(verdict.reasons)}."
    return f"Campaign under way, round {len(journal.rounds)}: {now}; {spent} is bought."


def _chart(journal: Journal, settings: Mapping[str, Any], id: str) -> Chart | None:
    """The prediction against what was spent."""
    found = [one.finding for one in journal.rounds if one.finding is not None]
    told = [one for one in found if one.loss is not None and one.low is not None and one.high is not None]
    if not told:
        return None
    spent, loss, low, high = (
        np.array([getattr(one, name) for one in told], float) for name in ("spent", "loss", "low", "high")
    )
    (colour,) = colours(1)
    lines = [
        Series("prediction", "95 % interval", spent, loss, colour, low=low, high=high),
        Series("prediction", "predicted", spent, loss, colour),
        Series("prediction", "predicted", spent, loss, colour, marks="circle"),
    ]
    rows = [
        [
            Cell(one.why),
            number(float(len(one.runs)), "{:.0f}"),
            power(one.flops),
            power(one.finding.spent if one.finding else None),
            number(one.finding.loss if one.finding else None, "{:.4f}"),
            number(one.finding.low if one.finding else None, "{:.4f}"),
            number(one.finding.high if one.finding else None, "{:.4f}"),
            _share(one),
        ]
        for one in journal.rounds
    ]
    columns = [
        Column("round"),
        *(
            Column(title, number=True)
            for title in ("runs", "FLOPs", "spent so far", "predicted", "low", "high", "half-width")
        ),
    ]
    table = Table(f"{id}-rounds", "What each round told.", columns, rows)
    last = told[-1]
    description = (
        f"The predicted loss of the target after each round, from {loss[0]:.4f} to {loss[-1]:.4f}, and its 95 % "
        f"interval, which went from {high[0] - low[0]:.4f} to {high[-1] - low[-1]:.4f} nats."
    )
    keys = [Key("prediction", "predicted, with its 95 % interval", colour, text=f"{last.loss:.4f}")]
    return chart(
        id,
        "The prediction as it narrows",
        lines,
        Axes("training FLOPs spent", "loss of the target", x_log=len(told) > 1),
        keys=keys,
        table=table,
        description=description,
    )


def _share(one: Round) -> Cell:
    half = None if one.finding is None else one.finding.half_width
    return Cell("") if half is None else Cell(f"{half:.2%}", half)


def _runs(journal: Journal, id: str) -> Table:
    """The runs that were bought."""
    rows = [
        [
            Cell(run.run),
            Cell(one.why),
            number(run.n, "{:,.0f}"),
            number(float(run.d), "{:,.0f}"),
            power(run.flops),
            number(None if one.losses is None else one.losses[run.run], "{:.4f}"),
        ]
        for one in [*([journal.sweep] if journal.sweep else []), *journal.rounds]
        for run in one.runs
    ]
    columns = [
        Column("run"),
        Column("round"),
        *(Column(title, number=True) for title in ("N", "D", "FLOPs", "loss")),
    ]
    return Table(f"{id}-runs", "The runs that were bought.", columns, rows)
