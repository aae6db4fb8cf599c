"""Any two runs beside each other: what came of them, then the settings that differ, then those that are alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import inf

from fvlm_core.recipes.resolved import flat
from fvlm_core.report.html.parts import Block, PairTable, Section, duration, minus, power
from fvlm_core.report.html.run_data import Gathered

_LONGEST = 120
"""Characters of a setting's value."""

_APART = ("name", "description")
"""Settings that say nothing of what was trained."""


def section(runs: Sequence[Gathered]) -> Section | None:
    """The table of two runs, to be chosen on the page; None with fewer than two runs whose settings are known."""
    known = [one for one in runs if one.resolved]
    if len(known) < 2:
        return None
    settings = [flat(one.resolved) for one in known]
    keys = dict.fromkeys(key for of in settings for key in of if key not in _APART)
    rows = [(key, tuple(_shown(of[key]) if key in of else "" for of in settings)) for key in keys]
    facts = [(name, tuple(texts)) for name, *texts in zip(_FACTS, *map(_facts, known), strict=True)]
    apart = [at for at in range(1, len(known)) if any(of[0] != of[at] for _, of in rows)]
    other = min(apart or [1], key=lambda at: known[at].summary.get("best_val_loss") or inf)
    table = PairTable("pair", tuple(one.label for one in known), tuple(facts), tuple(rows), (0, other))
    words = ["What came of two runs, the settings in which they differ, and those that are alike."]
    return Section("two-runs", "Two runs", [Block("", words, pair=table)])


_FACTS = (
    "state",
    "seed",
    "best validation loss",
    "at step",
    "last training loss",
    "parameters",
    "samples",
    "FLOPs",
    "time",
)


def _facts(one: Gathered) -> list[str]:
    summary = one.summary
    best, step, last = (summary.get(key) for key in ("best_val_loss", "best_val_step", "final_train_loss"))
    flops = [curve.last.get("flops") for curve in (one.training, one.validation)]
    known = max((float(value) for value in flops if value is not None), default=None)
    samples = summary.get("total_samples")
    return [
        one.state,
        str(one.run.record.get("seed", "")),
        minus(f"{best:.4f}") if best is not None else "",
        f"{step:,}" if step is not None else "",
        minus(f"{last:.4f}") if last is not None else "",
        f"{one.run.total_params:,}" if one.run.total_params else "",
        f"{samples:,}" if samples else "",
        power(known).text,
        duration(one.hours).text,
    ]


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
