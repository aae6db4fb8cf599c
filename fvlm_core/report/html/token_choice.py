"""Which setting to answer with at every budget of FLOPs a frame, by the seeds that were run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from fvlm_core.comparison.inference_choice import DRAWS, BudgetChoice, Offer, choose_by_budget
from fvlm_core.report.html.parts import Block, Cell, Column, Table, number
from fvlm_core.report.html.token_settings import Setting
from fvlm_core.utils.listing import shorten

HEADING = "What to answer with"

_UNITS = ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1.0, "FLOP"))

Values = Callable[[Setting], tuple[float, ...]]


def advice(found: Sequence[Setting]) -> Block | None:
    """What to choose, a table for all settings that may be compared, by loss and by accuracy where all have one; None
    where nothing is offered beside another."""
    groups: dict[str, list[Setting]] = {}
    for one in found:
        if not one.blind:
            groups.setdefault(one.compared, []).append(one)
    several = [own for own in groups.values() if len(own) > 1]
    if not several:
        return None
    words = [_ABOUT]
    tables: list[Table] = []
    for at, own in enumerate(several):
        of = f"{_of(own, several)}: " if len(several) > 1 else ""
        offered, left = _offered(own)
        if left:
            words.append(f"{of}left out, {left}.")
        if len(offered) < 2:
            continue
        tables.append(_table(offered, f"token-choice-{at}", of, "loss", lambda one: one.losses))
        if all(len(one.accuracies) == len(one.seeds) for one in offered):
            tables.append(_table(offered, f"token-choice-{at}-accuracy", of, "accuracy", _wrong))
    return Block(HEADING, words, tables=tables)


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


def _of(own: Sequence[Setting], groups: Sequence[Sequence[Setting]]) -> str:
    """What tells a group from the others: its frames, where these do, else its first setting."""
    frames = [{one.frames for one in group} for group in groups]
    known = {one.frames for one in own}
    if len(known) == 1 and None not in known and frames.count(known) == 1:
        return f"{known.pop():,.4g} frames"
    return f"{own[0].name} and {len(own) - 1} more"


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


def _table(own: Sequence[Setting], id: str, of: str, measured: str, values: Values) -> Table:
    found = choose_by_budget(offers(own, values))
    scale, unit = next((scale, unit) for scale, unit in _UNITS if scale <= max(found[-1].low, 1.0))
    best = "lowest loss" if measured == "loss" else "highest accuracy"
    columns = (
        *(Column(f"{unit} a frame, from", number=True), Column("settings", number=True), Column(best)),
        *(Column(name, number=True) for name in (measured, "the best in")),
        Column("next"),
        *(Column(name, number=True) for name in ("worse by", "95 %")),
        Column("what can be said"),
    )
    rows = [_row(one, scale, unit, measured) for one in found]
    seeds = len(own[0].seeds)
    said = f"{of}by {measured}, {seeds} seed{'s' * (seeds != 1)}."
    return Table(id, f"{said[:1].upper()}{said[1:]}", columns, rows, plain=True)


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


def budgets(found: Sequence[Setting]) -> list[float]:
    """What an answer of each setting costs, FLOPs a request, cheapest first; of those whose cost is known."""
    costs = {one.answering * one.frames for one in found if one.answering and one.frames}
    return sorted(cost for cost in costs if math.isfinite(cost))
