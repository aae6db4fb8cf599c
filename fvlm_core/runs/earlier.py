"""Checkpoints from before samples and FLOPs were counted: what they lack, from what the attempts left on record."""

from __future__ import annotations

from collections.abc import Mapping
from math import isclose
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from fvlm_core.data.order import Order
from fvlm_core.recipes.read import from_resolved
from fvlm_core.runs.attempts import read_attempts
from fvlm_core.runs.metrics import attempt_starts, read_metrics
from fvlm_core.runs.store import METRICS, RECIPE, read_part
from fvlm_core.utils.errors import Problems

BATCH = "training.batch_size"


@frozen
class _Stretch:
    """The steps of one attempt that are in force. batch: samples of a step. each: FLOPs of a sample."""

    steps: int
    batch: int
    each: float

    @property
    def samples(self) -> int:
        return self.steps * self.batch


def counted(folder: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a checkpoint's `state` lacks. folder: the run's, its record still that of the attempts before.

    samples are what the batches held, where the state has that. The next place is where such a version would have gone
    on: after as many steps of the last attempt's size as there were steps.
    """
    record = read_part(folder / RECIPE)
    stretches = _stretches(folder, record, state["step"])
    held = [source["samples"] for source in state.get("mixture", {}).values()]
    samples = sum(held) if held else sum(stretch.samples for stretch in stretches)
    each: float = record["flops_per_sample"]
    spent = {"each": each, "samples": 0, "flops": 0.0}
    if not all(isclose(stretch.each, each, rel_tol=1e-9) for stretch in stretches):
        spent |= {"samples": samples, "flops": sum(s.samples * s.each for s in stretches)}
    place = state["step"] * stretches[-1].batch if stretches else samples
    return {"samples": samples, "place": place, "spent": spent, "order": _order(record)}


def _stretches(folder: Path, record: Mapping[str, Any], until: int) -> list[_Stretch]:
    """The attempts that made the steps up to `until`, in order."""
    size: int = record["resolved"]["training"]["batch_size"]
    sizes: dict[int, int] = {}
    for entry in reversed(read_attempts(folder)):
        sizes.setdefault(entry["attempt"], size)  # of several starts of one number only the last one trained
        size = next((change["from"] for change in entry["drift"] if change["key"] == BATCH), size)
    rates = {
        row["attempt"]: row["flops"]
        / row["samples_seen"]  # both were taken from the steps: the rate is right
        for row in read_metrics(folder / METRICS)
        if row.get("flops") and row.get("samples_seen")
    }
    starts = attempt_starts(folder / METRICS)
    found: list[_Stretch] = []
    end, each = until, float(record["flops_per_sample"])
    for attempt in range(len(starts), 0, -1):
        size, each = sizes.get(attempt, size), rates.get(attempt, each)
        begin = min(end, starts[attempt - 1])
        if end > begin:
            found.append(_Stretch(end - begin, size, each))
        end = begin
    return found[::-1]


def _order(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """In which the recorded recipe read its sources; None where that cannot be told without opening them."""
    try:
        data = from_resolved(record["resolved"]).data
    except Problems:
        return None
    if data.weigh_by != "samples":
        return None
    seen = [(source["source"], source["samples"]) for source in record["data"]["train"]]
    named = [(name, length, share) for (name, length), (_, share) in zip(seen, data.mixed, strict=False)]
    return asdict(Order.of(named, record["seed"], cycle=data.exhausted == "cycle"))
