"""Which setting to answer with at every budget of FLOPs a frame, by the seeds that were run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fvlm_core.comparison.inference_choice import DRAWS, BudgetChoice, Offer, choose_among, choose_by_budget
from fvlm_core.report.html.parts import Block, Cell, Column, Table, number
from fvlm_core.report.html.token_settings import Setting, flop_unit, groups
from fvlm_core.utils.listing import shorten

HEADING = "What to answer with"

Values = Callable[[Setting], tuple[float, ...]]


def advice(found: Sequence[Setting]) -> Block | None:
    """What to choose, a table for all settings that may be compared, by loss and by accuracy where all have one; None
    where nothing is offered beside another."""
    said: list[str] = []
    tables: list[Table] = []
    for at, (name, every) in enumerate(groups(found).items()):
        own, of = [one for one in every if not one.blind], f"{name}: " if name else ""
        if len(own) < 2:
            continue
        offered, left = _offered(own)
        if len(offered) > 1:
            measures: list[tuple[str, Values]] = [("loss", lambda one: one.losses)]
            if all(len(one.accuracies) == len(one.seeds) for one in offered):
                measures.append(("accuracy", _wrong))
            for measured, values in measures:
                every_offer = offers(offered, values)
                choices = choose_by_budget(every_offer)
                seeds = len(offered[0].seeds)
                caption = f"{of}by {measured}, {seeds} seed{'s' * (seeds != 1)}."
                said.append(_concluded(f"{of}by {measured}, ", choices[-1], choose_among(every_offer)))
                tables.append(_table(choices, f"token-choice-{at}-{measured}", caption, measured))
        if left:
            said.append(f"{of}left out, {left}.")
    return Block(HEADING, [*map(_sentence, said), _ABOUT], tables=tables) if said else None


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _concluded(of: str, last: BudgetChoice, every: BudgetChoice) -> str:
    """What is said in a sentence where all settings are paid for. last: of the last row of the table."""
    scale, unit = flop_unit(every.low)
    if every.told and every.difference is not None:
        apart = every.difference
        return (
            f"{of}{every.best.name} is better than every other from {last.low / scale:,.4g} {unit} a frame on, than "
            f"the next by {apart.value:.3g} ({apart.low:.3g} to {apart.high:.3g})."
        )
    if every.difference is None:
        return f"{of}{every.best.name} is the best; of one seed nothing more can be said."
    cheapest = min((every.best, *every.alike), key=lambda one: one.cost)
    return (
        f"{of}nothing can be said of which is the best of all: {1 + len(every.alike)} of {every.offered} settings "
        f"may be, of these {cheapest.name} is the cheapest ({cheapest.cost / scale:,.4g} {unit} a frame)."
    )


_ABOUT = (
    "At a budget of FLOPs a frame, of answering: the setting of the best mean over seeds, of all that the budget pays "
    "for. A frame's part of an answer is the forward pass over a sample's frames and text, by the ledger, in the mode "
    "of training, divided by its frames. Settings are compared seed by seed, with Student's interval at 95 %; how "
    f"often one is the best is counted over {DRAWS:,} draws of a bootstrap of the seeds. Where the interval of the "
    "difference to any other setting includes 0, nothing can be said, and the cheapest is named of those that may be "
    "as good. Settings that see nothing are not offered."
)


def _wrong(one: Setting) -> tuple[float, ...]:
    """Accuracies, so that less is better."""
    return tuple(-value for value in one.accuracies)


def _offered(own: Sequence[Setting]) -> tuple[list[Setting], str]:
    """The settings of a group with the most seeds in common and a known cost; and which are left out, and why."""
    priced = [one for one in own if one.answering is not None]
    unpriced = [one.name for one in own if one.answering is None]
    counts: dict[frozenset[int], int] = {}
    for one in priced:
        key = frozenset(one.seeds)
        counts[key] = counts.get(key, 0) + 1
    common = max(counts, key=lambda seeds: (counts[seeds], len(seeds)), default=frozenset[int]())
    others = [one.name for one in priced if frozenset(one.seeds) != common]
    reasons = [
        f"{why}: {shorten(', '.join(names))}"
        for why, names in (
            ("of other seeds", others),
            ("for what an answer costs is not in their records", unpriced),
        )
        if names
    ]
    return [one for one in priced if frozenset(one.seeds) == common], "; ".join(reasons)


def offers(own: Sequence[Setting], values: Values) -> list[Offer]:
    """Of settings with the same seeds, these in one order."""
    return [
        Offer(one.name, one.answering or 0.0, np.array(values(one))[np.argsort(one.seeds, kind="stable")])
        for one in own
    ]


def _table(choices: Sequence[BudgetChoice], id: str, caption: str, measured: str) -> Table:
    scale, unit = flop_unit(choices[-1].low)
    best = "lowest loss" if measured == "loss" else "highest accuracy"
    columns = (
        *(Column(f"{unit} a frame, from", number=True), Column("settings", number=True), Column(best)),
        *(Column(name, number=True) for name in (measured, "the best in")),
        Column("next"),
        *(Column(name, number=True) for name in ("worse by", "95 %")),
        Column("what can be said"),
    )
    rows = [_row(one, scale, unit, measured) for one in choices]
    return Table(id, _sentence(caption), columns, rows, plain=True)


def _row(one: BudgetChoice, scale: float, unit: str, measured: str) -> list[Cell]:
    apart = one.difference
    sign, digits = (1, "{:.4f}") if measured == "loss" else (-1, "{:.3f}")
    interval = Cell("")
    if apart is not None:
        interval = number(apart.half, f"{digits.format(apart.low)} to {digits.format(apart.high)}")
    return [
        number(one.low / scale),
        number(one.offered, "{:,}"),
        Cell(one.best.name),
        number(sign * one.best.mean, digits),
        number(None if one.share is None else 100 * one.share, "{:.0f} %"),
        Cell(one.second.name if one.second else ""),
        number(None if apart is None else apart.value, digits),
        interval,
        Cell(verdict(one, scale, unit)),
    ]


def verdict(one: BudgetChoice, scale: float, unit: str) -> str:
    """What can be said of a choice, in words."""
    if one.second is None:
        return "the only one"
    if one.difference is None:
        return "nothing can be said of one seed"
    if one.told:
        return "better than every other"
    cheapest = one.alike[0]
    saved = f" at {cheapest.cost / scale:,.4g} {unit}" if cheapest.cost < one.best.cost else ""
    others = f" and {len(one.alike) - 1} more" if len(one.alike) > 1 else ""
    return f"nothing can be said: {cheapest.name}{saved}{others} may be as good"
