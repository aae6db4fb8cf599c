"""Runs as settings between which to choose: what a frame costs and what it comes to, all seeds together."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from fvlm_core.report.html.run_data import Gathered
from fvlm_core.runs.answers import metric_means
from fvlm_core.runs.visual_tokens import frames_per_sample, tokens_per_frame

ACCURACIES = ("multiple_choice", "exact_match")
"""Metrics that are shares, the first of them that a run has."""

_SEED = re.compile(r"-s\d+$")
_LENGTH = ("budget", "budget_accounting", "samples", "steps", "supervise")
"""Keys of `[training]` that say how long, and what is scored."""


@frozen(kw_only=True)
class Setting:
    """Runs that differ by their seeds alone. size: label of the model's. connector: its name. tokens: a frame. frames:
    of a sample, the mean. blind: whether they saw nothing. seeds: of each run; losses, accuracies: of each run's last
    evaluation, these none where a run has none. flops: of training, a sample. answering: FLOPs of a frame where a
    sample is answered. seconds: of training, a sample, the median of all that was logged. compared: equal for settings
    whose losses may be compared: those of the same samples, after as much training."""

    name: str
    size: str
    connector: str
    tokens: int
    frames: float | None
    blind: bool
    seeds: tuple[int, ...]
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    flops: float | None
    answering: float | None
    seconds: float | None
    compared: str


def settings(runs: Sequence[Gathered]) -> list[Setting]:
    """The runs with a loss and a known connector, those of different seeds together, by connector and tokens."""
    together: dict[str, list[Gathered]] = {}
    for one in runs:
        loss = one.validation.last.get("val_loss")
        if one.resolved and isinstance(loss, int | float) and math.isfinite(loss):
            together.setdefault(_kind(one), []).append(one)
    found = [made for group in together.values() if (made := _setting(group)) is not None]
    return sorted(
        found, key=lambda one: (one.blind, one.connector, one.tokens, one.frames or 0, one.size, one.name)
    )


def _kind(one: Gathered) -> str:
    """What of a run is alike in those that differ by their seeds."""
    resolved = one.resolved
    training = {key: value for key, value in resolved.get("training", {}).items() if key != "seed"}
    return repr((one.run.recipe, resolved.get("model"), resolved.get("data"), training))


def compared(resolved: dict[str, Any]) -> str:
    """What of a run's resolved recipe is alike in those whose losses may be compared."""
    training, evaluation = resolved.get("training", {}), resolved.get("eval", {})
    return repr((resolved.get("data"), evaluation.get("samples"), [training.get(key) for key in _LENGTH]))


def groups(found: Sequence[Setting]) -> dict[str, list[Setting]]:
    """The settings that may be compared with each other, by what tells them from the others: their frames, where these
    do, else the first of them; "" of the only ones."""
    together: dict[str, list[Setting]] = {}
    for one in found:
        together.setdefault(one.compared, []).append(one)
    if len(together) < 2:
        return {"": list(found)} if found else {}
    frames = [{one.frames for one in own} for own in together.values()]
    named: dict[str, list[Setting]] = {}
    for own, known in zip(together.values(), frames, strict=True):
        alone = len(known) == 1 and None not in known and frames.count(known) == 1
        name = f"{next(iter(known)):,.4g} frames" if alone else f"{own[0].name} and {len(own) - 1} more"
        named[name] = own
    return named


def flop_unit(largest: float) -> tuple[float, str]:
    """How many FLOPs the unit is that such numbers are best told in, and its name."""
    return next((scale, name) for scale, name in _UNITS if scale <= max(largest, 1.0))


_UNITS = ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1e3, "kFLOP"), (1.0, "FLOP"))


def _setting(group: Sequence[Gathered]) -> Setting | None:
    first = group[0]
    record = first.run.record
    tokens = tokens_per_frame(record)
    if tokens is None:
        return None
    model: dict[str, Any] = first.resolved.get("model", {})
    last = [one.validation.last for one in group]
    means = [metric_means(row) for row in last]
    metric = next((one for one in ACCURACIES if all(one in each for each in means)), None)
    accuracies = [each[metric].mean for each in means] if metric else []
    rates = [rate for one in group for rate in _rates(one)]
    frames = frames_per_sample(first.summary.get("frames"), first.summary.get("total_samples"))
    answering = _number(record.get("answer_flops_per_sample"))
    stems = {_SEED.sub("", one.label) for one in group}
    names = f"{first.label} and {len(group) - 1} more" if len(group) > 1 else first.label
    return Setting(
        name=stems.pop() if len(group) > 1 and len(stems) == 1 else names,
        size=str(record.get("size") or ""),
        connector=str(model.get("connector", {}).get("name", "")).rpartition(":")[2],
        tokens=tokens,
        frames=frames,
        blind=bool(model.get("blind")),
        seeds=tuple(int(one.run.record.get("seed") or 0) for one in group),
        losses=tuple(float(row["val_loss"]) for row in last),
        accuracies=tuple(value for value in accuracies if value is not None),
        flops=_number(record.get("flops_per_sample")),
        answering=answering / frames if answering and frames else None,
        seconds=1 / statistics.median(rates) if rates else None,
        compared=compared(first.resolved),
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _rates(one: Gathered) -> list[float]:
    """Samples a second of training, as logged."""
    found = (row.get("throughput_samples_sec") for row in one.run.train_rows("throughput_samples_sec"))
    return [float(rate) for rate in found if isinstance(rate, int | float) and rate > 0]
