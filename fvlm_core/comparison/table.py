"""The ablation table, once, as values; every format shows the same ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from attrs import evolve, frozen

from fvlm_core.comparison.compare import Comparison, Judged, VariantRow
from fvlm_core.comparison.measured import LOSS, Variant
from fvlm_core.comparison.multiplier import Multiplier
from fvlm_core.comparison.statistics import LEVEL, StudentInterval
from fvlm_core.utils.errors import UsageError
from fvlm_registry.nearest import did_you_mean

Values = dict[str, Any]
"""A row: JSON values by key, None for what is not known or not asked of it."""

_WIDE = 44
"""Characters of the changes of a variant; what is longer is cut, with an ellipsis, and whole in CSV and JSON."""

_NEXT = re.compile(r", (?=\S+ = )")
"""Between two changes."""


@frozen
class ComparisonColumn:
    """A column for readers, of one or more values. show: their text, "" where there is nothing to say."""

    title: str
    keys: tuple[str, ...]
    show: Callable[[Values], str]
    number: bool = False

    @property
    def name(self) -> str:
        """What it is called where columns are chosen: "seeds-and-samples"."""
        return "value" if self.keys == ("value",) else self.title.replace(" ", "-")


@frozen
class ComparisonTable:
    """Rows of variants, then rows of 2x2 effects, and what must be said below them.

    columns: for readers, those that are empty left out. keys: of all values, for CSV and JSON. rows: the values.
    left_out: names of columns that say something and for which there was no room.
    """

    metric: str
    baseline: str
    columns: tuple[ComparisonColumn, ...]
    keys: tuple[str, ...]
    rows: tuple[Values, ...]
    notes: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def only(self, names: Sequence[str]) -> ComparisonTable:
        """The columns of these names, in their order: those for readers, or any value by its key. Raises `UsageError`
        for a name that none has."""
        known = {column.name: column for column in _columns(self.metric, self.rows)}
        for key in self.keys:
            known.setdefault(key, _of_value(key, self.rows))
        for name in names:
            if name not in known:
                near = did_you_mean(name, list(known)) or f"; there are {', '.join(known)}"
                raise UsageError(f'no column is called "{name}"{near}')
        chosen = tuple(known[name] for name in dict.fromkeys(names))
        keys = tuple(dict.fromkeys(key for column in chosen for key in column.keys))
        gone = {column.title for column in self.columns} - {column.title for column in chosen}
        return evolve(self, columns=chosen, keys=keys, notes=tuple(_notes_without(self.notes, gone)))

    def texts(self, kind: str) -> list[list[str]]:
        """The cells of the rows of one kind, "variant" or "effect", as readers see them."""
        return [[column.show(row) for column in self.columns] for row in self.rows if row["kind"] == kind]

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        rows = [{key: row[key] for key in self.keys} for row in self.rows]
        return {
            "metric": self.metric,
            "baseline": self.baseline,
            "level": LEVEL,
            "rows": rows,
            "notes": list(self.notes),
        }


def table(comparison: Comparison) -> ComparisonTable:
    """The table of a comparison."""
    rows = [_variant(row, comparison) for row in comparison.rows]
    notes = list(comparison.notes)
    for found, judged in comparison.factorials:
        square = found.square
        rows += [
            _effect(f"{effect.name} ({kind})", each, comparison.metric)
            for effect, each, kind in zip(
                found.effects, judged, ("main effect", "main effect", "interaction"), strict=True
            )
        ]
        notes.append(
            f"2x2 of {square.neither.name}, {square.first.name}, {square.second.name} and {square.both.name} (both): a "
            "main effect is the mean with and without the other setting, the interaction is what both do beyond the "
            "sum of each alone; verdicts Holm-adjusted over these three"
        )
        notes += [str(reason) for effect in found.effects[:1] for reason in (effect.of.unlike,) if reason]
    whole = _columns(comparison.metric, rows)
    columns = [column for column in whole if any(column.show(row) for row in rows)]
    keys = tuple(rows[0])
    return ComparisonTable(
        comparison.metric, comparison.baseline.name, tuple(columns), keys, tuple(rows), tuple(notes)
    )


def _columns(metric: str, rows: Sequence[Values]) -> tuple[ComparisonColumn, ...]:
    loss = "best val" if metric == LOSS else metric
    changed = {key for row in rows for key, _ in _settings(row["changes"])}
    return (
        ComparisonColumn("variant", ("variant",), lambda row: row["variant"]),
        ComparisonColumn("changes", ("changes",), lambda row: _short(row["changes"], changed)),
        ComparisonColumn("seeds", ("seeds",), lambda row: str(row["seeds"] or ""), number=True),
        ComparisonColumn(loss, ("value",), lambda row: _plain(row["value"]), number=True),
        ComparisonColumn("sd", ("spread",), lambda row: _plain(row["spread"]), number=True),
        ComparisonColumn("difference", ("difference",), lambda row: _signed(row["difference"]), number=True),
        ComparisonColumn(
            "these weights", ("weights_low", "weights_high"), lambda row: _range(row, "weights"), number=True
        ),
        ComparisonColumn(
            "seeds and samples", ("seeds_low", "seeds_high"), lambda row: _range(row, "seeds"), number=True
        ),
        ComparisonColumn("verdict", ("verdict", "of_weights"), _verdict),
        ComparisonColumn("multiplier", ("multiplier", "multiplier_bound"), _multiplied, number=True),
    )


def _notes_without(notes: Sequence[str], titles: Collection[str]) -> list[str]:
    """Notes without those that explain these columns."""
    marks = [f"{title}: " for title in titles] + (["* "] if "multiplier" in titles else [])
    marks += ["seeds: "] if "seeds and samples" in titles else []  # as it is called without samples
    marks += ["intervals stand alone"] if "verdict" in titles else []
    return [note for note in notes if not note.startswith(tuple(marks))]


def _of_value(key: str, rows: Sequence[Values]) -> ComparisonColumn:
    """A value as it is, a fraction with four digits."""
    numbers = all(isinstance(row[key], int | float | None) for row in rows)

    def show(row: Values) -> str:
        value = row[key]
        return "" if value is None else _plain(value) if isinstance(value, float) else str(value)

    return ComparisonColumn(key.replace("_", " "), (key,), show, number=numbers)


def _variant(row: VariantRow, comparison: Comparison) -> Values:
    variant, baseline = row.variant, comparison.baseline
    runs = [run.run for run in variant.runs]
    steps = [run.summary.get("best_val_step") for run in variant.runs]
    return {
        "metric": comparison.metric,
        "kind": "variant",
        "variant": variant.name,
        "changes": _changes(variant, baseline),
        "size": str(runs[0].record.get("size", "")),
        "runs": " ".join(f"{run.recipe}/{run.id}" for run in runs),
        "seeds": len(runs),
        "best_step": steps[0] if len(set(steps)) == 1 else None,
        "value": row.value,
        "spread": row.spread,
        "seed_values": " ".join(repr(run.value) for run in variant.runs if run.value is not None),
        **_judged(row.judged),
        **_times(row.multiplier, variant.schedule != "constant" or baseline.schedule != "constant"),
    }


def _effect(name: str, judged: Judged, metric: str) -> Values:
    nothing = dict.fromkeys(
        ("changes", "size", "runs", "seeds", "best_step", "value", "spread", "seed_values")
    )
    head = {"metric": metric, "kind": "effect", "variant": name}
    return {**head, **nothing, **_judged(judged), **_times(Multiplier(), False)}


def _judged(judged: Judged) -> Values:
    of = judged.of
    return {
        "difference": of.value,
        **_ends("weights", of.weights),
        "weights_p_holm": judged.p_weights,
        **_ends("seeds", of.both),
        "seeds_p_holm": judged.p,
        "seed_pairs": of.seeds if of.paired else None,
        "verdict": judged.verdict,
        "of_weights": judged.of_weights,
    }


def _ends(name: str, interval: StudentInterval | None) -> Values:
    return {
        f"{name}_low": interval.low if interval else None,
        f"{name}_high": interval.high if interval else None,
    }


def _times(times: Multiplier, decaying: bool) -> Values:
    known = times.value is not None
    return {
        "multiplier": times.value,
        "multiplier_bound": times.bound if known else None,
        "multiplier_low": times.low,
        "multiplier_high": times.high,
        "multiplier_unit": times.unit if known else None,
        "multiplier_loss": times.loss,
        "multiplier_of_decaying_rate": decaying if known else None,
    }


def _changes(variant: Variant, baseline: Variant) -> str:
    """What the variant sets differently: "model.connector.depth = shallow"."""
    if not variant.settings or not baseline.settings:
        return ""
    return ", ".join(
        f"{key} = {value}" for key, value in variant.settings.items() if baseline.settings.get(key) != value
    )


def _short(changes: str | None, keys: Collection[str]) -> str:
    """As many of the tables that a key is in as tell it from all other `keys`: "depth = shallow", "llm.width = 64"."""
    text = ", ".join(f"{_tail(key, keys)} = {value}" for key, value in _settings(changes))
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 3].rstrip()}..."


def _settings(changes: str | None) -> list[tuple[str, str]]:
    """Keys and values of `_changes`. A value may hold commas: what follows one is a change if it has a key."""
    parts = (part.partition(" = ") for part in _NEXT.split(changes or "") if part)
    return [(key, value) for key, _, value in parts]


def _tail(key: str, keys: Collection[str]) -> str:
    names = key.split(".")
    tails = (".".join(names[at:]) for at in range(len(names) - 1, 0, -1))
    return next(
        (tail for tail in tails if not any(_ends_in(other, tail) for other in keys if other != key)), key
    )


def _ends_in(key: str, tail: str) -> bool:
    return key == tail or key.endswith(f".{tail}")


def _verdict(row: Values) -> str:
    verdict, weights = row["verdict"], row["of_weights"]
    if verdict == "seeds not known":
        return f"noise between seeds not known; these weights: {weights}"
    if verdict == "no interval":
        return "noise not known"
    if verdict == "inside the noise" and (row["seeds_low"] > 0 or row["seeds_high"] < 0):
        return "inside the noise of so many comparisons"
    return verdict


def _multiplied(row: Values) -> str:
    value = row["multiplier"]
    if value is None:
        return ""
    bound = f"{row['multiplier_bound']} " if row["multiplier_bound"] else ""
    spread = (
        f" ({row['multiplier_low']:.2f} to {row['multiplier_high']:.2f})" if row["multiplier_low"] else ""
    )
    return f"{bound}{value:.2f}{'*' if row['multiplier_of_decaying_rate'] else ''}{spread}"


def _range(row: Values, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if low is None else f"{_signed(low)} to {_signed(high)}"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"
