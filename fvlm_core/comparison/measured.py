"""What a comparison reads of a run, and which runs are seeds of one variant."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import frozen

from fvlm_core.comparison.statistics import Floats
from fvlm_core.recipes.resolved import RUNTIME, flat
from fvlm_core.runs.metrics import Row, read_metrics
from fvlm_core.runs.per_sample_loss import read_scored
from fvlm_core.runs.store import METRICS, StoredRun

LOSS = "val_loss"
"""The metric whose value of every sample is kept."""

_SEED = re.compile(r"(.+)-s(\d+)")
_NAMES = ("name", "training.seed")


@frozen(eq=False)
class Scores:
    """A run's losses at its best evaluation, sample by sample. ids: [n]. losses: nats, [n]. tokens: [n]."""

    ids: tuple[str, ...]
    losses: Floats
    tokens: Floats


@frozen(eq=False)
class ComparedRun:
    """One run as it is compared.

    value: of the metric at the best evaluation, None before the first. curve: of every evaluation its step, samples
    seen, FLOPs and loss (NaN where unknown), [points, 4]. scores: None when they were not kept.
    """

    run: StoredRun
    summary: dict[str, Any]
    value: float | None
    curve: Floats
    scores: Scores | None

    @property
    def seed(self) -> int | None:
        """As recorded."""
        return self.run.record.get("seed")

    @property
    def validation(self) -> list[Any] | None:
        """The fingerprints of its validation set; None when they were not recorded."""
        sources = self.run.record.get("data", {}).get("validation") or []
        return [source.get("fingerprint") for source in sources] or None


@frozen(eq=False)
class Variant:
    """Runs of one recipe that differ by their seed alone. name: their id without the seed.

    settings: their resolved recipe by dotted key, without names, seeds and what decides no weights; empty when it is
    not known.
    """

    name: str
    runs: tuple[ComparedRun, ...]
    settings: dict[str, Any]

    @property
    def values(self) -> Floats:
        """The metric of every seed, [K]."""
        return np.array([run.value for run in self.runs], dtype=float)

    @property
    def schedule(self) -> str:
        """The learning-rate schedule."""
        return str(self.runs[0].run.record.get("schedule", ""))


def measure(run: StoredRun, metric: str) -> ComparedRun:
    """Read what is compared of a run. metric: a column of its evaluations."""
    summary = run.summary
    rows = [row for row in read_metrics(run.folder / METRICS, skip="train") if row["event_type"] == "eval"]
    best = summary.get("best_val_loss")
    step = summary.get("best_val_step")
    if best is None or step is None:  # killed before a summary was written, or taken over without one
        found = [row for row in rows if _number(row.get(LOSS)) is not None]
        row = min(found, key=lambda row: row[LOSS], default={})
        best, step = row.get(LOSS), row.get("step")
    if metric == LOSS:
        value = _number(best)
    else:
        value = next((_number(row.get(metric)) for row in reversed(rows) if row.get("step") == step), None)
    scores = _scores(run, int(step)) if step is not None else None
    return ComparedRun(run, summary, value, _curve(rows), scores)


def variants(runs: Sequence[StoredRun], metric: str) -> list[Variant]:
    """The runs as variants with their seeds, in the order given."""
    return [
        Variant(name, tuple(measure(run, metric) for run in own), settings(own[0]))
        for name, own in seed_groups(runs).items()
    ]


def seed_groups(runs: Sequence[StoredRun]) -> dict[str, list[StoredRun]]:
    """Runs that differ by their seed alone, by the name of their variant, in the order given; seeds in order."""
    groups: dict[tuple[str, str], list[StoredRun]] = {}
    for run in runs:
        groups.setdefault((run.recipe, _stem(run, runs)), []).append(run)
    names = [stem for _, stem in groups]
    return {
        stem if names.count(stem) == 1 else f"{recipe}/{stem}": sorted(
            own, key=lambda run: (run.record.get("seed") or 0, run.id)
        )
        for (recipe, stem), own in groups.items()
    }


def settings(run: StoredRun) -> dict[str, Any]:
    """What decides the weights of a run, by dotted key, without its name and seed."""
    found = flat(run.record.get("resolved") or {})
    return {key: value for key, value in found.items() if not _covered(key)}


def _covered(key: str) -> bool:
    return any(key == name or key.startswith((f"{name}.", f"{name}[")) for name in (*RUNTIME, *_NAMES))


def _stem(run: StoredRun, runs: Sequence[StoredRun]) -> str:
    """The id without the number of its seed.

    `seeds = 3` makes `A1-s0`, `A1-s1`, `A1-s2` with seed, seed + 1, ...: the recipe says which number its seed is. Of
    a run whose recipe is not known, others of that name must be there.
    """
    found = _SEED.fullmatch(run.id)
    if found is None:
        return run.id
    first = (run.record.get("resolved") or {}).get("training", {}).get("seed")
    seed = run.record.get("seed")
    if first is not None and seed is not None:
        repeats = seed - first == int(found[2])
    else:
        others = [
            _SEED.fullmatch(other.id) for other in runs if other.recipe == run.recipe and other.id != run.id
        ]
        repeats = any(other is not None and other[1] == found[1] for other in others)
    return found[1] if repeats else run.id


def _curve(rows: Sequence[Row]) -> Floats:
    columns = ("step", "samples_seen", "flops", LOSS)
    values = [[_number(row.get(column)) for column in columns] for row in rows]
    return np.array(values, dtype=float).reshape(-1, len(columns))


def _scores(run: StoredRun, step: int) -> Scores | None:
    try:
        found = read_scored(run.folder, step)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # damaged: as good as not kept
    if not found:
        return None
    losses = np.array([sample.loss for sample in found], dtype=float)
    tokens = np.array([sample.tokens for sample in found], dtype=float)
    return Scores(tuple(sample.id for sample in found), losses, tokens)


def _number(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None
