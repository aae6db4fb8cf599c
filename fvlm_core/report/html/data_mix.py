"""The data that were really trained on: the mixture, what was dropped and why, what was cut."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fvlm_core.report.html.parts import Block, Cell, Column, Section, Table, number
from fvlm_core.report.html.run_data import Gathered

_NAMED = 20
"""Bad samples of a run that are named; the others are counted."""


def section(runs: Sequence[Gathered]) -> Section:
    """Mixtures, alike ones once; then every sample that was not used."""
    words = [_cut(runs)]
    tables = [_mixtures(runs)]
    dropped = _dropped(runs)
    if dropped.rows:
        tables.append(dropped)
    else:
        words.append("No sample was dropped.")
    bad = _bad(runs)
    tables += [bad] if bad.rows else []
    left = {text: None for one in runs for text in one.summary.get("left_out") or ()}
    warnings = [f"left out when the data were listed: {text}" for text in list(left)[:_NAMED]]
    if len(left) > _NAMED:
        warnings.append(f"and {len(left) - _NAMED} more rows left out when the data were listed")
    return Section(
        "data", "Mixture and dropped samples", [Block("", [w for w in words if w], warnings, tables=tables)]
    )


def _mixtures(runs: Sequence[Gathered]) -> Table:
    columns = (
        Column("runs"),
        Column("source"),
        Column("samples seen", number=True),
        Column("share", number=True),
        Column("asked for", number=True),
        Column("samples there", number=True),
        Column("times each was seen", number=True),
        Column("text tokens", number=True),
        Column("frames", number=True),
    )
    alike: dict[str, list[Gathered]] = {}
    for one in runs:
        key = json.dumps(
            [one.summary.get("mixture"), _asked(one), (one.run.record.get("data") or {}).get("train")]
        )
        alike.setdefault(key, []).append(one)
    rows: list[list[Cell]] = []
    for group in alike.values():
        rows += _mixture(group[0], _names(group))
    return Table("mixture", "What was trained on, by source.", columns, rows)


def _names(group: Sequence[Gathered]) -> str:
    labels = [one.label for one in group]
    return ", ".join(labels) if len(labels) <= 6 else f"{', '.join(labels[:5])} and {len(labels) - 5} more"


def _mixture(one: Gathered, names: str) -> list[list[Cell]]:
    seen: Mapping[str, Mapping[str, int]] = (
        one.summary.get("mixture") or one.training.last.get("mixture") or {}
    )
    there = {
        entry["source"]: entry["samples"] for entry in (one.run.record.get("data") or {}).get("train") or ()
    }
    asked = _asked(one)
    total = sum(counts["samples"] for counts in seen.values())
    rows: list[list[Cell]] = []
    for source in dict.fromkeys((*there, *seen)):
        counts = seen.get(source, {})
        samples = counts.get("samples", 0)
        share = samples / total if total else 0.0
        have = there.get(source)
        rows.append(
            [
                Cell(names),
                Cell(source),
                number(samples, "{:,}"),
                Cell(f"{100 * share:.1f} %", share, share),
                Cell(asked.get(source, "")),
                number(have, "{:,}"),
                number(samples / have if have else None, "{:.2f}"),
                number(counts.get("tokens"), "{:,}"),
                number(counts.get("frames"), "{:,}"),
            ]
        )
    return rows


def _asked(one: Gathered) -> dict[str, str]:
    """The share of each source that the recipe asks for, by the source's name."""
    data = one.resolved.get("data") or {}
    sources: Sequence[Mapping[str, Any]] = [
        *data.get("sources", ()),
        *([data["text"]] if "text" in data else []),
    ]
    listed = (one.run.record.get("data") or {}).get("train") or ()
    weights = sum(float(source.get("weight", 0)) for source in sources) or 1.0
    return {
        entry["source"]: f"{100 * float(source['weight']) / weights:.1f} %"
        if "weight" in source
        else f"{100 * float(source['share']):g} % of all"
        for source, entry in zip(sources, listed, strict=False)
        if "weight" in source or "share" in source
    }


def _dropped(runs: Sequence[Gathered]) -> Table:
    rows = [
        [Cell(one.label), Cell(str(reason)), number(count, "{:,}")]
        for one in runs
        for reason, count in (
            one.summary.get("dropped_samples") or one.training.last.get("dropped_samples") or {}
        ).items()
    ]
    columns = (Column("run"), Column("reason"), Column("times", number=True))
    return Table("dropped", "Samples that were replaced by others, by reason.", columns, rows)


def _bad(runs: Sequence[Gathered]) -> Table:
    rows: list[list[Cell]] = []
    notes: list[str] = []
    for one in runs:
        bad: Mapping[str, object] = {
            **(one.summary.get("bad_samples") or {}),
            **(one.summary.get("bad_validation_samples") or {}),
        }
        rows += [
            [Cell(one.label), Cell(str(name)), Cell(str(why))] for name, why in list(bad.items())[:_NAMED]
        ]
        if len(bad) > _NAMED:
            notes.append(f"{one.label}: {len(bad) - _NAMED:,} more are in its bad_samples.jsonl")
    columns = (Column("run"), Column("sample"), Column("what is wrong with it"))
    return Table("bad-samples", "Samples that could not be used.", columns, rows, notes)


def _cut(runs: Sequence[Gathered]) -> str:
    cut = {one.label: int(one.summary.get("truncated_tokens") or 0) for one in runs}
    told = [f"{label} {count:,}" for label, count in cut.items() if count]
    return f"Text tokens cut off: {', '.join(told)}." if told else "No text was cut off."
